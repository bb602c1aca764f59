"""What algorithms share that learn from minibatches of examples: the unit of work is one example.

A minibatch is used as soon as its first example is due, so that the model after n examples does not depend on where
training was interrupted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rlbench.language.policy import TextPolicy
from rlbench.language.task import LanguageTask
from rlbench.language.text import Epochs, split
from rlbench.language.tuning import Tuner

if TYPE_CHECKING:
    from rlbench.algos.actor_critic import Stateful

EVALUATED = 512  # comparisons that are judged at a time


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


class ByLosses(ByExamples):
    """Tunes one model by the losses of minibatches.

    Args:
        task: the problem.
        count: size of the collection.
        batch_size: examples in a minibatch.
        micro_batch: of these, how many are computed at a time (less memory); None: all.
        tuner: changes the model.
    """

    def __init__(self, task: LanguageTask, count: int, batch_size: int, micro_batch: int | None, tuner: Tuner) -> None:
        self.micro_batch, self.tuner = micro_batch, tuner
        super().__init__(task, count, batch_size, tuner=tuner)

    @abstractmethod
    def losses(self, index: Tensor, means: Means) -> Iterator[Tensor]:
        """Losses `[S]` of the examples in places `[S, B]`, in parts; what is to be reported goes into the means."""

    def update(self, index: Tensor) -> dict[str, Tensor]:
        means = Means()
        norm = self.tuner.step(self.losses(index, means))
        return {**means.sums, "gradient_norm": norm}

    def held_out(self) -> Iterator[tuple[Tensor, float]]:
        """Places `[S, b]` of all held-out comparisons, in parts, each with its share of the whole."""
        every = torch.arange(len(self.task.held_out), device=self.task.device).expand(len(self.task.seeds), -1)
        return split(every, self.micro_batch or EVALUATED)


class WithPolicy:
    """What an algorithm has in common whose product is a policy."""

    policy: TextPolicy

    def save(self, place: int, folder: Path) -> None:
        """Write the policy of the seed in one place."""
        self.policy.save(place, folder)


class Means:
    """Metrics of a batch from those of its parts."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}

    def add(self, share: float, **metrics: Tensor) -> None:
        """Metrics `[S]` of a part, and its share of the whole."""
        for name, value in metrics.items():
            self.sums[name] = self.sums.get(name, torch.zeros_like(value)) + share * value.detach()
