"""A plain soft actor-critic of one seed, for the tests of SAC-N, EDAC and CQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from rlbench.data.transitions import Transitions
from rlbench.rng import SeedStreams
from tests.algos.helpers import Columns, descend, follow, minibatches, reference, same


class PlainSAC:
    """Seed number k of an algorithm, rebuilt from its first weights, random streams and dataset."""

    gamma = 0.99

    def __init__(self, algorithm: Any, data: Transitions | None, k: int, seed: int, batch_size: int) -> None:
        params, members = algorithm.params, algorithm.num_critics
        self.k, self.members, self.size, self.dim = k, members, batch_size, algorithm.task.networks.action_dim
        self.actor = reference(params["actor"], k)
        self.critics = [reference(params["critic"], members * k + m) for m in range(members)]
        self.targets = [reference(params["critic"], members * k + m) for m in range(members)]
        self.log_alpha = torch.zeros(1, requires_grad=True)
        self.noise = SeedStreams((seed,), "policy noise")
        if data is not None:
            self.draws: Iterator[Columns] = minibatches(data, seed, batch_size)

    def optimise(self, actor: float, critic: float, alpha: float) -> None:
        """Adam for everything."""
        self.actor_optimizer = torch.optim.Adam(self.actor.parameters(), lr=actor)
        self.critic_optimizer = torch.optim.Adam([p for c in self.critics for p in c.parameters()], lr=critic)
        self.alpha_optimizer = torch.optim.Adam([self.log_alpha], lr=alpha)

    def squash(self, state: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """A sampled action and its log-probability, `[B, a]` and `[B, 1]`."""
        mean, log_std = self.actor(state).chunk(2, 1)
        normal = torch.distributions.Normal(mean, log_std.clamp(-5, 2).exp())
        u = mean + normal.stddev * noise
        log_prob = normal.log_prob(u) - torch.log(1 - torch.tanh(u) ** 2 + 1e-6)
        return torch.tanh(u), log_prob.sum(1, keepdim=True)

    def sample(self, state: Tensor) -> tuple[Tensor, Tensor]:
        return self.squash(state, self.noise.normal(self.size, self.dim)[0])

    def target(self, batch: Columns, entropy: bool) -> Tensor:
        with torch.no_grad():
            action, log_prob = self.sample(batch.next_observation)
            pairs = torch.cat([batch.next_observation, action], 1)
            value = torch.stack([t(pairs) for t in self.targets]).amin(0)
            if entropy:
                value = value - self.log_alpha.exp() * log_prob
            return batch.reward + self.gamma * (1 - batch.terminated) * value

    def update_actor(self, batch: Columns) -> float:
        action, log_prob = self.sample(batch.observation)
        pairs = torch.cat([batch.observation, action], 1)
        q = torch.stack([c(pairs) for c in self.critics]).amin(0)
        loss = descend(self.actor_optimizer, (self.log_alpha.exp().detach() * log_prob - q).mean())
        descend(self.alpha_optimizer, -(self.log_alpha * (log_prob.detach() - self.dim)).mean())
        return loss

    def follow(self) -> None:
        for target, critic in zip(self.targets, self.critics, strict=True):
            follow(target, critic, 0.005)

    def check(self, params: Any) -> None:
        """Assert that the algorithm ended with the same weights."""
        same(self.actor, params["actor"], self.k)
        torch.testing.assert_close(params["alpha"]["log_alpha"][self.k, 0], self.log_alpha.detach(), rtol=0, atol=1e-5)
        for m in range(self.members):
            same(self.critics[m], params["critic"], self.members * self.k + m)
            same(self.targets[m], params["target"], self.members * self.k + m)
