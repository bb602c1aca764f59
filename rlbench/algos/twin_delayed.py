"""The twin-delayed deterministic policy gradient: what TD3, TD3+BC and ReBRAC share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rlbench.algos.actor_critic import ControlAlgorithm, bootstrapped, least, per_seed, squared_errors
from rlbench.data.sampling import Batch
from rlbench.nets.optim import Adam, Params, clone, gradients, polyak
from rlbench.task import ControlTask
from rlbench.types import Count


class TwinDelayed(ControlAlgorithm):
    """TD3's networks and update (Fujimoto et al., 2018).

    Objective, with a' = clip(pi'(s') + clip(policy_noise N(0, I), -noise_clip, noise_clip), -1, 1) and
    y = r + gamma (1 - d) min(Q'_1, Q'_2)(s', a'): critics sum_m mean (Q_m(s, a) - y)^2; actor mean -Q_1(s, pi(s)).
    Actor and targets pi', Q' move every `policy_freq` updates of the critics.

    Args:
        task: the problem.
        hidden_dims: widths of actor and critics.
        gamma, tau: discount; rate of the target networks.
        actor_learning_rate, critic_learning_rate: Adam's.
        policy_noise, noise_clip: standard deviation of the target policy's noise; its bound.
        policy_freq: updates of the critics for each of the actor.
        actor_options, critic_options: as `MLP`'s.
    """

    def __init__(
        self,
        task: ControlTask,
        *,
        hidden_dims: list[Count],
        gamma: float,
        tau: float,
        actor_learning_rate: float,
        critic_learning_rate: float,
        policy_noise: float,
        noise_clip: float,
        policy_freq: int,
        actor_options: dict[str, Any] | None = None,
        critic_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(task)
        self.gamma, self.tau = gamma, tau
        self.policy_noise, self.noise_clip = policy_noise, noise_clip
        self.policy_freq = policy_freq
        networks = task.networks
        self.actor = networks.state(hidden_dims, networks.action_dim, **(actor_options or {}))
        self.critic = networks.state_action(hidden_dims, 1, members=2, **(critic_options or {}))
        self.one_critic = networks.state_action(hidden_dims, 1, **(critic_options or {}))
        start = task.streams("parameters")
        self.params["actor"] = self.actor.init(start)
        self.params["critic"] = self.critic.init(start)
        self.params["target_actor"] = clone(self.params["actor"])
        self.params["target_critic"] = clone(self.params["critic"])
        self.parts["actor_optimizer"] = self.actor_optimizer = Adam(self.params["actor"], actor_learning_rate)
        self.parts["critic_optimizer"] = self.critic_optimizer = Adam(self.params["critic"], critic_learning_rate)
        self.parts["noise"] = self.noise = task.streams("policy noise")

    def action(self, params: Params, features: Tensor) -> Tensor:
        return torch.tanh(self.actor(params, features))

    def q1(self, observation: Tensor, action: Tensor) -> Tensor:
        """The first critic alone, `[S, B, 1]`."""
        return self.one_critic({name: p[::2] for name, p in self.params["critic"].items()}, observation, action)

    def smoothed_action(self, observation: Tensor) -> Tensor:
        """a', the target policy's action with clipped noise, `[S, B, a]`."""
        action = self.action(self.params["target_actor"], observation)
        noise = self.policy_noise * self.noise.normal(*action.shape[1:])
        return (action + noise.clamp(-self.noise_clip, self.noise_clip)).clamp(-1.0, 1.0)

    @torch.no_grad()
    def target(self, batch: Batch) -> Tensor:
        """y, `[S, B, 1]`."""
        action = self.smoothed_action(batch.next_observation)
        value = least(self.critic(self.params["target_critic"], batch.next_observation, action), 2)
        return bootstrapped(batch, value, self.gamma)

    def critic_loss(self, params: Params, batch: Batch, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum over the two critics of their mean squared errors, `[S]`."""
        q = self.critic(params, batch.observation, batch.action)
        loss = squared_errors(q, target)
        return loss, {"train/critic_loss": loss, "train/q": q}

    def actor_loss(self, params: Params, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        loss = -per_seed(self.q1(batch.observation, self.action(params, batch.observation)), len(self.task.seeds))
        return loss, {"train/actor_loss": loss}

    def variant(self) -> bool:
        """Whether actor and targets move too."""
        return self.step % self.policy_freq == 0

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One step of the critics, and every `policy_freq`-th time of actor and targets too."""
        target = self.target(batch)
        grads, metrics = gradients(lambda p: self.critic_loss(p, batch, target), self.params["critic"])
        self.critic_optimizer.step(grads)
        if self.variant():
            grads, actor_metrics = gradients(lambda p: self.actor_loss(p, batch), self.params["actor"])
            self.actor_optimizer.step(grads)
            metrics = {**metrics, **actor_metrics}
            polyak(self.params["target_actor"], self.params["actor"], self.tau)
            polyak(self.params["target_critic"], self.params["critic"], self.tau)
        return metrics
