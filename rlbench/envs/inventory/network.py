"""Networks of locations, and what befalls them; without torch, for settings are checked before it is imported.

Alvo, Russo, Kanoria and Lee, "Deep Reinforcement Learning for Inventory Networks" (arXiv 2306.11246).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

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
