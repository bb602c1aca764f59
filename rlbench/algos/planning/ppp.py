"""PPP: the offline planner of purely periodic policies, for recovery curves that are known or fitted.

After Simchi-Levi, Zheng and Zhu, "Offline Planning and Online Learning under Recovering Rewards" (arXiv 2106.14813):
each arm gets a period and an offset; the long-run average reward is within 1 - O(1 / sqrt(K)) of the best policy of
any kind. `rlbench.algos.planning.periodic` has the plan and the guarantee. Nothing is learned: the schedule runs from
the first period on.
"""

from __future__ import annotations

import numpy as np

from rlbench.algos.planning.periodic import plan, rate
from rlbench.algos.planning.scheduled import Scheduled
from rlbench.task import Task
from rlbench.types import Count, NonNegativeInt


class PPP(Scheduled):
    """Runs the planner's schedule; with a data set of pulls, that of the curves fitted to it.

    Args:
        task: the problem.
        bases: odd numbers m: periods are m 2^l, with one or two m in a plan.
        lmax: largest l for plans with one base; with two, one less.
        effort: largest knapsack that is solved exactly, in cells of its table times arms; above, rounding alone.
    """

    def __init__(self, task: Task, *, bases: list[Count], lmax: NonNegativeInt, effort: Count) -> None:
        super().__init__(task)
        R = self.R if task.data is None else task.data.curves()
        self.plan = plan(R[None], self.env.K, bases, lmax, effort)
        self.long_run = float(rate(self.R[None], self.plan.period)[0])

    def due(self, times: np.ndarray) -> np.ndarray:
        return self.plan.pulls(times)[0]

    def rows(self) -> dict[str, list[int]]:
        return self.plan.rows(0)
