"""Frames of pictures, each kept once: rows of data hold their numbers, which become pictures just before they are seen.

A picture is the last k frames. Its frames may have any numbers, so that pictures that follow each other share all but
one frame, and rows stay narrow. Numbers from 0 on are of a data set's table, which processes share; numbers below 0 are
of frames that the run has collected itself.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlbench.data.resident import resident
from rlbench.errors import UsageError
from rlbench.nets.pictures import SHIFT, shifted
from rlbench.rng import SeedStreams

MOST = 1 << 24
"""Frames in a table: as float32, larger numbers are not exact."""


def numbers(frame: np.ndarray, start: np.ndarray, count: int) -> np.ndarray:
    """The numbers of each row's picture, int64 `[N, count]`, the newest last.

    Args:
        frame: the number of each row's own frame, `[N]`, those of an episode one after another.
        start: the number of the first frame of each row's episode, `[N]`: it stands for those before.
        count: k.
    """
    back = np.arange(count - 1, -1, -1)
    return np.maximum(frame[:, None] - back, start[:, None])


class Ring:
    """Frames of one's own, the newest of each seed, and the pictures that seeds see now.

    Args:
        seeds: S.
        rows: transitions that are kept; the frames of all of them are.
        shape: of a frame, `(C, H, W)`.
        count: k, frames in a picture.
    """

    def __init__(
        self, seeds: int, rows: int, shape: tuple[int, int, int], count: int, device: torch.device | str = "cpu"
    ) -> None:
        # A transition has one new frame, and one more where an episode begins; memory is taken as it is written to.
        self.size = 2 * rows + 2 * count
        if seeds * self.size >= MOST:
            raise UsageError(
                f"{seeds} seeds with {rows:,} transitions each have more frames than numbers ({MOST:,})\n"
                "train fewer seeds together, or keep less with algo.buffer_size="
            )
        self.shape = shape
        self.table = torch.zeros(seeds * self.size, int(np.prod(shape)), dtype=torch.uint8, device=device)
        self.added = np.zeros(seeds, dtype=np.int64)
        self.recent = np.zeros((seeds, count), dtype=np.int64)
        """Numbers of the frames that each seed sees, `[S, k]`."""

    def add(self, seed: int, picture: np.ndarray) -> int:
        """Store the newest frame of a picture `[k C H W]`; returns its number."""
        place = seed * self.size + int(self.added[seed]) % self.size
        self.table[place] = torch.from_numpy(picture[-self.table.shape[1] :].astype(np.uint8)).to(self.table.device)
        self.added[seed] += 1
        return -1 - place

    def begin(self, seed: int, picture: np.ndarray) -> None:
        """An episode begins with this picture."""
        self.recent[seed] = self.add(seed, picture)

    def follow(self, pictures: np.ndarray) -> tuple[Tensor, Tensor]:
        """Numbers `[S, 1, k]` of what was seen, and of the pictures `[S, k C H W]` that follow."""
        before = self.recent
        newest = [self.add(seed, picture) for seed, picture in enumerate(pictures)]
        self.recent = np.concatenate([before[:, 1:], np.array(newest)[:, None]], 1)
        device = self.table.device
        seen, following = (torch.from_numpy(each.astype(np.float32)).to(device) for each in (before, self.recent))
        return seen[:, None], following[:, None]

    def state_dict(self) -> dict[str, Any]:
        used = [
            self.table[seed * self.size :][: min(int(count), self.size)].clone()
            for seed, count in enumerate(self.added)
        ]
        return {"frames": used, "added": self.added.tolist(), "recent": self.recent.tolist()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.added, self.recent = (np.array(state[name], dtype=np.int64) for name in ("added", "recent"))
        for seed, frames in enumerate(state["frames"]):
            self.table[seed * self.size :][: len(frames)] = frames


def table_of(frames: np.ndarray) -> Tensor:
    """Frames uint8 `[M, C, H, W]` as rows `[M, C H W]`, which processes share."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nor is it written to
        rows = torch.from_numpy(frames).flatten(1)
    return rows if isinstance(frames, np.memmap) else resident(rows)  # the store's file is shared as it is


class Sight:
    """Makes pictures of numbers, each shifted by a few pixels at random (DrQ-v2).

    Args:
        shift: one stream a seed.
        shape: of a frame, `(C, H, W)`.
        data: the frames of a data set, uint8 `[M, C, H, W]`.
        ring: frames of one's own.
    """

    def __init__(
        self,
        shift: SeedStreams,
        shape: tuple[int, int, int],
        data: np.ndarray | None = None,
        ring: Ring | None = None,
    ) -> None:
        self.shift, self.shape, self.ring = shift, shape, ring
        self.data = None if data is None else table_of(data).to(shift.device)

    def frames(self, numbers: Tensor) -> Tensor:
        """Numbers `[...]` to frames `[..., C H W]`."""
        places = numbers.long()
        flat = places.flatten()
        if self.data is None or self.ring is None:
            table = self.data if self.ring is None else self.ring.table
            assert table is not None
            found = table.index_select(0, flat if self.ring is None else -1 - flat)
        else:
            of_data = self.data.index_select(0, flat.clamp(min=0))
            found = torch.where(flat[:, None] >= 0, of_data, self.ring.table.index_select(0, (-1 - flat).clamp(min=0)))
        return found.unflatten(0, places.shape)

    def __call__(self, numbers: Tensor) -> Tensor:
        """Numbers `[S, B, ..., k]` to pictures `[S, B, ..., k C H W]`, uint8, with one shift for each of `[S, B]`."""
        frames = self.frames(numbers)
        offset = (self.shift.uniform(numbers.shape[1], 2) * (2 * SHIFT + 1)).long() - SHIFT
        stacked = frames.view(*numbers.shape[:2], -1, *self.shape[1:])
        return shifted(stacked, offset).view(*numbers.shape[:-1], -1)

    def state_dict(self) -> dict[str, Any]:
        return self.shift.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.shift.load_state_dict(state)
