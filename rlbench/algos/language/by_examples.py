"""What algorithms share that learn from minibatches of examples: the unit of work is one example.

A minibatch is used as soon as its first example is due, so that the model after n examples does not depend on where
training was interrupted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol

import torch
from torch import Tensor

from rlbench.language.task import LanguageTask
from rlbench.language.text import Epochs

EVALUATED = 512  # comparisons that are judged at a time


class Stateful(Protocol):
    """Something that is kept in checkpoints."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class ByExamples(ABC):
    """Learns from the places in a collection, shuffled anew for every pass.

    Args:
        task: the problem.
        count: size of the collection.
        batch_size: examples in a minibatch.
        kept: what else changes in an update.
    """

    def __init__(self, task: LanguageTask, count: int, batch_size: int, **kept: Stateful) -> None:
        self.task = task
        self.batches = Epochs(count, batch_size, task.streams("minibatches"))
        self.kept: dict[str, Stateful] = {"batches": self.batches, **kept}
        self.examples, self.used = 0, 0
        """Examples asked for, and minibatches used."""
        self.metrics: dict[str, Tensor] = {}

    @abstractmethod
    def update(self, index: Tensor) -> dict[str, Tensor]:
        """One update by the examples in places `[S, B]`; metrics `[S]`."""

    @abstractmethod
    def evaluate(self) -> dict[str, Any]:
        """What the model is judged by."""

    def train(self, n: int) -> dict[str, Tensor]:
        self.examples += n
        while self.used * self.batches.batch_size < self.examples:
            metrics = self.update(self.batches.next())
            self.metrics = {f"train/{name}": value for name, value in metrics.items()}
            self.used += 1
        return dict(self.metrics)

    def state_dict(self) -> dict[str, Any]:
        counts = {"examples": self.examples, "used": self.used, "metrics": dict(self.metrics)}
        return {**counts, **{name: part.state_dict() for name, part in self.kept.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, part in self.kept.items():
            part.load_state_dict(state[name])
        self.examples, self.used = state["examples"], state["used"]
        self.metrics = {name: value.to(self.task.device) for name, value in state["metrics"].items()}


class Means:
    """Metrics of a batch from those of its parts."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}

    def add(self, share: float, **metrics: Tensor) -> None:
        """Metrics `[S]` of a part, and its share of the whole."""
        for name, value in metrics.items():
            self.sums[name] = self.sums.get(name, torch.zeros_like(value)) + share * value.detach()
