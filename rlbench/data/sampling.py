"""Minibatches of transitions with a leading seed axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from rlbench.data.resident import resident
from rlbench.rng import SeedStreams

if TYPE_CHECKING:
    from rlbench.task import ControlTask


LINE = 16
"""Numbers in a line of a processor's cache, on most processors."""


class Batch(NamedTuple):
    """One minibatch a seed; observations are features (`ControlTask.features`)."""

    observation: Tensor  # [S, B, d]
    action: Tensor  # [S, B, a]
    reward: Tensor  # [S, B, 1]
    next_observation: Tensor  # [S, B, d]
    terminated: Tensor  # [S, B, 1], 1.0 where the episode truly ended
    extra: Tensor = torch.empty(0)  # [S, B, e], the further columns of `training_rows`

    @staticmethod
    def of_rows(rows: Tensor, observation_dim: int, action_dim: int) -> Batch:
        """Views into rows `[S, B, 2 d + a + 2 + e]` laid out as the fields above."""
        widths = [observation_dim, action_dim, 1, observation_dim, 1]
        return Batch(*rows.split([*widths, rows.shape[-1] - sum(widths)], dim=-1))


def training_rows(task: ControlTask, reward: Tensor | None = None, extra: Tensor | None = None) -> Tensor:
    """The dataset as training reads it: `[N, D]`, or `[S, N, D]` where features differ from seed to seed.

    Args:
        task: its data's observations go through its features, once, here.
        reward: `[N]`, replaces the dataset's (rescaled rewards).
        extra: `[N, e]` further columns, appended.
    """
    data = task.dataset

    def features(column: Any) -> Tensor:
        """Row blocks bound the memory of features that run a model."""
        rows = task.tensor(column)
        seeds = 1 if task.features.shared else len(task.seeds)
        made = torch.cat([task.features(block.expand(seeds, -1, -1)) for block in rows.split(8192)], dim=1)
        return made[0] if task.features.shared else made

    if task.features.is_identity:
        observation, next_observation = task.tensor(data.observation), task.tensor(data.next_observation)
    else:
        observation, next_observation = features(data.observation), features(data.next_observation)
    columns = [
        task.tensor(data.action),
        task.tensor(data.reward)[:, None] if reward is None else reward[:, None],
        next_observation,
        task.tensor(data.terminated)[:, None],
        *([] if extra is None else [extra]),
    ]
    return torch.cat([c.expand(*observation.shape[:-1], -1) for c in [observation, *columns]], dim=-1)


def aligned(rows: Tensor) -> Tensor:
    """Rows `[N, D]`, and columns that nobody reads: each begins with a line of the cache, and so is in the fewest."""
    width = rows.shape[-1]
    return pad(rows, (0, -width % LINE)) if width % LINE else rows


class Minibatches:
    """Rows drawn uniformly with replacement, many minibatches a gather.

    Args:
        rows: `[N, D]` shared by the seeds, or `[S, N, D]`.
        batch_size: B.
        rng: one stream a seed.
        ahead: minibatches drawn at once.
    """

    def __init__(self, rows: Tensor, batch_size: int, rng: SeedStreams, ahead: int = 32) -> None:
        seeds = len(rng)
        self.count, width = rows.shape[-2:]
        self.rows = resident(aligned(rows)) if rows.dim() == 2 else rows.flatten(0, 1)
        self.offset = torch.zeros(seeds, 1, 1, dtype=torch.int64, device=rows.device)
        if rows.dim() == 3:
            self.offset += (torch.arange(seeds, device=rows.device) * self.count)[:, None, None]
        self.batch_size = batch_size
        self.ahead = ahead
        self.rng = rng
        self.indices = self.offset.new_zeros(seeds, ahead, batch_size)
        self.buffer = rows.new_zeros(ahead, seeds, batch_size, self.rows.shape[-1])
        self.batches = self.buffer[..., :width].unbind()
        self.position = ahead

    def next(self) -> Tensor:
        """The next minibatch, `[S, B, D]`; valid until `ahead` more were drawn."""
        if self.position == self.ahead:
            self.indices = self.rng.integers(self.count, self.ahead, self.batch_size)
            self._gather()
            self.position = 0
        self.position += 1
        return self.batches[self.position - 1]

    def _gather(self) -> None:
        index = (self.indices + self.offset).transpose(0, 1).reshape(-1)
        torch.index_select(self.rows, 0, index, out=self.buffer.view(-1, self.buffer.shape[-1]))

    def state_dict(self) -> dict[str, Any]:
        return {"rng": self.rng.state_dict(), "indices": self.indices, "position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rng.load_state_dict(state["rng"])
        self.indices, self.position = state["indices"].to(self.rows.device), state["position"]
        self._gather()


class ReplayBuffer:
    """A ring of the newest rows, one ring a seed, all filled in step.

    Args:
        seeds: S.
        capacity: rows a seed.
        width: D.
    """

    def __init__(self, seeds: int, capacity: int, width: int, device: torch.device | str = "cpu") -> None:
        self.rows = torch.zeros(seeds, capacity, width, device=device)
        self.offset = (torch.arange(seeds, device=device) * capacity)[:, None]
        self.added = 0

    def __len__(self) -> int:
        return min(self.added, self.rows.shape[1])

    def add(self, rows: Tensor) -> None:
        """Append `[S, n, D]`, overwriting the oldest."""
        n, capacity = rows.shape[1], self.rows.shape[1]
        start = self.added % capacity
        head = min(n, capacity - start)
        self.rows[:, start : start + head] = rows[:, :head]
        self.rows[:, : n - head] = rows[:, head:]
        self.added += n

    def sample(self, batch_size: int, rng: SeedStreams) -> Tensor:
        """Uniform rows with replacement, `[S, batch_size, D]`."""
        return self.at(rng.integers(len(self), batch_size))

    def at(self, places: Tensor) -> Tensor:
        """The rows in these places of the rings, `[S, n]` to `[S, n, D]`."""
        width = self.rows.shape[2]
        return self.rows.view(-1, width).index_select(0, (places + self.offset).view(-1)).view(*places.shape, width)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows[:, : len(self)].clone(), "added": self.added}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.added = state["added"]
        self.rows[:, : len(self)] = state["rows"]


class EpisodeReplay(ReplayBuffer):
    """Replay of transitions with a column more, the last, which is known when their episode has ended.

    Args:
        seeds, capacity, width, device: as `ReplayBuffer`'s, of transitions without that column.
    """

    def __init__(self, seeds: int, capacity: int, width: int, device: torch.device | str = "cpu") -> None:
        super().__init__(seeds, capacity, width + 1, device)
        self.running = np.zeros(seeds, dtype=np.int64)
        """Rows of each seed's episode that has not ended."""

    def known(self, rows: Tensor) -> Tensor:
        """What the column holds, `[n]`, of the rows of an episode that has ended: the last n, as many as are kept."""
        raise NotImplementedError

    def append(self, rows: Tensor, ended: np.ndarray) -> None:
        """Store transitions `[S, 1, width]`; `ended` `[S]`: whose episode is over with it, or cut."""
        self.add(pad(rows, (0, 1)))
        self.running += 1
        for seed in np.flatnonzero(ended):
            kept = min(int(self.running[seed]), len(self))
            places = torch.arange(self.added - kept, self.added, device=self.rows.device) % self.rows.shape[1]
            self.rows[seed, places, -1] = self.known(self.rows[seed, places])
            self.running[seed] = 0

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "running": self.running.tolist()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.running = np.array(state["running"], dtype=np.int64)
