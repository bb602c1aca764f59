"""Random pulls: K arms, each equally likely, every period."""

from __future__ import annotations

import numpy as np

from rlbench.algos.planning.bandit_policy import BanditPolicy, Uniforms
from rlbench.task import Task


class RandomPulls(BanditPolicy):
    """Pulls K arms at random.

    Args:
        task: the problem.
    """

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.choices = Uniforms(task, "choices")

    def pulls(self, most: int) -> np.ndarray:
        ranks = self.choices.at(self.time, most).argsort(axis=-1).argsort(axis=-1)
        return ranks < self.env.K
