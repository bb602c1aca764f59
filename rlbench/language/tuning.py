"""Updates of language models: RMSprop with linear warm-up and clipped gradients, and supervised fine-tuning."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rlbench.language.policy import Model, TextPolicy
from rlbench.language.text import Epochs, Text, Texts, split
from rlbench.rng import SeedStreams


class Tuner:
    """Changes a model by gradients, each seed's clipped by itself.

    A parameter in half precision has a copy in single precision that the updates add up in: an update is mostly smaller
    than half the distance to the next number that the parameter could be, and would be lost.

    Args:
        model: the model.
        learning_rate: after warm-up.
        warmup_updates: w; the rate of update k (from 0) is that times min(1, (k + 1) / (w + 1)).
        max_grad_norm: gradients are scaled down to this norm.
    """

    def __init__(self, model: Model, learning_rate: float, warmup_updates: int, max_grad_norm: float) -> None:
        self.model = model
        self.learning_rate, self.warmup_updates, self.max_grad_norm = learning_rate, warmup_updates, max_grad_norm
        self.parameters = model.parameters()
        self.masters = [value if value.dtype == torch.float32 else single(value) for value in self.parameters]
        self.optimizer = torch.optim.RMSprop(self.masters, lr=learning_rate)
        self.updates = 0

    def step(self, losses: Iterable[Tensor]) -> Tensor:
        """One update by the sum of losses `[S]`, whose graphs are freed one after another; the gradients' norms."""
        self.optimizer.zero_grad()
        for loss in losses:
            loss.sum().backward()
        norm = self.model.clip(self.max_grad_norm)
        for master, value in self.copied():
            if value.grad is not None:
                master.grad, value.grad = value.grad.float(), None
        rate = self.learning_rate * min(1.0, (self.updates + 1) / (self.warmup_updates + 1))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        for master, value in self.copied():
            value.data.copy_(master)
            master.grad = None
        self.updates += 1
        return norm

    def copied(self) -> list[tuple[Tensor, Tensor]]:
        """The copies in single precision, with their parameters."""
        both = zip(self.masters, self.parameters, strict=True)
        return [(master, value) for master, value in both if master is not value]

    def state_dict(self) -> dict[str, Any]:
        optimizer = self.optimizer.state_dict()
        state = {
            place: {name: each.clone() if isinstance(each, Tensor) else each for name, each in values.items()}
            for place, values in optimizer["state"].items()
        }
        return {
            "model": self.model.state_dict(),
            "masters": [master.clone() for master, _ in self.copied()],
            "optimizer": {**optimizer, "state": state},
            "updates": self.updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        for (master, _), saved in zip(self.copied(), state["masters"], strict=True):
            master.copy_(saved)
        self.optimizer.load_state_dict(state["optimizer"])
        self.updates = state["updates"]


def single(value: Tensor) -> Tensor:
    """A copy in single precision."""
    return value.detach().float().clone()


@dataclass(frozen=True)
class Fitting:
    """How a model is fitted to a collection; the updates as `Tuner` makes them.

    Attributes:
        epochs: passes over it; 0 leaves the model as it is.
        batch_size: of a minibatch.
        micro_batch: of these, how many are computed at a time (less memory); None: all.
        learning_rate, warmup_updates, max_grad_norm: as `Tuner`'s.
    """

    epochs: int
    batch_size: int
    micro_batch: int | None
    learning_rate: float
    warmup_updates: int
    max_grad_norm: float


class Fit:
    """A stage that trains a model for some passes over a collection; a unit is an update.

    Args:
        name: for progress, and separates random streams.
        model: what is trained.
        count: size of the collection.
        loss: from places in it `[S, B]` to losses of a minibatch, in parts.
        rng: one stream a seed.
        fitting: hyperparameters.
    """

    def __init__(
        self,
        name: str,
        model: Model,
        count: int,
        loss: Callable[[Tensor], Iterable[Tensor]],
        rng: SeedStreams,
        fitting: Fitting,
    ) -> None:
        self.name, self.loss = name, loss
        self.tuner = Tuner(model, fitting.learning_rate, fitting.warmup_updates, fitting.max_grad_norm)
        self.batches = Epochs(count, fitting.batch_size, rng)
        self.most = -(-fitting.epochs * count // fitting.batch_size)

    @property
    def done(self) -> bool:
        return self.tuner.updates >= self.most

    @property
    def progress(self) -> tuple[int, int]:
        return self.tuner.updates, self.most

    def train(self, n: int) -> None:
        for _ in range(n):
            self.tuner.step(self.loss(self.batches.next()))

    def state_dict(self) -> dict[str, Any]:
        return {"tuner": self.tuner.state_dict(), "batches": self.batches.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.tuner.load_state_dict(state["tuner"])
        self.batches.load_state_dict(state["batches"])


def likelihood_loss(policy: TextPolicy, text: Text) -> Tensor:
    """Negative log-probability of a response, summed over its tokens, mean over the batch: `[S]`."""
    return -policy.logp(text).mean(1)


def likelihood_losses(
    policy: TextPolicy, texts: Texts, micro_batch: int | None
) -> Callable[[Tensor], Iterable[Tensor]]:
    """The supervised loss of the texts in given places, in parts."""

    def losses(index: Tensor) -> Iterable[Tensor]:
        for part, share in split(index, micro_batch):
            yield share * likelihood_loss(policy, texts.take(part))

    return losses
