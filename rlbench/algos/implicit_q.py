"""Implicit Q-learning's losses and update: what IQL and P-IQL share.

Kostrikov et al., "Offline Reinforcement Learning with Implicit Q-Learning" (ICLR 2022). With
u = min_m Q'_m(s, a) - V(s) over the dataset's (s, a):

- value (eq. 5): mean |tau - 1(u < 0)| u^2, whose minimiser is the tau-expectile of Q over the dataset's actions;
- policy (eq. 7): -mean min(exp(beta u), 100) log pi(a|s), advantage-weighted regression;
- critics (eq. 6): sum_m mean (Q_m(s, a) - r - gamma (1 - d) V(s'))^2; Q' follows Q.

As in the authors' code, policy and critics use the value network after its step of the same update.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rlbench.algos.actor_critic import ControlAlgorithm, bootstrapped, least, per_seed, squared_errors
from rlbench.data.sampling import Batch
from rlbench.nets.optim import Adam, Params, clone, cosine, gradients, polyak
from rlbench.rng import SeedStreams
from rlbench.types import Count


class ImplicitQ(ControlAlgorithm):
    """Value, two critics and their targets, beside the actor that a subclass makes (with its `actor_optimizer`)."""

    actor_optimizer: Adam

    def make_critics(
        self,
        hidden_dims: list[Count],
        start: SeedStreams,
        *,
        gamma: float,
        tau: float,
        actor_learning_rate: float,
        critic_learning_rate: float,
        value_learning_rate: float,
        expectile: float,
        temperature: float,
        advantage_max: float,
        gain: float = math.sqrt(2.0),
    ) -> None:
        """Make value, critics, targets and their optimisers.

        Args:
            hidden_dims: widths of the hidden layers.
            start: what their first parameters are drawn from.
            gamma, tau: discount; rate of the target critics.
            actor_learning_rate: it falls to 0 along a cosine over the run.
            critic_learning_rate, value_learning_rate: Adam's step sizes.
            expectile, temperature, advantage_max: tau, beta and the largest weight of the losses above.
            gain: of the first weights.
        """
        task = self.task
        self.gamma, self.tau = gamma, tau
        self.actor_learning_rate = actor_learning_rate
        self.expectile, self.temperature, self.advantage_max = expectile, temperature, advantage_max
        self.value = task.networks.state(hidden_dims, 1, init="orthogonal", gain=gain)
        self.critic = task.networks.state_action(hidden_dims, 1, members=2, init="orthogonal", gain=gain)
        self.params["value"] = self.value.init(start)
        self.params["critic"] = self.critic.init(start)
        self.params["target"] = clone(self.params["critic"])
        self.parts["value_optimizer"] = self.value_optimizer = Adam(self.params["value"], value_learning_rate)
        self.parts["critic_optimizer"] = self.critic_optimizer = Adam(self.params["critic"], critic_learning_rate)

    def actor_error(self, params: Params, batch: Batch) -> Tensor:
        """How far the policy is from the actions of the batch, minus its log-likelihood: `[S, B, 1]`."""
        raise NotImplementedError

    def value_loss(self, params: Params, batch: Batch, q: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        v = self.value(params, batch.observation)
        loss = per_seed(expectile_loss(q - v, self.expectile), len(self.task.seeds))
        return loss, {"train/value_loss": loss, "train/v": v}

    def actor_loss(self, params: Params, batch: Batch, advantage: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        weight = torch.exp(self.temperature * advantage).clamp(max=self.advantage_max)
        loss = per_seed(weight * self.actor_error(params, batch), len(self.task.seeds))
        return loss, {"train/actor_loss": loss, "train/advantage_weight": weight}

    def critic_loss(self, params: Params, batch: Batch, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum over the two critics of their mean squared errors, `[S]`."""
        q = self.critic(params, batch.observation, batch.action)
        loss = squared_errors(q, target)
        return loss, {"train/critic_loss": loss, "train/q": q}

    def schedule(self) -> None:
        self.actor_optimizer.set_rate(cosine(self.actor_learning_rate, self.step - 1, self.task.steps))

    def update(self, batch: Batch, encoded: Batch | None = None) -> dict[str, Tensor]:
        """One step of value, actor, critics and targets.

        Args:
            batch: what the actor learns from.
            encoded: the same with what value and critics are given in place of pictures; None: there are none.
        """
        known = encoded or batch
        with torch.no_grad():
            q = least(self.critic(self.params["target"], known.observation, batch.action), 2)
        grads, value_metrics = gradients(lambda p: self.value_loss(p, known, q), self.params["value"])
        self.value_optimizer.step(grads)
        with torch.no_grad():
            v = self.value(self.params["value"], torch.cat([known.observation, known.next_observation], dim=1))
            v, next_v = v.chunk(2, dim=1)
            target = bootstrapped(batch, next_v, self.gamma)
        grads, actor_metrics = gradients(lambda p: self.actor_loss(p, batch, q - v), self.params["actor"])
        self.actor_optimizer.step(grads)
        grads, critic_metrics = gradients(lambda p: self.critic_loss(p, known, target), self.params["critic"])
        self.critic_optimizer.step(grads)
        polyak(self.params["target"], self.params["critic"], self.tau)
        return {**value_metrics, **actor_metrics, **critic_metrics}


def expectile_loss(error: Tensor, expectile: float) -> Tensor:
    """|expectile - 1(error < 0)| error^2, elementwise."""
    return torch.where(error < 0, 1 - expectile, expectile) * error.square()
