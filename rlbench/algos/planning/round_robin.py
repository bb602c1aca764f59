"""Round robin: the next K arms, again and again."""

from __future__ import annotations

from math import gcd

import numpy as np

from rlbench.algos.planning.scheduled import Scheduled
from rlbench.task import Task


class RoundRobin(Scheduled):
    """Pulls the arms in turn, K a period.

    Args:
        task: the problem.
    """

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.cycle = self.env.N // gcd(self.env.N, self.env.K)
        self.long_run = self.env.long_run(self.due(np.arange(self.cycle)))

    def due(self, times: np.ndarray) -> np.ndarray:
        place = (np.arange(self.env.N) - times[:, None] * self.env.K) % self.env.N
        return place < self.env.K

    def rows(self) -> dict[str, list[int]]:
        time, arm = np.nonzero(self.due(np.arange(self.cycle)))
        return {"period": time.tolist(), "arm": arm.tolist()}
