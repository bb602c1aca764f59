"""What algorithms share that learn from minibatches of examples: the unit of work is one example.

A minibatch is used as soon as its first example is due, so that the model after n examples does not depend on where
training was interrupted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from rlbench.language.policy import Model
from rlbench.language.task import LanguageTask
from rlbench.language.text import Epochs
from rlbench.language.tuning import Tuner

EVALUATED = 512  # comparisons that are judged at a time


class ByExamples(ABC):
    """Learns from the places in a collection, shuffled anew for every pass.

    Args:
        task: the problem.
        tuner: changes the model.
        count: size of the collection.
        batch_size: examples in a minibatch.
    """

    def __init__(self, task: LanguageTask, tuner: Tuner, count: int, batch_size: int) -> None:
        self.task, self.tuner = task, tuner
        self.batches = Epochs(count, batch_size, task.streams("minibatches"))
        self.examples = 0
        self.metrics: dict[str, Tensor] = {}

    @property
    def model(self) -> Model:
        """What is trained."""
        return self.tuner.model

    @abstractmethod
    def update(self, index: Tensor) -> dict[str, Tensor]:
        """One update by the examples in places `[S, B]`; metrics `[S]`."""

    @abstractmethod
    def evaluate(self) -> dict[str, Any]:
        """What the model is judged by."""

    def train(self, n: int) -> dict[str, Tensor]:
        self.examples += n
        while self.tuner.updates * self.batches.batch_size < self.examples:
            self.metrics = self.update(self.batches.next())
        return dict(self.metrics)

    def state_dict(self) -> dict[str, Any]:
        return {
            "tuner": self.tuner.state_dict(),
            "batches": self.batches.state_dict(),
            "examples": self.examples,
            "metrics": dict(self.metrics),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.tuner.load_state_dict(state["tuner"])
        self.batches.load_state_dict(state["batches"])
        self.examples = state["examples"]
        self.metrics = {name: value.to(self.task.device) for name, value in state["metrics"].items()}


class Means:
    """Metrics of a batch from those of its parts."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}

    def add(self, share: float, **metrics: Tensor) -> None:
        """Metrics `[S]` of a part, and its share of the whole."""
        for name, value in metrics.items():
            self.sums[name] = self.sums.get(name, torch.zeros_like(value)) + share * value.detach()
