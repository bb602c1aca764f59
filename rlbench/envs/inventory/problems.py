"""Inventory problems: a network, its demand, and how policies are trained and judged.

Alvo, Russo, Kanoria and Lee, "Deep Reinforcement Learning for Inventory Networks" (arXiv 2306.11246); the numbers are
those of the authors' code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from rlbench.envs.problem import Problem, common
from rlbench.errors import UsageError
from rlbench.types import Count, Fraction, NonNegative, NonNegativeInt, Positive

if TYPE_CHECKING:
    from rlbench.envs.inventory.demand import Demand
    from rlbench.envs.inventory.network import Network
    from rlbench.envs.inventory.task import InventoryTask
    from rlbench.task import Task


@dataclass(frozen=True)
class Split:
    """Traces for one purpose.

    Args:
        traces: how many.
        periods: how long each is.
        ignored: periods at its beginning that do not count in what is reported.
    """

    traces: Count
    periods: Count
    ignored: NonNegativeInt


@dataclass(frozen=True)
class Inventory(Problem):
    """An inventory problem; subclasses say what the network is.

    Args:
        name: the word after `env=`.
        train: what policies are trained on; all its periods count in the loss.
        dev: what the best parameters are chosen on.
        test: what the policy is judged by.
    """

    RANGES: ClassVar[tuple[str, ...]] = ()
    """The settings that are one number, or the least and the largest."""
    judged_by: ClassVar[frozenset[str]] = frozenset({"test"})

    name: str
    train: Split
    dev: Split
    test: Split

    def __post_init__(self) -> None:
        """The settings hold splits as keys and values."""
        for name in ("train", "dev", "test"):
            given: Any = getattr(self, name)
            object.__setattr__(self, name, given if isinstance(given, Split) else Split(**given))

    @cached_property
    def network(self) -> Network:
        raise NotImplementedError

    @cached_property
    def demand(self) -> Demand:
        raise NotImplementedError

    @property
    def underage_range(self) -> tuple[Sequence[float], Sequence[float]]:
        """Least and largest underage cost of every store; each trace has its own between them."""
        raise NotImplementedError

    @property
    def n(self) -> int:
        """How many stores there are."""
        raise NotImplementedError

    @property
    def first_stock(self) -> float:
        """What each slot of a store begins with is uniform between 0 and this share of its mean demand."""
        return 1.0

    def require(self) -> None:
        """Refuse settings that contradict each other before anything is built."""
        for name in ("train", "dev", "test"):
            split: Split = getattr(self, name)
            if split.ignored >= split.periods:
                raise self.bad(f"{name} ignores {split.ignored} of {split.periods} periods", "leave some to be judged")
        for name in self.RANGES:
            bounds: list[float] = getattr(self, name)
            if not (1 <= len(bounds) <= 2 and bounds[0] <= bounds[-1]):
                raise self.bad(f"{name} is {bounds}", "wanted are one number, or [least, largest]")
        _ = self.network

    def simulator(self) -> str:
        cells = f"n={self.network.stores} of {self.network.locations} locations"
        test = f"{self.test.traces} traces of {self.test.periods} periods, {self.test.ignored} ignored"
        return f"{self.name}, {cells}, {test}"

    def task(self, task: Task) -> InventoryTask:
        from rlbench.envs.inventory.task import InventoryTask

        return InventoryTask(**common(task))

    def bad(self, what: str, instead: str) -> UsageError:
        return UsageError(f"env={self.name}: {what}\n{instead}")


@dataclass(frozen=True)
class OneStore(Inventory):
    """One store, supplied from outside.

    Args:
        name: the word after `env=`.
        train: what policies are trained on; all its periods count in the loss.
        dev: what the best parameters are chosen on.
        test: what the policy is judged by.
        demand_law: `normal` (clipped at 0), `poisson` or `seasonal` (weekly sales, see `Seasonal`).
        mean: of demand in a period.
        std: its standard deviation; of Poisson demand, it follows from the mean.
        lead_time: periods until an order is on hand.
        holding: cost of a unit on hand for a period.
        underage: cost of a unit short (or price of one sold): one number, or two between which that of a trace lies.
        lost: whether demand that is not served is lost.
        profit: whether sales earn, instead of shortage costing.
    """

    RANGES = ("underage",)

    demand_law: Literal["normal", "poisson", "seasonal"]
    mean: Positive
    std: NonNegative
    lead_time: Count
    holding: Positive
    underage: list[Positive]
    lost: bool
    profit: bool

    @property
    def n(self) -> int:
        return 1

    @cached_property
    def network(self) -> Network:
        from rlbench.envs.inventory.network import OUTSIDE, Link, Network

        return Network(1, (Link(OUTSIDE, 0, self.lead_time),), (self.holding,), self.lost, self.profit)

    @cached_property
    def demand(self) -> Demand:
        from rlbench.envs.inventory.demand import Normal, Poisson, Seasonal

        match self.demand_law:
            case "normal":
                return Normal([self.mean], [self.std])
            case "poisson":
                return Poisson(self.mean)
        return Seasonal([self.mean], **SEASON)

    @property
    def underage_range(self) -> tuple[Sequence[float], Sequence[float]]:
        return self.underage[:1], self.underage[-1:]


SEASON: dict[str, Any] = {"spread": 0.5, "persistence": 0.7, "noise": 0.35, "christmas": 0.8, "first_week": 20}
"""Of seasonal demand; weekly sales of single products vary about so much."""


@dataclass(frozen=True)
class Serial(Inventory):
    """A chain: outside, stages, a store.

    Args:
        name: the word after `env=`.
        train: what policies are trained on; all its periods count in the loss.
        dev: what the best parameters are chosen on.
        test: what the policy is judged by.
        mean: of demand in a period.
        std: its standard deviation; negative demand becomes 0.
        lead_times: from each stage's supplier to it, from the most upstream stage to the store.
        holding: cost of a unit on hand for a period, in the same order.
        underage: cost of a unit short for a period.
    """

    mean: Positive
    std: NonNegative
    lead_times: list[Count]
    holding: list[Positive]
    underage: Positive

    @property
    def n(self) -> int:
        return 1

    @cached_property
    def network(self) -> Network:
        from rlbench.envs.inventory.network import OUTSIDE, Link, Network

        stages = len(self.holding)
        if not len(self.lead_times) == stages > 0:
            raise self.bad(
                f"{len(self.lead_times)} lead times and {stages} holding costs", "one of each for each stage"
            )
        upwards = list(reversed(self.lead_times))
        sources = [*range(1, stages), OUTSIDE]
        links = tuple(Link(source, stage, upwards[stage]) for stage, source in enumerate(sources))
        return Network(1, links, tuple(reversed(self.holding)), lost=False)

    @cached_property
    def demand(self) -> Demand:
        from rlbench.envs.inventory.demand import Normal

        return Normal([self.mean], [self.std])

    @property
    def underage_range(self) -> tuple[Sequence[float], Sequence[float]]:
        return [self.underage], [self.underage]


@dataclass(frozen=True)
class Warehouses(Inventory):
    """Stores supplied by warehouses, which order from outside.

    The stores' numbers are drawn once, with the seeds of the authors' code.

    Args:
        name: the word after `env=`.
        train: what policies are trained on; all its periods count in the loss.
        dev: what the best parameters are chosen on.
        test: what the policy is judged by.
        stores: how many.
        demand_law: `normal` or `seasonal` (weekly sales, see `Seasonal`).
        mean: least and largest mean demand of a store.
        cv: least and largest standard deviation, as a share of the mean.
        correlation: of the demand of any two stores.
        clipped: whether negative demand becomes 0.
        holding: least and largest cost of a unit on hand at a store.
        underage: least and largest cost of a unit short (or price of one sold).
        lead_times: for every warehouse a list of lead times to each store, 0 where it does not supply it; or one list
            [least, largest] between which those of a single warehouse are drawn.
        warehouse_lead_times: from outside, for every warehouse.
        warehouse_holding: cost of a unit on hand, for every warehouse.
        warehouse_prices: of a unit ordered from outside, for every warehouse.
        keeps: whether warehouses can hold stock; else they ship all they have (transshipment).
        lost: whether demand that is not served is lost.
        profit: whether sales earn, instead of shortage costing.
    """

    RANGES = ("mean", "cv", "holding", "underage")

    stores: Count
    demand_law: Literal["normal", "seasonal"]
    mean: list[Positive]
    cv: list[NonNegative]
    correlation: Fraction
    clipped: bool
    holding: list[Positive]
    underage: list[Positive]
    lead_times: list[list[NonNegativeInt]]
    warehouse_lead_times: list[Count]
    warehouse_holding: list[NonNegative]
    warehouse_prices: list[NonNegative]
    keeps: bool
    lost: bool
    profit: bool

    @property
    def n(self) -> int:
        return self.stores

    def drawn(self, seed: int, bounds: Sequence[float]) -> np.ndarray:
        """A number for each store, uniform between the bounds."""
        return np.random.RandomState(seed).uniform(bounds[0], bounds[-1], self.stores)

    @cached_property
    def network(self) -> Network:
        from rlbench.envs.inventory.network import OUTSIDE, Link, Network

        count = len(self.warehouse_holding)
        if not len(self.warehouse_lead_times) == len(self.warehouse_prices) == count:
            raise self.bad(
                "warehouse_lead_times, warehouse_holding, warehouse_prices differ in length", "one for each warehouse"
            )
        table = np.array(self.link_lead_times(), dtype=np.int64)
        if table.shape != (count, self.stores):
            raise self.bad(
                f"lead_times are {' x '.join(map(str, table.shape)) if table.size else 'empty'}",
                f"wanted are {count} lists of {self.stores}",
            )
        if (alone := np.flatnonzero(~table.any(0))).size:
            raise self.bad(f"no warehouse supplies store {alone[0]}", "a lead time of at least 1 makes a link")
        n = self.stores
        links = [Link(n + w, i, int(table[w, i])) for i in range(n) for w in range(count) if table[w, i]]
        for w, (lead, price) in enumerate(zip(self.warehouse_lead_times, self.warehouse_prices, strict=True)):
            links.append(Link(OUTSIDE, n + w, lead, price))
        holding = (*self.drawn(73, self.holding).tolist(), *self.warehouse_holding)
        return Network(n, tuple(links), holding, self.lost, self.profit, self.keeps)

    def link_lead_times(self) -> list[list[int]]:
        """For every warehouse the lead time to each store, 0 for none."""
        if len(self.warehouse_holding) == 1 and [len(row) for row in self.lead_times] == [2] != [self.stores]:
            ((low, high),) = self.lead_times
            if low > high:
                raise self.bad(f"lead_times are {self.lead_times}", "wanted are [[least, largest]]")
            return [np.random.RandomState(41).randint(low, high + 1, self.stores).tolist()]
        if len({len(row) for row in self.lead_times}) > 1:
            raise self.bad("lead_times has lists of different lengths", f"each is to have {self.stores}")
        return self.lead_times

    @cached_property
    def demand(self) -> Demand:
        from rlbench.envs.inventory.demand import Normal, Seasonal

        mean = self.drawn(33, self.mean).round(3)
        if self.demand_law == "seasonal":
            return Seasonal(mean.tolist(), **SEASON)
        std = (mean * self.drawn(92, self.cv)).round(3)
        return Normal(mean.tolist(), std.tolist(), self.correlation, self.clipped)

    @property
    def underage_range(self) -> tuple[Sequence[float], Sequence[float]]:
        each = self.drawn(28, self.underage).tolist()
        return each, each


@dataclass(frozen=True)
class Retail(Warehouses):
    """Stores that sell products of which each trace is one: it has prices of its own, and begins with empty shelves.

    Otherwise as `Warehouses`: `underage` is drawn for each store of each trace.
    """

    @property
    def underage_range(self) -> tuple[Sequence[float], Sequence[float]]:
        return [self.underage[0]] * self.n, [self.underage[-1]] * self.n

    @property
    def first_stock(self) -> float:
        return 0.0
