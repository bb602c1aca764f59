"""Forecasts of the demand that an order has to last for, as quantiles learned from the training traces."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from rlbench.envs.inventory.network import WINDOW, Moment
from rlbench.envs.inventory.task import InventoryTask
from rlbench.errors import UsageError
from rlbench.nets.mlp import MLP
from rlbench.nets.optim import Adam, Params, assign, clone, gradients
from rlbench.rng import SeedStreams
from rlbench.types import Count

LEVELS = 19
"""Quantiles that are learned: .05, .10, ..., .95."""
STEPS = 50
"""Updates in an epoch."""


@dataclass(frozen=True)
class Training:
    """How a forecaster is trained.

    Attributes:
        hidden_dims: widths of its hidden layers.
        learning_rate: Adam's.
        batch_size: windows of demand in a batch.
        epochs: how many times fifty updates.
    """

    hidden_dims: list[Count]
    learning_rate: float
    batch_size: int
    epochs: int


class Forecaster:
    """Quantiles of the demand of the next L + 1 periods of one store, from past demand and the calendar.

    Trained with the pinball loss, one forecaster a seed; what it is told and says is in units of the mean.

    Args:
        task: the problem, one store.
        training: how it is trained.

    Raises:
        UsageError: training traces are shorter than what is forecast.
    """

    def __init__(self, task: InventoryTask, training: Training) -> None:
        self.task = task
        self.horizon = task.network.links[0].lead + 1
        if task.env.train.periods < self.horizon:
            raise UsageError(
                f"env.train.periods={task.env.train.periods}: forecasts are of the {self.horizon} periods that an "
                f"order has to last for\nat least env.train.periods={self.horizon}, or a shorter lead time"
            )
        self.net = MLP(WINDOW + task.columns, training.hidden_dims, LEVELS, activation="elu")
        learned_from = {name: value for name, value in asdict(task.env).items() if name not in ("dev", "test")}
        key = {
            "env": learned_from,
            "data": None if task.data is None else task.data.identity,
            "seeds": list(task.seeds),
            **asdict(training),
        }
        fitted = task.artefacts.fit("demand_forecast", key, lambda: Fit(self, training))
        self.params: Params = fitted["params"]

    def inputs(self, past: Tensor, calendar: Tensor) -> Tensor:
        return torch.cat([past / self.task.mean, calendar], -1)

    def quantiles(self, moment: Moment) -> Tensor:
        """Of what is demanded until an order that is placed now can be followed by another, `[S, B, 19]`, ascending."""
        past = moment.past.squeeze(2)
        calendar = moment.traces.calendar[moment.period].expand(*past.shape[:2], -1)
        with torch.no_grad():
            return self.net(self.params, self.inputs(past, calendar)).sort(-1).values * self.task.mean

    def quantile(self, moment: Moment, share: Tensor) -> Tensor:
        """The quantile of a share `[S, B, 1]`, between and beyond those that are learned on straight lines."""
        known = self.quantiles(moment)
        place = share * (LEVELS + 1) - 1
        below = place.detach().floor().clamp(0, LEVELS - 2)
        low, high = (known.gather(-1, (below + end).long().expand(*known.shape[:2], 1)) for end in (0, 1))
        return low + (place - below) * (high - low)


class Fit:
    """The training of a forecaster: a stage (`rlbench.artefacts`).

    Args:
        forecaster: what is trained.
        training: how.
    """

    name = "demand forecast"

    def __init__(self, forecaster: Forecaster, training: Training) -> None:
        self.of, self.training = forecaster, training
        task = forecaster.task
        parts = list(task.traces("train"))
        demand = torch.cat([part.demand for part in parts], 1).squeeze(2)
        self.windows = demand.unfold(-1, WINDOW + forecaster.horizon, 1)  # [S, traces, starts, WINDOW + L + 1]
        self.calendar = parts[0].calendar
        self.params = forecaster.net.init(task.streams("forecaster"))
        self.optimizer = Adam(self.params, training.learning_rate)
        self.streams: SeedStreams = task.streams("forecaster's batches")
        self.levels = torch.arange(1, LEVELS + 1, device=task.device) / (LEVELS + 1)
        self.epoch = 0

    @property
    def done(self) -> bool:
        return self.epoch >= self.training.epochs

    @property
    def progress(self) -> tuple[int, int]:
        return self.epoch, self.training.epochs

    def train(self, n: int) -> None:
        for _ in range(n * STEPS):
            self.step()
        self.epoch += n

    def step(self) -> None:
        seeds, traces, starts, _ = self.windows.shape
        trace, start = (self.streams.integers(count, self.training.batch_size) for count in (traces, starts))
        seed = torch.arange(seeds, device=trace.device)[:, None]
        past, ahead = self.windows[seed, trace, start].split([WINDOW, self.of.horizon], -1)
        target = ahead.sum(-1, keepdim=True) / self.of.task.mean

        def loss(params: Params) -> tuple[Tensor, dict[str, Tensor]]:
            error = target - self.of.net(params, self.of.inputs(past, self.calendar[start]))
            return torch.maximum(self.levels * error, (self.levels - 1) * error).mean((1, 2)), {}

        self.optimizer.step(gradients(loss, self.params)[0])

    def state_dict(self) -> dict[str, Any]:
        return {
            "params": clone(self.params),
            "optimizer": self.optimizer.state_dict(),
            "streams": self.streams.state_dict(),
            "epoch": self.epoch,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assign(self.params, state["params"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.streams.load_state_dict(state["streams"])
        self.epoch = state["epoch"]
