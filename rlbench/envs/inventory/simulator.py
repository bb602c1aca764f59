"""Stock on its way through a network of locations, batched, and differentiable in the orders.

Alvo, Russo, Kanoria and Lee, "Deep Reinforcement Learning for Inventory Networks" (arXiv 2306.11246). In a period,
all orders are placed on the stock at its start; demand is served from what is on hand then; costs are charged; stock
on its way moves one period on, and the orders join it. So an order with lead time L is on hand L periods later, and
what is ordered now has to last for the demand of L + 1 periods. Stock on its way costs nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from rlbench.envs.inventory.network import OUTSIDE, Network, Traces


class Simulator:
    """The recursion of a network's stock.

    Args:
        network: the network.
        device: where the tensors lie.
    """

    def __init__(self, network: Network, device: torch.device | str = "cpu") -> None:
        self.network = network
        shape = network.locations, network.slots
        self.arrivals = torch.zeros(len(network.links), *shape, device=device)
        self.shipments = torch.zeros(len(network.links), network.locations - network.stores, device=device)
        for place, link in enumerate(network.links):
            self.arrivals[place, link.target, link.lead - 1] = 1.0
            if link.source != OUTSIDE:
                self.shipments[place, link.source - network.stores] = 1.0
        self.arrivals = self.arrivals.flatten(1)
        self.holding = torch.tensor(network.holding, device=device)
        prices = [link.price for link in network.links]
        self.prices = torch.tensor(prices, device=device) if any(prices) else None

    def start(self, traces: Traces) -> Tensor:
        """The first stock, `[S, B, locations, slots]`."""
        missing = self.network.locations - self.network.stores
        return F.pad(traces.stock, (0, 0, 0, missing)) if missing else traces.stock

    def step(self, stock: Tensor, orders: Tensor, demand: Tensor, underage: Tensor) -> tuple[Tensor, Tensor]:
        """One period.

        Args:
            stock: `[S, B, locations, slots]`.
            orders: one a link, `[S, B, links]`; no location ships more than it has on hand.
            demand: `[S, B, n]`.
            underage: `[S, B, n]`.

        Returns:
            The stock that follows, and the cost of all locations, `[S, B]`.
        """
        n = self.network.stores
        on_hand = stock[..., 0]
        left = on_hand[..., :n] - demand
        short = underage * F.relu(-left)
        if self.network.profit:  # -p min(on hand, demand) = p (short - demand)
            short = short - underage * demand
        cost = short.sum(-1)
        if self.network.lost:
            left = F.relu(left)
        if self.network.locations > n:
            left = torch.cat([left, on_hand[..., n:] - orders @ self.shipments], -1)
        cost = cost + F.relu(left) @ self.holding
        if self.prices is not None:
            cost = cost + orders @ self.prices
        moved = F.pad(stock[..., 1:], (0, 1)) if self.network.slots > 1 else torch.zeros_like(stock)
        remaining = F.pad(left.unsqueeze(-1), (0, self.network.slots - 1))
        return moved + remaining + (orders @ self.arrivals).view_as(stock), cost
