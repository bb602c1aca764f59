"""PPO: proximal policy optimisation with a clipped objective.

Schulman et al., "Proximal Policy Optimization Algorithms" (arXiv 1707.06347), with advantages by GAE (Schulman et al.,
ICLR 2016), normalised over the batch, as all implementations have it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from rlbench.algos.policy_gradient.estimators import discounted
from rlbench.algos.policy_gradient.on_policy import OnPolicy
from rlbench.algos.policy_gradient.rollouts import Rollouts
from rlbench.nets.mlp import MLP
from rlbench.nets.optim import Adam, Params, gradients
from rlbench.rng import SeedStreams
from rlbench.types import Count, Fraction, Positive, Several


@dataclass(kw_only=True, eq=False)
class PPO(OnPolicy):
    """Maximises mean min(rho A, clip(rho, 1 - c, 1 + c) A) - mean (V - R)^2, rho = pi_theta(a|s) / pi_old(a|s).

    A batch has exactly `batch_size` steps, so that all seeds go on together: its last episode is cut.

    Args:
        batch_size: environment steps of an iteration.
        minibatch_size: steps in a minibatch.
        epochs: passes over a batch.
        learning_rate: Adam's step size, for the policy and the value function.
        clip: c.
        gae_lambda: lambda of the advantages.
    """

    batch_size: Several
    minibatch_size: Count
    epochs: Count
    learning_rate: Positive
    clip: Positive
    gae_lambda: Fraction

    whole_episodes = False
    reported = ("clip_fraction", "value_error")

    def __post_init__(self) -> None:
        super().__post_init__()
        start = self.task.streams("value parameters")
        dim = self.task.networks.observation_dim
        self.value_net = MLP(dim, self.hidden_dims, 1, activation="tanh", init="orthogonal", prefix="value.")
        self.learned: Params = {"theta": self.theta, **self.value_net.init(start)}
        self.optimizer = Adam(self.learned, self.learning_rate)

    def improve(self, places: list[int], batches: list[Rollouts]) -> dict[str, Tensor]:
        rows = self.rows(batches[0])
        seeds = [(self.task.seeds[place], int(self.iteration[place])) for place in places]
        streams = [SeedStreams((seed,), f"minibatches {t}", self.task.device) for seed, t in seeds]
        metrics: dict[str, Tensor] = {}
        for _ in range(self.epochs):
            order = torch.cat([stream.permutation(rows.action.shape[1]) for stream in streams])
            for index in order.split(self.minibatch_size, 1):
                grads, metrics = gradients(partial(self.loss, rows=rows.chosen(index)), self.learned)
                self.optimizer.step(grads)
        return metrics

    def rows(self, rollouts: Rollouts) -> Rows:
        """The steps of each seed, all episodes in one, `[S, B, ...]`."""
        with torch.no_grad():
            value, final = (
                self.value_net(self.learned, each.flatten(1, -2)).reshape(each.shape[:-1])
                for each in (rollouts.observation, rollouts.final)
            )
            advantage = advantages(rollouts, value, final, self.gamma, self.gae_lambda)
            taken = rollouts.mask.bool()
            observation, action, target, advantage = (
                each[taken].unflatten(0, (len(taken), -1))
                for each in (rollouts.observation, rollouts.action, advantage + value, advantage)
            )
            advantage = (advantage - advantage.mean(1, keepdim=True)) / (advantage.std(1, keepdim=True) + 1e-8)
            old = self.policy.log_prob(self.actor_params, observation, action)
        return Rows(observation, action, target, advantage, old)

    def loss(self, params: Params, rows: Rows) -> tuple[Tensor, dict[str, Tensor]]:
        """Of each seed, `[S]`."""
        log_prob = self.policy.log_prob(self.policy.params(params["theta"]), rows.observation, rows.action)
        ratio = (log_prob - rows.old).exp()
        clipped = ratio.clamp(1 - self.clip, 1 + self.clip)
        gain = torch.minimum(ratio * rows.advantage, clipped * rows.advantage).mean(1)
        error = (self.value_net(params, rows.observation).squeeze(-1) - rows.target).square().mean(1)
        outside = ((ratio - 1).abs() > self.clip).float().mean(1)
        return error - gain, {"clip_fraction": outside, "value_error": error}

    def state(self) -> dict[str, Tensor]:
        moments = {f"adam.{i}": value for i, value in enumerate([*self.optimizer.mean, *self.optimizer.square])}
        return {**super().state(), **self.learned, **moments, "adam.count": self.optimizer.count}


@dataclass(frozen=True)
class Rows:
    """Steps of each seed: what was seen and done, what return is expected, the advantage, log pi_old."""

    observation: Tensor
    action: Tensor
    target: Tensor
    advantage: Tensor
    old: Tensor

    def chosen(self, index: Tensor) -> Rows:
        """The rows in these places, `[S, M]`."""
        seed = torch.arange(len(index), device=index.device)[:, None]
        columns = self.observation, self.action, self.target, self.advantage, self.old
        return Rows(*(column[seed, index] for column in columns))


def advantages(rollouts: Rollouts, value: Tensor, final: Tensor, gamma: float, gae_lambda: float) -> Tensor:
    """GAE of every step, `[S, E, T]`; an episode that the clock ended goes on in expectation.

    Args:
        rollouts: the episodes.
        value: V of every observation, `[S, E, T]`.
        final: V of the last ones, `[S, E]`.
        gamma, gae_lambda: discount, and lambda.
    """
    last = (rollouts.mask.sum(2, keepdim=True) - 1).clamp(min=0).long()
    following = torch.cat([value[..., 1:], torch.zeros_like(value[..., :1])], 2)
    following = following.scatter(2, last, (final * (1 - rollouts.terminated))[..., None])
    error = (rollouts.reward + gamma * following - value) * rollouts.mask
    return discounted(error, gamma * gae_lambda) * rollouts.mask
