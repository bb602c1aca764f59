"""UCB-greedy: learns a mean for every arm and time of rest, and takes what may pay most now. It never waits either."""

from __future__ import annotations

import numpy as np

from rlbench.algos.planning.bandit_policy import BanditPolicy, highest
from rlbench.task import Task
from rlbench.types import Positive


class UCBGreedy(BanditPolicy):
    """Pulls the K arms with the highest confidence bounds for their present rest.

    Args:
        task: the problem.
        c: width of the confidence bounds, mean + sqrt(c ln(K T) / n).
    """

    def __init__(self, task: Task, *, c: Positive) -> None:
        super().__init__(task)
        self.c = c

    def pulls(self, most: int) -> np.ndarray:
        rested = self.rested()[..., None] - 1
        return highest(np.take_along_axis(self.optimism(self.c), rested, -1)[..., 0], self.env.K)
