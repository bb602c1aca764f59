"""Demand of one's own: a table of products, stores and periods."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from pickle import PickleError
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rlbench.data.checksum import checksum
from rlbench.errors import RunError, UsageError
from rlbench.types import NonNegativeInt

if TYPE_CHECKING:
    from torch import Tensor

    from rlbench.data.store import Progress
    from rlbench.envs.inventory.problems import Inventory, Split

PURPOSES = "train", "dev", "test"
UNREADABLE = OSError, EOFError, ValueError, TypeError, AttributeError, LookupError, RuntimeError, PickleError
"""What numpy and torch raise where a file holds something else."""


@dataclass(frozen=True)
class DemandTable:
    """Recorded demand.

    Attributes:
        values: `[products, stores, periods]`, not negative.
        weeks: weeks until the one before Christmas, for every period, or None.
        split: whether purposes have periods or products of their own.
        starts: the first period of each purpose, where they have periods of their own; None: one after the other.
        fingerprint: a hash of the file.
        card: where it comes from.
    """

    values: np.ndarray
    weeks: np.ndarray | None
    split: Literal["period", "product"]
    starts: list[int] | None
    fingerprint: str
    card: dict[str, Any]

    @property
    def identity(self) -> dict[str, Any]:
        """What all that is fitted to this demand depends on."""
        weeks = None if self.weeks is None else self.weeks.tolist()
        return {"sha256": self.fingerprint, "split": self.split, "starts": self.starts, "weeks": weeks}

    @property
    def columns(self) -> int:
        """How many numbers the calendar has for a period."""
        return 0 if self.weeks is None else 1

    def firsts(self, env: Inventory) -> list[int]:
        """The first period of each purpose, that of its window."""
        if self.split == "product":
            return [0] * len(PURPOSES)
        lengths = [getattr(env, each).periods for each in PURPOSES]
        return self.starts or [sum(lengths[:place]) for place in range(len(PURPOSES))]

    @cached_property
    def window(self) -> int:
        from rlbench.envs.inventory.network import WINDOW

        return WINDOW

    def cut(self, env: Inventory, purpose: Literal["train", "dev", "test"]) -> tuple[np.ndarray, Tensor]:
        """The traces of a purpose and their calendar: later periods for `dev` and `test`, or other products.

        Returns:
            `[products, stores, WINDOW + periods]`, where the window may overlap what another purpose has, and
            `[periods, c]`.
        """
        import torch

        place = PURPOSES.index(purpose)
        values, first = self.values, self.firsts(env)[place]
        if self.split == "product":
            traces = [getattr(env, each).traces for each in PURPOSES]
            values = values[sum(traces[:place]) : sum(traces[: place + 1])]
        length = getattr(env, purpose).periods
        weeks = None if self.weeks is None else self.weeks[first + self.window : first + self.window + length]
        calendar = np.zeros((length, 0)) if weeks is None else weeks[:, None] / 52
        return values[..., first : first + self.window + length], torch.from_numpy(calendar).float()


class DemandFile:
    """A file of demand: .npy, or .pt with a tensor, of `[products, stores, periods]` or `[products, periods]`.

    Args:
        env: the problem whose stores these are.
        path: the file.
        split: `period`: policies are trained on the first periods, chosen on the next, judged on those after;
            `product`: on products of their own, all on the same periods.
        first_week: the first day of the first period where periods are weeks, e.g. 2013-01-01; null: not known, and
            policies are not told the season.
        starts: with `split: period`, the first periods (to look back on) for training, choosing and judging; what is
            ignored at the beginning may overlap what came before; null: one after the other.

    Raises:
        UsageError: there is no such file.
    """

    def __init__(
        self,
        env: Inventory,
        path: str,
        split: Literal["period", "product"],
        first_week: str | None,
        starts: list[NonNegativeInt] | None,
    ) -> None:
        self.env, self.split, self.starts = env, split, starts
        if starts is not None and len(starts) != len(PURPOSES):
            raise UsageError(f"dataset.starts={starts}: wanted are three periods, for {', '.join(PURPOSES)}")
        self.path = Path(path).expanduser()
        if not self.path.is_file():
            raise UsageError(f"dataset=demand:{path}: {self.path.absolute()} does not exist")
        try:
            self.first_week = None if first_week is None else date.fromisoformat(first_week)
        except ValueError as error:
            raise UsageError(f"dataset.first_week={first_week} is no date like 2013-01-01") from error

    def identity(self) -> dict[str, Any]:
        """The file's content, whatever its name, and how it is cut."""
        week = None if self.first_week is None else self.first_week.isoformat()
        source = {"source": "demand", "sha256": self.sha256(), "split": self.split}
        return {**source, "first_week": week, "starts": self.starts}

    def sha256(self) -> str:
        try:
            return checksum(self.path)
        except OSError as error:
            raise RunError(f"dataset=demand:{self.path}: {error}") from error

    def load(self, progress: Progress | None = None) -> DemandTable:
        """The table; negative demand (returned goods) becomes 0.

        Raises:
            UsageError: the file is no such table, or does not fit the environment.
        """
        values = self.read()
        if values.ndim == 2:
            values = values[:, None]
        if values.ndim != 3:
            raise self.bad(f"it has {values.ndim} dimensions: wanted are products, stores, periods")
        if not np.isfinite(values).all():
            raise self.bad("some of its numbers are not finite")
        products, stores, periods = values.shape
        if stores != self.env.n:
            raise self.bad(f"it has {stores} stores, env={self.env.name} has {self.env.n}")
        values = np.maximum(values, 0).astype(np.float32)
        weeks = None
        if self.first_week is not None:
            weeks = np.array([to_christmas(self.first_week.toordinal() + 7 * week) for week in range(periods)])
        card = {
            "id": f"demand:{self.path.name}",
            "level": "demand",
            "source": str(self.path.absolute()),
            "rows": products,
        }
        table = DemandTable(values, weeks, self.split, self.starts, self.sha256(), card)
        self.check(table, products, periods)
        return table

    def check(self, table: DemandTable, products: int, periods: int) -> None:
        """Refuse a table that is too small for what the environment asks for."""
        splits = [getattr(self.env, each) for each in PURPOSES]
        firsts = table.firsts(self.env)
        needed = table.window + max(first + split.periods for first, split in zip(firsts, splits, strict=True))
        if periods < needed:
            lengths = ", ".join(f"env.{each}.periods" for each in PURPOSES)
            raise self.bad(
                f"it has {periods} periods, {needed} are needed ({table.window} to look back on)\nset {lengths}"
            )
        if self.split == "period":
            self.check_apart(firsts, splits)
        elif products < (wanted := sum(split.traces for split in splits)):
            counts = ", ".join(f"env.{each}.traces" for each in PURPOSES)
            raise self.bad(f"it has {products} products, {wanted} are asked for\nset {counts}")

    def check_apart(self, firsts: list[int], splits: list[Split]) -> None:
        """Refuse to choose or judge policies on periods that they have been trained or chosen on."""
        for place in (1, 2):
            seen = firsts[place - 1] + splits[place - 1].periods
            if firsts[place] + splits[place].ignored < seen:
                raise self.bad(
                    f"dataset.starts={self.starts}: what counts for {PURPOSES[place]} begins before the periods for "
                    f"{PURPOSES[place - 1]} end\nlet it start at {seen - splits[place].ignored} or later"
                )

    def read(self) -> np.ndarray:
        try:
            if self.path.suffix == ".pt":
                import torch

                found = torch.load(self.path, weights_only=True)
                return np.asarray(found.numpy(), dtype=np.float64)
            return np.asarray(np.load(self.path, allow_pickle=False), dtype=np.float64)
        except UNREADABLE as error:
            raise self.bad(" ".join(str(error).split()) or "it is no array") from error

    def bad(self, what: str) -> UsageError:
        return UsageError(f"dataset=demand:{self.path}: {what}")


def to_christmas(day: int) -> float:
    """Weeks from a day (ordinal) to the next 18 December, a week before Christmas."""
    year = date.fromordinal(day).year
    ahead = date(year, 12, 18).toordinal() - day
    return (ahead if ahead >= 0 else date(year + 1, 12, 18).toordinal() - day) / 7
