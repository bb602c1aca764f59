"""UCB-PPP: purely periodic policies when the recovery curves are not known.

After Simchi-Levi, Zheng and Zhu, "Offline Planning and Online Learning under Recovering Rewards" (arXiv 2106.14813):
regret of order N sqrt(T) against the offline planner. Every `phase` periods, the planner plans on upper confidence
bounds U_i(d) of the mean rewards, and its schedule runs. Each pull is credited to the time that its arm has really
rested, after a change of schedule too. The bounds are made to agree with recovery from above, U_i(d) <- min over d'
>= d of U_i(d'): the other way round, one cell that was never tried would keep all longer rests at 1 for ever.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from rlbench.algos.planning.bandit_policy import BanditPolicy
from rlbench.algos.planning.periodic import Plan, plan
from rlbench.algos.planning.scheduled import csv
from rlbench.task import Task
from rlbench.types import Count, NonNegativeInt, Positive


class UCBPPP(BanditPolicy):
    """Plans optimistically, phase by phase.

    Args:
        task: the problem.
        c: width of the confidence bounds, mean + sqrt(c ln(K T) / n).
        phase: periods between two plans; null: max(4 D, sqrt(T / 10)).
        bases: odd numbers m of the planner's periods m 2^l.
        lmax: largest l for plans with one base; with two, one less.
        effort: largest knapsack that the planner solves exactly, in cells of its table times arms.
    """

    def __init__(
        self,
        task: Task,
        *,
        c: Positive,
        phase: Count | None,
        bases: list[Count],
        lmax: NonNegativeInt,
        effort: Count,
    ) -> None:
        super().__init__(task)
        self.c = c
        self.phase = phase or max(4 * self.env.D, int(np.ceil(np.sqrt(task.steps / 10))))
        self.settings: dict[str, Any] = {"bases": bases, "lmax": lmax, "effort": effort}
        self.plan = self.plan_again()

    def plan_again(self) -> Plan:
        upper = np.minimum.accumulate(self.optimism(self.c)[..., ::-1], axis=-1)[..., ::-1]
        return plan(upper, self.env.K, **self.settings)

    def pulls(self, most: int) -> np.ndarray:
        into = self.time % self.phase
        if into == 0:
            self.plan = self.plan_again()
        return self.plan.pulls(np.arange(self.time, self.time + min(most, self.phase - into)))

    def files(self, place: int) -> dict[str, str]:
        """What `rlbench export` writes: the schedule that runs now."""
        return {"schedule.csv": csv(self.plan.rows(place))}

    def state_dict(self) -> dict[str, Any]:
        arrays = {"period": self.plan.period, "offset": self.plan.offset, "value": self.plan.value}
        return {**super().state_dict(), "plan": {name: torch.from_numpy(array) for name, array in arrays.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        plan = Plan(**{name: array.numpy().copy() for name, array in state["plan"].items()})
        super().load_state_dict(state)
        self.plan = plan
