"""UCB1: the classical index policy, which takes an arm's rewards for draws of one distribution and ignores recovery."""

from __future__ import annotations

import numpy as np

from rlbench.algos.planning.bandit_policy import BanditPolicy, highest
from rlbench.task import Task
from rlbench.types import Positive


class UCB1(BanditPolicy):
    """Pulls the K arms with the highest mean + sqrt(c ln(t) / n), each once before.

    Auer, Cesa-Bianchi and Fischer, "Finite-time Analysis of the Multiarmed Bandit Problem" (Machine Learning 47, 2002).

    Args:
        task: the problem.
        c: width of the confidence bounds.
    """

    def __init__(self, task: Task, *, c: Positive) -> None:
        super().__init__(task)
        self.c = c

    def pulls(self, most: int) -> np.ndarray:
        n, wins = self.count.sum(-1), self.wins.sum(-1)
        tried = np.maximum(n, 1)
        index = wins / tried + np.sqrt(self.c * np.log(max(self.time, 2)) / tried)
        return highest(np.where(n > 0, index, np.inf), self.env.K)
