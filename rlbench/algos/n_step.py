"""Returns over n steps in place of single rewards, online and of a dataset.

What follows t in the same episode is summed up, m = n steps, or fewer where the episode ends or nothing more is known:
r = sum_{i<m} gamma^i r_{t+i}, and the next observation is s_{t+m}. A target r + gamma (1 - d) V(s_{t+m}) is then right
with 1 - d = gamma^{m-1} (1 - d_{t+m-1}), which such rows have in place of d: no algorithm need know of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlbench.algos.interaction import Online
from rlbench.data.sampling import ReplayBuffer
from rlbench.rng import SeedStreams
from rlbench.task import ControlTask
from rlbench.types import Count


def over_steps(
    rows: Callable[[Tensor], Tensor], first: Tensor, last: Tensor | int, n: int, gamma: float, dims: tuple[int, int]
) -> Tensor:
    """Rows over n steps.

    Args:
        rows: the rows at places `[...]`: `[..., D + 1]`, D as `Batch.of_rows` has them, then whether an episode is over
            with the row, or cut there.
        first: the places where they begin, `[...]`.
        last: the last place that there is.
        n: steps.
        gamma: discount.
        dims: widths of observation and action.

    Returns:
        `[..., D]`.
    """
    d, a = dims
    found = row = rows(first)
    reward, kept = row[..., d + a].clone(), torch.ones_like(row[..., 0])
    place, goes_on = first, torch.ones_like(first, dtype=torch.bool)
    for step in range(1, n):
        goes_on = goes_on & (row[..., -1] == 0) & (place < last)
        place = torch.where(goes_on, place + 1, place)
        row = torch.where(goes_on[..., None], rows(place), row)
        reward = torch.where(goes_on, reward + gamma**step * row[..., d + a], reward)
        kept = torch.where(goes_on, gamma * kept, kept)
    end = 1 - kept * (1 - row[..., -2])
    following = row[..., d + a + 1 : -2]
    return torch.cat([found[..., : d + a], reward[..., None], following, end[..., None]], -1)


class StepsReplay(ReplayBuffer):
    """Replay of rows over n steps, which are put together as they are drawn.

    Args:
        seeds, capacity, width, device: as `ReplayBuffer`'s, of single transitions.
        n, gamma, dims: see `over_steps`.
    """

    def __init__(
        self,
        seeds: int,
        capacity: int,
        width: int,
        device: torch.device | str = "cpu",
        *,
        n: int,
        gamma: float,
        dims: tuple[int, int],
    ) -> None:
        super().__init__(seeds, capacity, width + 1, device)
        self.n, self.gamma, self.dims = n, gamma, dims

    def sample(self, batch_size: int, rng: SeedStreams) -> Tensor:
        oldest, capacity = self.added - len(self), self.rows.shape[1]

        def rows(age: Tensor) -> Tensor:
            return self.at((oldest + age) % capacity)

        age = rng.integers(len(self), batch_size)
        return over_steps(rows, age, len(self) - 1, self.n, self.gamma, self.dims)


class NStep(Online):
    """Stands before an algorithm that acts among a class's bases.

    Args:
        task: the problem.
        n_step: steps over which rewards are summed up before a value stands for the rest.
        online: see the algorithm.
    """

    gamma: float

    def __init__(self, task: ControlTask, *, n_step: Count, **online: Any) -> None:
        self.n_step = n_step
        super().__init__(task, **online)

    def make_buffer(self, capacity: int, width: int) -> ReplayBuffer:
        return StepsReplay(
            len(self.task.seeds), capacity, width, self.task.device, n=self.n_step, gamma=self.gamma, dims=self.dims
        )

    def remember(self, rows: Tensor, ended: np.ndarray) -> None:
        over = torch.from_numpy(ended.astype(np.float32)).to(rows.device)[:, None, None]
        self.buffer.add(torch.cat([rows, over], -1))

    def dataset_rows(self) -> Tensor:
        """The rows of a dataset, over n steps, `[N, D]`."""
        single: Tensor = super().dataset_rows()  # type: ignore[misc]
        data = self.task.dataset
        ended = self.task.tensor((data.terminated + data.truncated) > 0)
        rows = torch.cat([single, ended[:, None]], -1)
        first = torch.arange(len(rows), device=rows.device)
        return over_steps(lambda place: rows[place], first, len(rows) - 1, self.n_step, self.gamma, self.dims)
