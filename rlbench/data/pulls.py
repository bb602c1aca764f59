"""Logs of pulls of recovering bandits, and the recovery curves fitted to them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlbench.data.checksum import checksum
from rlbench.errors import RunError, UsageError

if TYPE_CHECKING:
    from rlbench.data.store import Progress
    from rlbench.envs.recovering_bandit import RecoveringBandit

COLUMNS = "arm", "idle", "reward"
MOST_ARMS = 100_000
"""Arms of a log; higher numbers were not counted from 0 on."""


@dataclass(frozen=True)
class PullLog:
    """Pulls summed up by arm and time of rest.

    Attributes:
        count: pulls, `[N, D]`.
        total: their rewards, `[N, D]`.
        fingerprint: a hash of the file.
        card: where the pulls come from, and the curves fitted to them.
    """

    count: np.ndarray
    total: np.ndarray
    fingerprint: str
    card: dict[str, Any]

    def curves(self) -> np.ndarray:
        """Mean rewards `[N, D]` that do not fall with rest and fit the log best (isotonic regression).

        After a rest that was never tried, an arm is taken for no better than after the longest shorter one that was.
        """
        return isotonic(self.total, self.count)


class Pulls:
    """A CSV file with a row for each pull: arm (0, 1, ...), idle (periods since its last pull, 1, 2, ...), reward.

    Args:
        env: the bandit whose arms these are; longer rests than its D count as D.
        path: the file; its first line names the columns.

    Raises:
        UsageError: there is no such file.
    """

    def __init__(self, env: RecoveringBandit, path: str) -> None:
        self.env = env
        self.path = Path(path).expanduser()
        if not self.path.is_file():
            raise UsageError(f"dataset=pulls:{path}: {self.path.absolute()} does not exist")

    def identity(self) -> dict[str, Any]:
        """The file's content, whatever its name."""
        return {"source": "pulls", "sha256": self.sha256()}

    def sha256(self) -> str:
        try:
            return checksum(self.path)
        except OSError as error:
            raise RunError(f"dataset=pulls:{self.path}: {error}") from error

    def load(self, progress: Progress | None = None) -> PullLog:
        """The pulls, summed up.

        Raises:
            UsageError: the file is no such table, or does not fit the environment.
        """
        arm, idle, reward = self.columns()
        most = MOST_ARMS if self.env.arms_known is None else self.env.arms_known
        for wrong, what in (
            (~(whole(arm) & (arm >= 0) & (arm < most)), f"arm is to be a whole number from 0 to {most - 1}"),
            (~(whole(idle) & (idle >= 1)), "idle is to be a whole number >= 1"),
            (~((reward >= 0) & (reward <= 1)), "reward is to lie in [0, 1]"),
        ):
            if wrong.any():
                row = int(wrong.argmax())
                found = ", ".join(
                    f"{name} {each[row]:g}" for name, each in zip(COLUMNS, (arm, idle, reward), strict=True)
                )
                raise self.bad(f"row {row + 1} has {found}: {what}")
        arms = int(arm.max()) + 1 if self.env.arms_known is None else self.env.arms_known
        count, total = np.zeros((2, arms, self.env.D))
        cell = arm.astype(np.int64), np.minimum(idle, self.env.D).astype(np.int64) - 1
        np.add.at(count, cell, 1.0)
        np.add.at(total, cell, reward)
        card = {
            "id": f"pulls:{self.path.name}",
            "level": "pulls",
            "source": str(self.path.absolute()),
            "rows": len(arm),
            "curves": isotonic(total, count).clip(0, 1).tolist(),
        }
        return PullLog(count, total, self.sha256(), card)

    def columns(self) -> np.ndarray:
        """The three columns, float64 `[3, rows]`."""
        try:
            with self.path.open(encoding="utf-8-sig") as file, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a table without rows
                names = [name.strip() for name in file.readline().split(",")]
                missing = [name for name in COLUMNS if name not in names]
                if missing:
                    raise self.bad(f"its first line does not name {', '.join(missing)}: wanted are {','.join(COLUMNS)}")
                table = np.loadtxt(file, delimiter=",", usecols=[names.index(name) for name in COLUMNS], ndmin=2)
        except (ValueError, OSError) as error:
            raise self.bad(" ".join(str(error).split())) from error
        if not len(table):
            raise self.bad("it has no rows")
        return table.T

    def bad(self, what: str) -> UsageError:
        return UsageError(f"dataset=pulls:{self.path}: {what}")


def whole(numbers: np.ndarray) -> np.ndarray:
    """Which numbers have nothing behind the point."""
    return np.isfinite(numbers) & (np.floor(numbers) == numbers)


def isotonic(total: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The non-decreasing rows nearest to total / weight in weighted squares, `[N, D]`; 0 before the first weight.

    By the max-min formula: at d, the largest over a <= d of the least over b >= d of the mean from a to b.
    """
    D = total.shape[1]
    zeros = np.zeros((len(total), 1))
    sums, weights = (np.concatenate([zeros, np.cumsum(each, 1)], 1) for each in (total, weight))
    mass = weights[:, None, 1:] - weights[:, :-1, None]  # [N, a, b]
    mean = np.where(mass > 0, (sums[:, None, 1:] - sums[:, :-1, None]) / np.where(mass > 0, mass, 1), np.inf)
    mean[:, np.tril(np.ones((D, D), dtype=bool), -1)] = np.inf  # b < a
    least = np.minimum.accumulate(mean[..., ::-1], 2)[..., ::-1]  # over b >= d, [N, a, d]
    least[~(np.isfinite(least) & np.triu(np.ones((D, D), dtype=bool)))] = -np.inf  # a > d, or nothing seen from a on
    fitted = least.max(1)
    return np.maximum.accumulate(np.where(weight > 0, fitted, 0.0), 1)
