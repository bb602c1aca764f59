"""The graph network of HDPO: one small network for all locations and one for all links, whatever the supply network.

Nodes are the locations. Edges are the links (those from outside have a virtual source), one from every store to a
virtual customer, and a loop at every location that ships and can keep. Embeddings of virtual nodes are 0. In a round,
node += node_update[node, incoming, outgoing], where incoming and outgoing are sums over edges divided by the root of
their number, then edge += edge_update[edge, source, target]. A head gives what is desired along each edge; a supplier
that has less than that, its loop included, ships in proportion.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from rlbench.algos.inventory.policy import Learned, by_link, shared_out
from rlbench.envs.inventory.network import OUTSIDE, WINDOW, Moment
from rlbench.envs.inventory.task import InventoryTask
from rlbench.nets.mlp import MLP
from rlbench.nets.optim import Params
from rlbench.rng import SeedStreams
from rlbench.types import Count

FIRST_DESIRE = 5.0
"""First bias of the head: in the beginning, about so much is desired along every edge."""


class GNN(Learned):
    """A graph network.

    Args:
        task: the problem.
        hidden_dims: widths of the hidden layers of each of its networks.
        width: of the embeddings.
        demand: what stores are told of demand: `moments`, its mean and standard deviation, or `past`, the last periods
            and the calendar.
    """

    max_grad_norm = 1.0

    def __init__(
        self, task: InventoryTask, *, hidden_dims: list[Count], width: Count, demand: Literal["moments", "past"]
    ) -> None:
        super().__init__(task)
        network = self.network
        self.width, self.demand = width, demand
        self.rounds = max(1, network.levels - 1)
        virtual = network.locations
        edges = [(link.source if link.source != OUTSIDE else virtual, link.target, link.lead) for link in network.links]
        edges += [(store, virtual, 0) for store in range(network.stores)]
        self.loops: dict[int, int] = {}
        if network.keeps:
            for supplier in network.suppliers:
                self.loops[supplier] = len(edges)
                edges.append((supplier, supplier, 0))
        self.source, self.target = (
            torch.tensor(each, device=task.device) for each in list(zip(*edges, strict=True))[:2]
        )
        self.lead = task.numbers([lead for _, _, lead in edges])[:, None]
        self.incoming, self.outgoing = (self.mixing([edge[end] for edge in edges]).to(task.device) for end in (1, 0))
        self.features = network.slots + 2 + (WINDOW + task.columns if demand == "past" else 2)
        nets = {
            "initial_node": self.features,
            "initial_edge": 2 * width + 1,
            "node_update": 3 * width,
            "edge_update": 3 * width,
        }
        self.nets = {
            name: MLP(inputs, hidden_dims, width, activation="elu", prefix=f"{name}.") for name, inputs in nets.items()
        }
        self.head = MLP(width, hidden_dims, 1, activation="elu", prefix="output.")

    def mixing(self, ends: list[int]) -> Tensor:
        """`[locations, edges]`: the sum over a location's edges, divided by the root of their number."""
        matrix = torch.zeros(self.network.locations, len(ends))
        for edge, node in enumerate(ends):
            if node < self.network.locations:
                matrix[node, edge] = 1 / math.sqrt(ends.count(node))
        return matrix

    def init(self, streams: SeedStreams) -> Params:
        params: Params = {}
        for net in (*self.nets.values(), self.head):
            params |= net.init(streams)
        params[self.head.layers[-1][1]].fill_(FIRST_DESIRE)
        return params

    def apply(self, params: Params, name: str, x: Tensor) -> Tensor:
        """A network, the same for all nodes or edges: `[S, B, nodes, d]` to `[S, B, nodes, width]`."""
        return F.elu(self.nets[name](params, x.flatten(1, 2))).view(*x.shape[:3], self.width)

    def node_features(self, moment: Moment) -> Tensor:
        """`[S, B, locations, features]`: stock and holding cost, and of stores underage cost and demand."""
        n, batch = self.network.stores, moment.stock.shape[:2]
        holding = self.task.simulator.holding[:, None].expand(*batch, -1, -1)
        if self.demand == "past":
            calendar = moment.traces.calendar[moment.period].expand(*batch, n, -1)
            demand = torch.cat([moment.past, calendar], -1)
        else:
            demand = torch.stack([self.task.mean, self.task.std], -1).expand(*batch, -1, -1)
        of_stores = torch.cat([moment.traces.underage.unsqueeze(-1), demand], -1)
        return torch.cat([moment.stock, holding, F.pad(of_stores, (0, 0, 0, self.network.locations - n))], -1)

    def ends(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """The embeddings of source and target of each edge, `[S, B, edges, width]`."""
        with_virtual = F.pad(nodes, (0, 0, 0, 1))
        return with_virtual.index_select(2, self.source), with_virtual.index_select(2, self.target)

    def raw(self, params: Params, moment: Moment) -> Tensor:
        nodes = self.apply(params, "initial_node", self.node_features(moment))
        lead = self.lead.expand(*nodes.shape[:2], -1, -1)
        edges = self.apply(params, "initial_edge", torch.cat([*self.ends(nodes), lead], -1))
        for _ in range(self.rounds):
            nodes = nodes + self.apply(
                params, "node_update", torch.cat([nodes, self.incoming @ edges, self.outgoing @ edges], -1)
            )
            edges = edges + self.apply(params, "edge_update", torch.cat([edges, *self.ends(nodes)], -1))
        return self.head(params, edges.flatten(1, 2)).view(*edges.shape[:3])

    def orders(self, raw: Tensor, moment: Moment) -> Tensor:
        desired = F.softplus(raw)
        parts, order = [desired[..., self.network.imports]], list(self.network.imports)
        for supplier, links in self.network.suppliers.items():
            leaving = [*links, *([self.loops[supplier]] if supplier in self.loops else [])]
            shipped = shared_out(desired[..., leaving], moment.supply(supplier), not self.network.keeps)
            parts.append(shipped[..., : len(links)])
            order += links
        return by_link(parts, order)
