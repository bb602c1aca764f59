"""The plain policy network of HDPO: the whole stock in, for every link an order that can be met out."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from rlbench.algos.inventory.policy import Learned, by_link
from rlbench.envs.inventory.network import Moment
from rlbench.envs.inventory.task import InventoryTask
from rlbench.nets.mlp import MLP
from rlbench.nets.optim import Params
from rlbench.rng import SeedStreams
from rlbench.types import Count


class Vanilla(Learned):
    """A multilayer perceptron.

    A store orders softplus(x + 1) from outside, a supplier sigmoid(x) of its bound. What a supplier ships: sigmoid(x)
    of what it has, where it supplies one location; where it supplies several, a softmax over their x and a constant 1
    for what it keeps, without that constant where it can keep nothing.

    Args:
        task: the problem.
        hidden_dims: widths of the hidden layers.
    """

    def __init__(self, task: InventoryTask, *, hidden_dims: list[Count]) -> None:
        super().__init__(task)
        self.net = MLP(len(self.used), hidden_dims, len(self.network.links), activation="elu")

    def init(self, streams: SeedStreams) -> Params:
        return self.net.init(streams)

    def raw(self, params: Params, moment: Moment) -> Tensor:
        return self.net(params, self.stock(moment))

    def orders(self, raw: Tensor, moment: Moment) -> Tensor:
        parts, order = [], []
        for supplier, links in self.network.suppliers.items():
            wanted = raw[..., links]
            if len(links) == 1:
                share = torch.sigmoid(wanted) if self.network.keeps else torch.ones_like(wanted)
            elif self.network.keeps:
                share = F.pad(wanted, (0, 1), value=1.0).softmax(-1)[..., :-1]
            else:
                share = wanted.softmax(-1)
            parts.append(share * moment.supply(supplier).unsqueeze(-1))
            order += links
        for link in self.network.imports:
            wanted = raw[..., link : link + 1]
            to_store = self.network.links[link].target < self.network.stores
            parts.append(F.softplus(wanted + 1) if to_store else torch.sigmoid(wanted) * self.most)
            order.append(link)
        return by_link(parts, order)
