"""A plug-in whose score is a known function of its hyperparameters."""

import math
import time
from typing import Any, ClassVar

import torch
from torch import Tensor

from rlbench.metrics import Ways
from rlbench.task import Task
from rlbench.types import Count, NonNegative, Positive


def height(x: float, y: float, width: int) -> float:
    """1 at the top, which is at x = 0.3, y = 0.01, width = 5."""
    return 1 - (x - 0.3) ** 2 - ((math.log10(y) + 2) / 4) ** 2 - ((width - 5) / 10) ** 2


class Hill:
    """Climbs a hill: the score grows with the steps, to the hill's height.

    Args:
        task: the problem.
        x: a coordinate.
        y: another, whose logarithm counts.
        width: a whole number.
        colour: a word that changes nothing but the run.
        tilt: what a seed's number adds to its score.
        seconds: how long a step takes.
        falls: the step at which it comes to grief.
    """

    metric_directions: ClassVar[Ways] = {"eval/depth": "lower"}

    def __init__(
        self,
        task: Task,
        *,
        x: float,
        y: Positive,
        width: Count,
        colour: str,
        tilt: float,
        seconds: NonNegative,
        falls: Count,
    ) -> None:
        self.task = task
        self.top = height(x, y, width)
        self.tilt = tilt
        self.seconds = seconds
        self.falls = falls
        self.step = 0

    def train(self, n: int) -> dict[str, Tensor]:
        time.sleep(n * self.seconds)
        self.step += n
        lost = self.step >= self.falls
        return {"train/loss": torch.full((len(self.task.seeds),), float("nan") if lost else 0.0)}

    def evaluate(self) -> dict[str, Any]:
        scores = torch.tensor([self.top + self.tilt * seed for seed in self.task.seeds], dtype=torch.float64)
        return {"eval/return": scores * self.step / self.task.steps, "eval/depth": -scores}

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
