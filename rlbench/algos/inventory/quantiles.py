"""Newsvendor policies for demand that changes: order up to a quantile of the forecast of what an order must last for.

With p the cost of a unit short and h that of one left over, p / (p + h) is the quantile that is right for a single
order. What differs is which quantile is taken, and what is known. One store each.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from rlbench.algos.inventory.forecast import Forecaster, Training
from rlbench.algos.inventory.policy import Policy, weights
from rlbench.envs.inventory.network import WINDOW, Moment
from rlbench.envs.inventory.task import InventoryTask
from rlbench.nets.mlp import MLP
from rlbench.nets.optim import Params
from rlbench.rng import SeedStreams
from rlbench.types import Count, Positive


class QuantileNewsvendor(Policy):
    """Orders up to the quantile p / (p + h) of the forecast.

    Args:
        task: the problem, one store.
        forecast_hidden_dims: widths of the forecaster's hidden layers.
        forecast_learning_rate: its Adam's.
        forecast_batch_size: windows of demand in its batches.
        forecast_epochs: how many times fifty updates it gets.
    """

    def __init__(
        self,
        task: InventoryTask,
        *,
        forecast_hidden_dims: list[Count],
        forecast_learning_rate: Positive,
        forecast_batch_size: Count,
        forecast_epochs: Count,
    ) -> None:
        super().__init__(task)
        self.want(self.network.locations == 1, "one store: env=inv_one_store_seasonal")
        training = Training(forecast_hidden_dims, forecast_learning_rate, forecast_batch_size, forecast_epochs)
        self.forecaster = Forecaster(task, training)

    def init(self, streams: SeedStreams) -> Params:
        return {}

    def newsvendors(self, moment: Moment) -> Tensor:
        """p / (p + h), `[S, B, 1]`."""
        return moment.traces.underage / (moment.traces.underage + self.network.holding[0])

    def share(self, params: Params, moment: Moment) -> Tensor:
        """Which quantile is ordered up to, `[S, B, 1]`."""
        return self.newsvendors(moment)

    def raw(self, params: Params, moment: Moment) -> Tensor:
        return self.forecaster.quantile(moment, self.share(params, moment))

    def orders(self, raw: Tensor, moment: Moment) -> Tensor:
        return F.relu(raw - moment.stock.sum(-1))

    def files(self, params: Params, place: int) -> dict[str, str]:
        return {"forecaster.json": weights(self.forecaster.params, place), "quantile.json": weights(params, place)}


class ReturnsNewsvendor(QuantileNewsvendor):
    """The same, and what is too much goes back: nothing that could be carried out, but a mark to measure others by."""

    def orders(self, raw: Tensor, moment: Moment) -> Tensor:
        return raw - moment.stock.sum(-1)


class FixedQuantile(QuantileNewsvendor):
    """Orders up to one quantile of the forecast, which is learned."""

    def init(self, streams: SeedStreams) -> Params:
        return {"share": streams.normal(1, 1)}

    def share(self, params: Params, moment: Moment) -> Tensor:
        return torch.sigmoid(params["share"]).expand(-1, moment.stock.shape[1], -1)


class TransformedNewsvendor(QuantileNewsvendor):
    """Orders up to a quantile that is a learned function of p / (p + h).

    Args:
        task: the problem, one store.
        hidden_dims: widths of the hidden layers of that function.
        forecast_hidden_dims: widths of the forecaster's hidden layers.
        forecast_learning_rate: its Adam's.
        forecast_batch_size: windows of demand in its batches.
        forecast_epochs: how many times fifty updates it gets.
    """

    def __init__(
        self,
        task: InventoryTask,
        *,
        hidden_dims: list[Count],
        forecast_hidden_dims: list[Count],
        forecast_learning_rate: Positive,
        forecast_batch_size: Count,
        forecast_epochs: Count,
    ) -> None:
        super().__init__(
            task,
            forecast_hidden_dims=forecast_hidden_dims,
            forecast_learning_rate=forecast_learning_rate,
            forecast_batch_size=forecast_batch_size,
            forecast_epochs=forecast_epochs,
        )
        self.net = MLP(1, hidden_dims, 1, activation="elu")

    def init(self, streams: SeedStreams) -> Params:
        return self.net.init(streams)

    def share(self, params: Params, moment: Moment) -> Tensor:
        return torch.sigmoid(self.net(params, self.newsvendors(moment)))


class JustInTime(Policy):
    """Knows the demand to come and orders just that: what no policy can do, and none can do better.

    Args:
        task: the problem, one store.
    """

    def __init__(self, task: InventoryTask) -> None:
        super().__init__(task)
        self.want(self.network.locations == 1, "one store: env=inv_one_store_seasonal")
        self.horizon = self.network.links[0].lead + 1

    def init(self, streams: SeedStreams) -> Params:
        return {}

    def raw(self, params: Params, moment: Moment) -> Tensor:
        first = WINDOW + moment.period
        return moment.traces.demand[..., first : first + self.horizon].sum(-1)

    def orders(self, raw: Tensor, moment: Moment) -> Tensor:
        return F.relu(raw - moment.stock.sum(-1))
