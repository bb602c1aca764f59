"""What data did earn: returns to go, and replay of whole episodes that holds them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rlbench.data.sampling import EpisodeReplay
from rlbench.rng import SeedStreams


def returns_to_go(reward: np.ndarray, ends: np.ndarray, over: np.ndarray, gamma: float) -> np.ndarray:
    """Discounted return from each row on, float32 `[N]`.

    Nothing comes after an episode that is over; one that was cut is taken to go on with its last reward for ever.

    Args:
        reward: `[N]`, episode after episode.
        ends: one past the last row of each episode, `[E]`.
        over: whether the task ended there, bool `[E]`.
        gamma: below 1.
    """
    lengths = np.diff(ends, prepend=0)
    beyond = np.where(over, 0.0, reward[ends - 1] / (1 - gamma))
    returns = np.empty(len(reward), dtype=np.float32)
    for back in range(lengths.max(initial=0)):
        episodes = np.flatnonzero(lengths > back)
        rows = ends[episodes] - 1 - back
        beyond[episodes] = returns[rows] = reward[rows] + gamma * beyond[episodes]
    return returns


class ReturnReplay(EpisodeReplay):
    """Replay of transitions and their returns to go.

    Args:
        seeds, capacity, width, device: as `EpisodeReplay`'s.
        reward: which column is the reward; the last is whether the task ended.
        reward_shift: added to every reward.
        gamma: discount.
    """

    def __init__(
        self,
        seeds: int,
        capacity: int,
        width: int,
        device: torch.device | str = "cpu",
        *,
        reward: int,
        reward_shift: float,
        gamma: float,
    ) -> None:
        super().__init__(seeds, capacity, width, device)
        self.reward, self.reward_shift, self.gamma = reward, reward_shift, gamma

    def ready(self) -> np.ndarray:
        """Rows of each seed that may be drawn, int64 `[S]`."""
        return np.maximum(len(self) - self.running, 0)

    def known(self, rows: Tensor) -> Tensor:
        reward, over = rows[:, [self.reward, -2]].cpu().numpy().astype(np.float64).T
        returns = returns_to_go(reward + self.reward_shift, np.array([len(rows)]), over[-1:] == 1, self.gamma)
        return torch.from_numpy(returns).to(rows.device)

    def sample(self, batch_size: int, rng: SeedStreams) -> Tensor:
        """Uniform rows of ended episodes with replacement, `[S, batch_size, width + 1]`.

        A seed that has none gets some row, over and over: ask `ready` first.
        """
        drawn = rng.integers(np.maximum(self.ready(), 1).tolist(), batch_size)
        return self.at((self.added - len(self) + drawn) % self.rows.shape[1])
