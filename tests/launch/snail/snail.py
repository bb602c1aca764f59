"""A plug-in whose runs take as long as a test wants, at no cost, and whose every number depends on all before it."""

import time
from typing import Any

import torch
from lcg import after  # type: ignore[import-not-found]
from torch import Tensor

from rlbench.task import Task
from rlbench.types import Positive


class Snail:
    """Counts in a way that a step which is lost, repeated or done twice shows in whatever follows.

    Args:
        task: the problem.
        seconds: how long a step takes.
    """

    def __init__(self, task: Task, *, seconds: Positive) -> None:
        self.seconds = seconds
        self.values = list(task.seeds)

    def train(self, n: int) -> dict[str, Tensor]:
        for _ in range(n):
            time.sleep(self.seconds)
            self.values = [after(value) for value in self.values]
        return {"train/value": torch.tensor(self.values)}

    def evaluate(self) -> dict[str, Any]:
        return {"eval/return": torch.tensor([value % 1000 for value in self.values])}

    def state_dict(self) -> dict[str, Any]:
        return {"values": self.values}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.values = state["values"]
