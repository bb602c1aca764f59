"""IQL: implicit Q-learning, which never queries the critics at actions outside the dataset.

Kostrikov et al., "Offline Reinforcement Learning with Implicit Q-Learning" (ICLR 2022). With
u = min_m Q'_m(s, a) - V(s) over the dataset's (s, a):

- value (eq. 5): mean |tau - 1(u < 0)| u^2, whose minimiser is the tau-expectile of Q over the dataset's actions;
- policy (eq. 7): -mean min(exp(beta u), 100) log pi(a|s), advantage-weighted regression;
- critics (eq. 6): sum_m mean (Q_m(s, a) - r - gamma (1 - d) V(s'))^2; Q' follows Q.

As in the authors' code, policy and critics use the value network after its step of the same update.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from rlbench.algos.actor_critic import Offline, least, per_seed
from rlbench.data.sampling import Batch, training_rows
from rlbench.data.transitions import Transitions
from rlbench.errors import UsageError
from rlbench.nets.mlp import stack
from rlbench.nets.optim import Adam, Params, clone, cosine, gradients, polyak
from rlbench.nets.policy import gaussian_log_prob
from rlbench.task import ControlTask
from rlbench.types import Count, Fraction, NonNegative, Positive


class IQL(Offline):
    """Implicit Q-learning with two critics.

    Args:
        task: the problem.
        hidden_dims: widths of the hidden layers of actor, value and critics.
        gamma: discount.
        tau: rate at which the target critics follow.
        batch_size: transitions in a minibatch.
        actor_learning_rate: Adam's first step size for the actor; it falls to 0 along a cosine over the run.
        critic_learning_rate: Adam's step size for the critics.
        value_learning_rate: Adam's step size for the value network.
        expectile: tau of the value loss; 0.5 is the mean, towards 1 the maximum over the dataset's actions.
        temperature: beta, the inverse temperature of the advantage weights; 0 is behaviour cloning.
        advantage_max: largest advantage weight.
        policy: gaussian (mean tanh of the network, one free log-std a dimension, fitted by likelihood) or deterministic
            (fitted by squared error).
        log_std_min: least log standard deviation of the Gaussian.
        log_std_max: largest log standard deviation of the Gaussian.
        normalize_rewards: whether rewards are multiplied by 1000 / (highest - lowest episode return of the dataset).
    """

    def __init__(
        self,
        task: ControlTask,
        *,
        hidden_dims: list[int],
        gamma: Fraction,
        tau: Fraction,
        batch_size: Count,
        actor_learning_rate: Positive,
        critic_learning_rate: Positive,
        value_learning_rate: Positive,
        expectile: Fraction,
        temperature: NonNegative,
        advantage_max: Positive,
        policy: Literal["gaussian", "deterministic"],
        log_std_min: float,
        log_std_max: float,
        normalize_rewards: bool,
    ) -> None:
        super().__init__(task)
        self.gamma, self.tau = gamma, tau
        self.actor_learning_rate = actor_learning_rate
        self.expectile, self.temperature, self.advantage_max = expectile, temperature, advantage_max
        self.log_std_bounds = log_std_min, log_std_max
        self.gaussian = policy == "gaussian"
        self.actor = task.networks.state(hidden_dims, task.networks.action_dim, init="orthogonal")
        self.value = task.networks.state(hidden_dims, 1, init="orthogonal")
        self.critic = task.networks.state_action(hidden_dims, 1, members=2, init="orthogonal")
        start = task.streams("parameters")
        self.params["actor"] = self.actor.init(start)
        if self.gaussian:
            shape = len(task.seeds), 1, task.networks.action_dim
            self.params["actor"]["log_std"] = torch.zeros(shape, device=task.device)
        self.params["value"] = self.value.init(start)
        self.params["critic"] = self.critic.init(start)
        self.params["target"] = clone(self.params["critic"])
        self.parts["actor_optimizer"] = self.actor_optimizer = Adam(self.params["actor"], actor_learning_rate)
        self.parts["value_optimizer"] = self.value_optimizer = Adam(self.params["value"], value_learning_rate)
        self.parts["critic_optimizer"] = self.critic_optimizer = Adam(self.params["critic"], critic_learning_rate)
        reward = normalized_rewards(task.dataset).to(task.device) if normalize_rewards else None
        self.learn_from(training_rows(task, reward=reward), batch_size)

    def action(self, params: Params, features: Tensor) -> Tensor:
        return torch.tanh(self.actor(params, features))

    def value_loss(self, params: Params, batch: Batch, q: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        v = self.value(params, batch.observation)
        loss = per_seed(expectile_loss(q - v, self.expectile), len(self.task.seeds))
        return loss, {"train/value_loss": loss, "train/v": per_seed(v, len(self.task.seeds))}

    def actor_loss(self, params: Params, batch: Batch, advantage: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        weight = torch.exp(self.temperature * advantage).clamp(max=self.advantage_max)
        mean = self.action(params, batch.observation)
        if self.gaussian:
            error = -gaussian_log_prob(batch.action, mean, params["log_std"].clamp(*self.log_std_bounds))
        else:
            error = (batch.action - mean).square().sum(-1, keepdim=True)
        loss = per_seed(weight * error, len(self.task.seeds))
        return loss, {"train/actor_loss": loss, "train/advantage_weight": per_seed(weight, len(self.task.seeds))}

    def critic_loss(self, params: Params, batch: Batch, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum over the two critics of their mean squared errors, `[S]`."""
        q = self.critic(params, batch.observation, batch.action)
        loss = 2 * per_seed((q - stack(target, 2)).square(), len(self.task.seeds))
        return loss, {"train/critic_loss": loss, "train/q": per_seed(q, len(self.task.seeds))}

    def schedule(self) -> None:
        self.actor_optimizer.set_rate(cosine(self.actor_learning_rate, self.step - 1, self.task.steps))

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One step of value, actor, critics and targets."""
        with torch.no_grad():
            q = least(self.critic(self.params["target"], batch.observation, batch.action), 2)
        grads, value_metrics = gradients(lambda p: self.value_loss(p, batch, q), self.params["value"])
        self.value_optimizer.step(grads)
        with torch.no_grad():
            v = self.value(self.params["value"], torch.cat([batch.observation, batch.next_observation], dim=1))
            v, next_v = v.chunk(2, dim=1)
            target = batch.reward + self.gamma * (1 - batch.terminated) * next_v
        grads, actor_metrics = gradients(lambda p: self.actor_loss(p, batch, q - v), self.params["actor"])
        self.actor_optimizer.step(grads)
        grads, critic_metrics = gradients(lambda p: self.critic_loss(p, batch, target), self.params["critic"])
        self.critic_optimizer.step(grads)
        polyak(self.params["target"], self.params["critic"], self.tau)
        return {**value_metrics, **actor_metrics, **critic_metrics}


def expectile_loss(error: Tensor, expectile: float) -> Tensor:
    """|expectile - 1(error < 0)| error^2, elementwise."""
    return torch.where(error < 0, 1 - expectile, expectile) * error.square()


def normalized_rewards(data: Transitions) -> Tensor:
    """Rewards times 1000 / (highest - lowest episode return), `[N]`."""
    returns = data.episode_returns()
    spread = float(returns.max() - returns.min())
    if spread <= 0:
        raise UsageError(
            "algo.normalize_rewards needs a dataset with episodes of different returns, and this one has "
            f"{len(returns)} with the return {returns[0]:g}: set algo.normalize_rewards=false"
        )
    return torch.from_numpy(np.array(data.reward)) * (1000.0 / spread)
