"""Stock on its way through a network of locations, batched, and differentiable in the orders.

Alvo, Russo, Kanoria and Lee, "Deep Reinforcement Learning for Inventory Networks" (arXiv 2306.11246). In a period,
all orders are placed on the stock at its start; demand is served from what is on hand then; costs are charged; stock
on its way moves one period on, and the orders join it. So an order with lead time L is on hand L periods later, and
what is ordered now has to last for the demand of L + 1 periods. Stock on its way costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

OUTSIDE = -1
"""The source of a link that supplies without limit."""
WINDOW = 16
"""Periods of demand before the first one that a trace holds, for policies that look back."""


@dataclass(frozen=True)
class Link:
    """Where a location gets its stock from.

    Attributes:
        source: the location that ships, or `OUTSIDE`.
        target: the location that orders.
        lead: periods until an order is on hand, at least 1.
        price: of a unit ordered.
    """

    source: int
    target: int
    lead: int
    price: float = 0.0


@dataclass(frozen=True)
class Network:
    """Locations 0, ..., n - 1 are stores, which face demand; the others supply them, or one another.

    Attributes:
        stores: n.
        links: where orders go; an order vector has one entry a link.
        holding: cost of a unit on hand for a period, for every location.
        lost: whether demand that is not served is lost; else it waits, as negative stock.
        profit: whether a unit sold earns the store's underage cost; else a unit short costs it.
        keeps: whether suppliers can hold stock; else they ship all they have.
    """

    stores: int
    links: tuple[Link, ...]
    holding: tuple[float, ...]
    lost: bool
    profit: bool = False
    keeps: bool = True

    @property
    def locations(self) -> int:
        return len(self.holding)

    @property
    def slots(self) -> int:
        """L_max: entries of a location's stock vector, on hand first."""
        return max(link.lead for link in self.links)

    @property
    def suppliers(self) -> dict[int, list[int]]:
        """For every location that ships, the links that leave it."""
        found: dict[int, list[int]] = {}
        for place, link in enumerate(self.links):
            if link.source != OUTSIDE:
                found.setdefault(link.source, []).append(place)
        return found

    @property
    def imports(self) -> list[int]:
        """The links from outside."""
        return [place for place, link in enumerate(self.links) if link.source == OUTSIDE]

    @property
    def used(self) -> list[int]:
        """Which entries of the stock `[locations * slots]` can ever be other than 0."""
        longest = [
            max(link.lead for link in self.links if link.target == location) for location in range(self.locations)
        ]
        return [location * self.slots + slot for location, lead in enumerate(longest) for slot in range(lead)]

    @property
    def levels(self) -> int:
        """Locations on the longest way from outside to a store."""
        depth = [1] * self.locations
        for _ in range(self.locations):
            for link in self.links:
                if link.source != OUTSIDE:
                    depth[link.target] = max(depth[link.target], depth[link.source] + 1)
        return max(depth)


@dataclass(frozen=True)
class Traces:
    """What befalls a batch of networks.

    Attributes:
        demand: `[S, B, n, WINDOW + T]`; the first `WINDOW` periods are past when the trace begins.
        stock: what stores have in each slot to begin with, `[S, B, n, slots]`; suppliers have nothing.
        underage: cost of a unit short, or price of one sold, `[S, B, n]`.
        calendar: what is known of each period beforehand, `[T, c]`.
    """

    demand: Tensor
    stock: Tensor
    underage: Tensor
    calendar: Tensor

    @property
    def periods(self) -> int:
        return self.demand.shape[-1] - WINDOW

    def take(self, index: Tensor) -> Traces:
        """Some traces of each seed, `[S, B']`."""

        def pick(values: Tensor) -> Tensor:
            shape = *index.shape, *values.shape[2:]
            return values.gather(1, index.reshape(*index.shape, *[1] * (values.dim() - 2)).expand(shape))

        return Traces(pick(self.demand), pick(self.stock), pick(self.underage), self.calendar)


class Moment(NamedTuple):
    """What a policy decides on.

    Attributes:
        stock: `[S, B, locations, slots]`.
        traces: only what lies before `period` may be looked at by a policy that could be carried out.
        period: 0, 1, ...
    """

    stock: Tensor
    traces: Traces
    period: int

    @property
    def past(self) -> Tensor:
        """Demand of the last periods, `[S, B, n, WINDOW]`."""
        return self.traces.demand[..., self.period : self.period + WINDOW]

    @property
    def on_hand(self) -> Tensor:
        """`[S, B, locations]`."""
        return self.stock[..., 0]

    def supply(self, supplier: int) -> Tensor:
        """What a supplier can ship, `[S, B]`: rounding may have left it a hair less than nothing."""
        return self.stock[..., supplier, 0].clamp(min=0)


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
