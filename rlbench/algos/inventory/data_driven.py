"""The policy network for recorded demand: it sees past demand, costs, lead times and the calendar too."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from rlbench.algos.inventory.policy import Learned, met
from rlbench.envs.inventory.network import WINDOW, Moment
from rlbench.envs.inventory.task import InventoryTask
from rlbench.nets.mlp import MLP
from rlbench.nets.optim import Params
from rlbench.rng import SeedStreams
from rlbench.types import Count


class DataDriven(Learned):
    """A multilayer perceptron with a rectified output for each link; a supplier that has less ships in proportion.

    Stock, demand and orders are in units of mean demand, so that one network serves stores of all sizes. In the
    beginning a link's order is about the mean demand that it is to serve: a rectifier that starts below 0 would never
    learn.

    Args:
        task: the problem.
        hidden_dims: widths of the hidden layers.
    """

    def __init__(self, task: InventoryTask, *, hidden_dims: list[Count]) -> None:
        super().__init__(task)
        network, n = self.network, task.env.n
        inputs = len(self.used) + n * WINDOW + n + network.locations + len(network.links) + task.columns
        self.net = MLP(inputs, hidden_dims, len(network.links), activation="elu")
        self.lead = task.numbers([link.lead for link in network.links])
        self.scale = task.mean.mean()
        sources = {
            location: sum(link.target == location for link in network.links) for location in range(network.locations)
        }
        served = [task.mean[link.target] if link.target < n else task.mean.sum() for link in network.links]
        self.first = (
            torch.stack([demand / sources[link.target] for demand, link in zip(served, network.links, strict=True)])
            / self.scale
        )

    def init(self, streams: SeedStreams) -> Params:
        params = self.net.init(streams)
        params[self.net.layers[-1][1]] += self.first
        return params

    def raw(self, params: Params, moment: Moment) -> Tensor:
        batch = moment.stock.shape[:2]
        calendar = moment.traces.calendar[moment.period]
        known = torch.cat([self.task.simulator.holding, self.lead, calendar]).expand(*batch, -1)
        varying = torch.cat([self.stock(moment), moment.past.flatten(2)], -1) / self.scale
        return self.net(params, torch.cat([varying, moment.traces.underage, known], -1))

    def orders(self, raw: Tensor, moment: Moment) -> Tensor:
        return met(F.relu(raw) * self.scale, moment, self.network)
