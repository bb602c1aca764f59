"""Policies that are fixed before the first period: schedules, whatever they were made of."""

from __future__ import annotations

import numpy as np

from rlbench.algos.planning.bandit_policy import BanditPolicy


class Scheduled(BanditPolicy):
    """A policy whose pulls depend on the period alone."""

    long_run: float
    """Exact average reward of a period in the long run, on the curves of the environment."""

    def due(self, times: np.ndarray) -> np.ndarray:
        """Whether each arm is pulled at each of L times: bool `[L, N]`."""
        raise NotImplementedError

    def rows(self) -> dict[str, list[int]]:
        """The schedule as a table, column by column."""
        raise NotImplementedError

    def pulls(self, most: int) -> np.ndarray:
        due = self.due(np.arange(self.time, self.time + most))
        return np.broadcast_to(due, (len(self.task.seeds), *due.shape))

    def evaluate(self) -> dict[str, np.ndarray]:
        """What every policy is judged by, and `eval/long_run_reward`, exact, with its share of the bound."""
        value = np.full(len(self.task.seeds), self.long_run)
        return {
            **super().evaluate(),
            "eval/long_run_reward": value,
            "eval/share_of_bound": value / self.bound if self.bound > 0 else np.ones_like(value),
        }

    def files(self, place: int) -> dict[str, str]:
        """What `rlbench export` writes: the schedule, the same for every seed."""
        return {"schedule.csv": csv(self.rows())}


def csv(columns: dict[str, list[int]]) -> str:
    """A table with a line for the names."""
    rows = zip(*columns.values(), strict=True)
    return "".join(",".join(map(str, row)) + "\n" for row in (columns, *rows))
