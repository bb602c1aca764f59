"""One seed's life in the point environment, for the references of the online algorithms."""

from __future__ import annotations

import torch
from torch import Tensor

from rlbench.envs.training import episode_seed
from rlbench.rng import SeedStreams
from tests.algos.point import POINT


class Episodes:
    """Plays episode after episode and remembers every transition."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.exploration = SeedStreams((seed,), "exploration")
        self.draws = SeedStreams((seed,), "minibatches")
        self.env = POINT.make()
        self.played = 0
        self.rows: list[Tensor] = []
        self.begin()

    def begin(self) -> None:
        self.state = torch.tensor(self.env.reset(seed=episode_seed(self.seed, self.played))[0])
        self.running = 0.0

    def act(self, action: Tensor) -> None:
        observation, reward, terminated, truncated, _ = self.env.step(action.numpy())
        following = torch.tensor(observation)
        self.rows.append(torch.cat([self.state, action, torch.tensor([reward]), following, torch.tensor([terminated])]))
        self.state = following
        self.running += float(reward)
        if terminated or truncated:
            self.last_return = self.running
            self.played += 1
            self.begin()

    def minibatch(self, size: int) -> tuple[Tensor, ...]:
        """Observation, action, reward, next observation, terminated: `[size, 1]` each."""
        rows = torch.stack(self.rows)[self.draws.integers(len(self.rows), size)[0]]
        return rows.split(1, dim=1)
