"""What an algorithm is given of an inventory problem: traces, and what a policy costs on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from rlbench.data.demand import DemandTable
from rlbench.envs.inventory.demand import Demand
from rlbench.envs.inventory.network import WINDOW, Moment, Network, Traces
from rlbench.envs.inventory.problems import Inventory, Split
from rlbench.envs.inventory.simulator import Simulator
from rlbench.rng import SeedStreams
from rlbench.task import Task

Purpose = Literal["train", "dev", "test"]
Act = Callable[[Moment], Tensor]
AT_ONCE = 2**28
"""Numbers of demand, for a seed, that are held at once when a policy is judged."""


@dataclass(frozen=True)
class InventoryTask(Task):
    """An inventory problem.

    Attributes:
        env: the problem.
        data: demand that was recorded, instead of the problem's own.
    """

    env: Inventory
    data: DemandTable | None

    @cached_property
    def simulator(self) -> Simulator:
        return Simulator(self.env.network, self.device)

    @property
    def network(self) -> Network:
        return self.env.network

    @cached_property
    def demand(self) -> Demand:
        return self.env.demand

    @cached_property
    def mean(self) -> Tensor:
        """Mean demand of each store, `[n]`."""
        return self.numbers(self.demand.mean if self.data is None else self.data.cut(self.env, "train")[0].mean((0, 2)))

    @cached_property
    def std(self) -> Tensor:
        """Its standard deviation, `[n]`."""
        return self.numbers(self.demand.std if self.data is None else self.data.cut(self.env, "train")[0].std((0, 2)))

    @property
    def columns(self) -> int:
        """How many numbers the calendar has for a period."""
        return self.demand.columns if self.data is None else self.data.columns

    @property
    def whole(self) -> bool:
        """Whether orders are rounded when a policy is judged."""
        return self.data is None and self.demand.whole

    def numbers(self, values: object) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=self.device)

    def traces(self, purpose: Purpose) -> Iterator[Traces]:
        """The traces of a purpose, in parts that fit into memory; always the same ones.

        At one seed, all algorithms meet the same traces.
        """
        split: Split = getattr(self.env, purpose)
        size = max(1, AT_ONCE // (self.env.n * (WINDOW + split.periods)))
        for number, first in enumerate(range(0, split.traces, size)):
            count = min(size, split.traces - first)
            yield self.drawn(split, self.streams(f"{purpose} traces {number}"), count, purpose, first)

    def drawn(self, split: Split, streams: SeedStreams, count: int, purpose: Purpose, first: int) -> Traces:
        if self.data is None:
            demand = self.demand.draw(streams, count, split.periods)
            calendar = self.demand.calendar(split.periods)
        else:
            recorded, calendar = self.data.cut(self.env, purpose)
            rows = torch.arange(first, first + count) % len(recorded)
            demand = self.numbers(recorded)[rows].expand(len(streams), -1, -1, -1)
        return begun(self.env, self.mean, demand, calendar.to(self.device), streams)

    def costs(self, act: Act, traces: Traces) -> Tensor:
        """What each period costs, `[S, B, T]`, a store's mean; differentiable in the orders."""
        stock, costs = self.simulator.start(traces), []
        for period in range(traces.periods):
            orders = act(Moment(stock, traces, period))
            demand = traces.demand[..., WINDOW + period]
            stock, cost = self.simulator.step(stock, orders, demand, traces.underage)
            costs.append(cost)
        return torch.stack(costs, -1) / self.env.n

    @torch.no_grad()
    def cost(self, act: Act, purpose: Purpose) -> Tensor:
        """Mean cost of a store and period once it has settled, `[S]`."""
        split: Split = getattr(self.env, purpose)
        whole = self.whole and purpose == "test"
        total = torch.zeros(len(self.seeds), dtype=torch.float64, device=self.device)
        for traces in self.traces(purpose):
            costs = self.costs((lambda moment: act(moment).round()) if whole else act, traces)
            total += costs[..., split.ignored :].double().sum((1, 2))
        return (total / (split.traces * (split.periods - split.ignored))).float()

    def evaluate(self, act: Act) -> dict[str, Tensor]:
        """What a policy is judged by: its cost on the test traces, whose negative is its return."""
        cost = self.cost(act, "test")
        return {"eval/return": -cost, "eval/cost": cost}


def begun(env: Inventory, mean: Tensor, demand: Tensor, calendar: Tensor, streams: SeedStreams) -> Traces:
    """Traces of some demand, with what else is drawn: underage costs, and what the stores have to begin with.

    Args:
        env: the problem.
        mean: mean demand of each store, `[n]`: each slot begins with a share of it (`Inventory.first_stock`).
        demand: `[S, B, n, WINDOW + T]`.
        calendar: `[T, c]`.
        streams: for the draws.
    """
    count = demand.shape[1]
    low, high = (torch.tensor(each, device=mean.device) for each in env.underage_range)
    underage = low + (high - low) * streams.uniform(count, env.n)
    stock = env.first_stock * mean[:, None] * streams.uniform(count, env.n, env.network.slots)
    used = torch.zeros(env.network.locations, env.network.slots, device=mean.device)
    used.view(-1)[env.network.used] = 1.0
    return Traces(demand, stock * used[: env.n], underage, calendar)
