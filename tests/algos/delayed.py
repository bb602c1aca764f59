"""A plain TD3 of one seed that plays its own episodes, for the tests of TD3 and Hy-Q."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from rlbench.rng import SeedStreams
from tests.algos.acting import Episodes
from tests.algos.helpers import descend, follow, reference, same


class PlainTD3:
    """Seed number k of an algorithm that explores with noise of 0.3, rebuilt from its first weights and streams."""

    def __init__(self, algorithm: Any, k: int, seed: int) -> None:
        params = algorithm.params
        self.k, self.episodes, self.noise = k, Episodes(seed), SeedStreams((seed,), "policy noise")
        self.actor, self.target_actor = (reference(params["actor"], k) for _ in range(2))
        self.critics, self.targets = ([reference(params["critic"], 2 * k + m) for m in range(2)] for _ in range(2))
        self.actor_optimizer = torch.optim.Adam(self.actor.parameters(), lr=3e-4)
        self.critic_optimizer = torch.optim.Adam([p for c in self.critics for p in c.parameters()], lr=3e-4)

    def train(self, steps: int, minibatch: Callable[[Episodes], Sequence[Tensor]], shift: float = 0.0) -> None:
        """Twenty steps at random, then an update a step, on 16 rows whose rewards are shifted."""
        for step in range(1, steps + 1):
            explore = self.episodes.exploration
            if step <= 20:
                self.episodes.act(2 * explore.uniform(1, 1)[0, 0] - 1)
                continue
            with torch.no_grad():
                action = torch.tanh(self.actor(self.episodes.state)) + 0.3 * explore.normal(1, 1)[0, 0]
            self.episodes.act(action.clamp(-1, 1))
            s, a, r, s2, d = minibatch(self.episodes)[:5]
            with torch.no_grad():
                disturbance = (0.2 * self.noise.normal(16, 1)[0]).clamp(-0.5, 0.5)
                a2 = (torch.tanh(self.target_actor(s2)) + disturbance).clamp(-1, 1)
                q2 = torch.minimum(*(t(torch.cat([s2, a2], 1)) for t in self.targets))
                y = r + shift + 0.99 * (1 - d) * q2
            errors = [((c(torch.cat([s, a], 1)) - y) ** 2).mean() for c in self.critics]
            self.critic_loss = descend(self.critic_optimizer, errors[0] + errors[1])
            if step % 2 == 0:
                pi = torch.cat([s, torch.tanh(self.actor(s))], 1)
                self.actor_loss = descend(self.actor_optimizer, -self.critics[0](pi).mean())
                follow(self.target_actor, self.actor, 0.005)
                for target, critic in zip(self.targets, self.critics, strict=True):
                    follow(target, critic, 0.005)

    def check(self, metrics: dict[str, Tensor], params: dict[str, Any]) -> None:
        """The algorithm's last losses and its parameters are these."""
        assert metrics["train/critic_loss"][self.k].item() == pytest.approx(self.critic_loss, rel=1e-4)
        assert metrics["train/actor_loss"][self.k].item() == pytest.approx(self.actor_loss, rel=1e-4, abs=1e-5)
        same(self.actor, params["actor"], self.k)
        for m in range(2):
            same(self.critics[m], params["critic"], 2 * self.k + m)
            same(self.targets[m], params["target_critic"], 2 * self.k + m)
