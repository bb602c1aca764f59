"""What data did earn: returns to go, and replay of whole episodes that holds them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from rlbench.data.sampling import ReplayBuffer
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


class EpisodeReplay(ReplayBuffer):
    """Replay of transitions and their returns to go, a column more, which is known when an episode has ended.

    Args:
        seeds, capacity, width, device: as `ReplayBuffer`'s, of transitions without that column.
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
        super().__init__(seeds, capacity, width + 1, device)
        self.reward, self.reward_shift, self.gamma = reward, reward_shift, gamma
        self.running = np.zeros(seeds, dtype=np.int64)
        """Rows of each seed's episode that has not ended."""

    def ready(self) -> np.ndarray:
        """Rows of each seed that may be drawn, int64 `[S]`."""
        return np.maximum(len(self) - self.running, 0)

    def append(self, rows: Tensor, ended: np.ndarray) -> None:
        """Store transitions `[S, 1, width]`; `ended` `[S]`: whose episode is over with it, or cut."""
        self.add(pad(rows, (0, 1)))
        self.running += 1
        for seed in np.flatnonzero(ended):
            kept = min(int(self.running[seed]), len(self))
            places = torch.arange(self.added - kept, self.added, device=self.rows.device) % self.rows.shape[1]
            reward, over = self.rows[seed, places][:, [self.reward, -2]].cpu().numpy().astype(np.float64).T
            returns = returns_to_go(reward + self.reward_shift, np.array([kept]), over[-1:] == 1, self.gamma)
            self.rows[seed, places, -1] = torch.from_numpy(returns).to(self.rows.device)
            self.running[seed] = 0

    def sample(self, batch_size: int, rng: SeedStreams) -> Tensor:
        """Uniform rows of ended episodes with replacement, `[S, batch_size, width + 1]`.

        A seed that has none gets some row, over and over: ask `ready` first.
        """
        seeds, capacity, width = self.rows.shape
        index = self.added - len(self) + rng.integers(np.maximum(self.ready(), 1).tolist(), batch_size)
        index = index % capacity + (torch.arange(seeds, device=index.device) * capacity)[:, None]
        return self.rows.view(-1, width).index_select(0, index.view(-1)).view(seeds, batch_size, width)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "running": self.running.tolist()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.running = np.array(state["running"], dtype=np.int64)
