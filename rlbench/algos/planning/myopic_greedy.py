"""Myopic greedy: what pays most now, with the curves known. It never waits for an arm to recover."""

from __future__ import annotations

import numpy as np

from rlbench.algos.planning.bandit_policy import BanditPolicy, highest


class MyopicGreedy(BanditPolicy):
    """Pulls the K arms with the highest mean reward after their present rest; none whose mean is 0.

    Args:
        task: the problem.
    """

    def pulls(self, most: int) -> np.ndarray:
        return highest(self.R[np.arange(self.env.N), self.rested() - 1], self.env.K)
