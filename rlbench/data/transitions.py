"""The canonical table of transitions: what every source of offline data is turned into."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Transitions:
    """Transitions of one or more policies, episode after episode, one row each.

    The columns are observation, action, reward, next observation, terminated, truncated; episode and step follow from
    the last two. An episode ends with a row that is terminated (the task ended: no value beyond) or truncated (it was
    cut there: its next observation is true and has a value); only the last episode may end without either, where the
    recording stopped.

    Args:
        table: float32 `[N, 2 d + a + 3]`, C-contiguous; may be a read-only memory-map.
        observation_dim: d.
        action_dim: a.
        card: what is known of the data: id, source, versions, statistics; JSON-able.
        frames: uint8 `[M, C, H, W]`, of data whose observations are pictures: observations are numbers of these, the
            newest last; None: observations are states.
    """

    table: np.ndarray
    observation_dim: int
    action_dim: int
    card: dict[str, Any] = field(default_factory=dict)
    frames: np.ndarray | None = None

    def __post_init__(self) -> None:
        width = 2 * self.observation_dim + self.action_dim + 3
        if self.table.ndim != 2 or self.table.shape[1] != width or self.table.dtype != np.float32:
            shape, dtype = self.table.shape, self.table.dtype
            raise ValueError(f"a table of transitions is float32 [N, {width}], this is {dtype} {list(shape)}")

    @classmethod
    def of_columns(
        cls,
        observation: np.ndarray,
        action: np.ndarray,
        reward: np.ndarray,
        next_observation: np.ndarray,
        terminated: np.ndarray,
        truncated: np.ndarray,
        card: dict[str, Any] | None = None,
        frames: np.ndarray | None = None,
    ) -> Transitions:
        """From `[N, d]`, `[N, a]`, `[N]`, `[N, d]`, `[N]`, `[N]` of any numeric type."""
        d, a = observation.shape[1], action.shape[1]
        table = np.empty((len(observation), 2 * d + a + 3), dtype=np.float32)
        table[:, :d], table[:, d : d + a], table[:, d + a] = observation, action, reward
        table[:, d + a + 1 : -2], table[:, -2], table[:, -1] = next_observation, terminated, truncated
        return cls(table, d, a, card or {}, frames)

    def __len__(self) -> int:
        return len(self.table)

    @property
    def observation(self) -> np.ndarray:
        """`[N, d]`"""
        return self.table[:, : self.observation_dim]

    @property
    def action(self) -> np.ndarray:
        """`[N, a]`"""
        return self.table[:, self.observation_dim : self.observation_dim + self.action_dim]

    @property
    def reward(self) -> np.ndarray:
        """`[N]`"""
        return self.table[:, self.observation_dim + self.action_dim]

    @property
    def next_observation(self) -> np.ndarray:
        """`[N, d]`"""
        return self.table[:, -2 - self.observation_dim : -2]

    @property
    def terminated(self) -> np.ndarray:
        """`[N]`, 1.0 where the task ended."""
        return self.table[:, -2]

    @property
    def truncated(self) -> np.ndarray:
        """`[N]`, 1.0 where the episode was cut."""
        return self.table[:, -1]

    @cached_property
    def episode_ends(self) -> np.ndarray:
        """One past the last row of each episode, int64 `[E]`; an unfinished last episode counts."""
        ends = np.flatnonzero(self.table[:, -2:].any(axis=1)) + 1
        return ends if len(ends) and ends[-1] == len(self) else np.append(ends, len(self))

    @cached_property
    def episode_starts(self) -> np.ndarray:
        """First row of each episode, int64 `[E]`."""
        return np.concatenate([[0], self.episode_ends[:-1]])

    @cached_property
    def episode(self) -> np.ndarray:
        """The number of each row's episode, int64 `[N]`."""
        return np.repeat(np.arange(len(self.episode_ends)), self.episode_ends - self.episode_starts)

    @cached_property
    def step(self) -> np.ndarray:
        """How many steps of its episode are before each row, int64 `[N]`."""
        return np.arange(len(self)) - self.episode_starts[self.episode]

    def episode_returns(self) -> np.ndarray:
        """Undiscounted return of each episode, float64 `[E]`."""
        return np.add.reduceat(self.reward.astype(np.float64), self.episode_starts)

    @cached_property
    def finished(self) -> np.ndarray:
        """Which episodes ran to their end, bool `[E]`: all, but perhaps the last."""
        return np.asarray(self.table[self.episode_ends - 1, -2:].any(axis=1))

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of dimensions and content, in hex; for stored data, as the card has it."""
        return str(self.card.get("fingerprint") or self.hash())

    def hash(self) -> str:
        """`fingerprint`, computed from the content as it now is."""
        digest = hashlib.sha256(f"{self.observation_dim},{self.action_dim},{len(self)};".encode())
        for block in range(0, len(self), 65536):
            digest.update(np.ascontiguousarray(self.table[block : block + 65536]).data)
        for block in range(0, 0 if self.frames is None else len(self.frames), 1024):
            digest.update(np.ascontiguousarray(self.frames[block : block + 1024]).data)  # type: ignore[index]
        return digest.hexdigest()

    def statistics(self) -> dict[str, Any]:
        """Rows, and returns and lengths of the finished episodes (of all, where none is finished)."""
        kept = self.finished if self.finished.any() else np.ones_like(self.finished)
        lengths = (self.episode_ends - self.episode_starts)[kept]
        return {
            "rows": len(self),
            "episodes": len(self.episode_ends),
            "finished_episodes": int(self.finished.sum()),
            "terminated": int(self.terminated.sum()),
            "truncated": int(self.truncated.sum()),
            "return": summary(self.episode_returns()[kept]),
            "length": summary(lengths.astype(np.float64)),
        }


def summary(values: np.ndarray) -> dict[str, float]:
    """Mean, standard deviation, extremes and quartiles of `[E]` values."""
    quartiles = np.quantile(values, [0, 0.25, 0.5, 0.75, 1])
    names = ["min", "q25", "median", "q75", "max"]
    return {
        "mean": float(values.mean()),
        "std": float(values.std()),
        **{name: float(q) for name, q in zip(names, quartiles, strict=True)},
    }
