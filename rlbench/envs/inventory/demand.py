"""Where demand comes from: distributions, and a generator that stands in for a shop's weekly sales."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from rlbench.envs.inventory.network import WINDOW
from rlbench.rng import SeedStreams


class Demand(Protocol):
    """Demand of n stores.

    Attributes:
        mean: of a period, for every store.
        std: likewise.
        whole: whether demand comes in whole units.
        columns: c, how many numbers a period's calendar has.
    """

    mean: Sequence[float]
    std: Sequence[float]
    whole: bool
    columns: int

    def draw(self, streams: SeedStreams, traces: int, periods: int) -> Tensor:
        """`[S, traces, n, WINDOW + periods]`."""
        ...

    def calendar(self, periods: int) -> Tensor:
        """`[periods, c]`."""
        ...


class Stationary:
    """Demand that is independent from period to period."""

    columns = 0

    def calendar(self, periods: int) -> Tensor:
        return torch.zeros(periods, 0)


class Normal(Stationary):
    """Normal demand.

    Args:
        mean: of every store.
        std: of every store.
        correlation: of any two stores.
        clipped: whether negative draws become 0.
    """

    whole = False

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], correlation: float = 0.0, clipped: bool = True
    ) -> None:
        self.mean, self.std = mean, std
        self.correlation, self.clipped = correlation, clipped

    def draw(self, streams: SeedStreams, traces: int, periods: int) -> Tensor:
        n = len(self.mean)
        noise = streams.normal(traces, n, WINDOW + periods)
        if self.correlation:
            common = streams.normal(traces, 1, WINDOW + periods)
            noise = math.sqrt(1 - self.correlation) * noise + math.sqrt(self.correlation) * common
        mean, std = (torch.tensor(each, device=noise.device)[:, None] for each in (self.mean, self.std))
        demand = torch.addcmul(mean, std, noise)
        return demand.clamp_(min=0) if self.clipped else demand


class Poisson(Stationary):
    """Poisson demand of one store.

    Args:
        mean: its mean.
    """

    whole = True

    def __init__(self, mean: float) -> None:
        self.rate = mean
        self.mean: Sequence[float] = [mean]
        self.std: Sequence[float] = [math.sqrt(mean)]

    def draw(self, streams: SeedStreams, traces: int, periods: int) -> Tensor:
        """By inversion: torch's own sampler takes no generator a seed at a time without a loop over seeds."""
        uniform = streams.uniform(traces, 1, WINDOW + periods).double()
        return torch.bucketize(uniform, poisson_cdf(self.rate).to(uniform.device), right=True).float()


def poisson_cdf(mean: float) -> Tensor:
    """P(D <= k) for k = 0, 1, ... until it is 1, float64."""
    top = int(mean + 12 * math.sqrt(mean) + 12)
    k = torch.arange(top + 1, dtype=torch.float64)
    return torch.exp(k * math.log(mean) - mean - torch.lgamma(k + 1)).cumsum(0)


class Seasonal:
    """Weekly sales of many products: each has a level, noise that lasts from week to week, and a rise at Christmas.

    log demand = log level + a + bump(week), with a an AR(1) process; the levels are log-normal around the mean. Stores
    have the calendar in common, nothing else. Our own stand-in for sales data that may not be passed on.

    Args:
        mean: of every store's level.
        spread: standard deviation of the logarithm of a product's level.
        persistence: of the AR(1) process.
        noise: its stationary standard deviation.
        christmas: how much log demand rises in the week before Christmas; the weeks before rise less.
        first_week: week of the year in which the trace begins, its past apart.
    """

    whole = False
    columns = 1

    def __init__(
        self,
        mean: Sequence[float],
        *,
        spread: float,
        persistence: float,
        noise: float,
        christmas: float,
        first_week: int,
    ) -> None:
        self.mean = mean
        self.spread, self.persistence, self.noise = spread, persistence, noise
        self.christmas, self.first_week = christmas, first_week
        self.std: Sequence[float] = [each * math.sqrt(math.expm1(spread**2 + noise**2)) for each in mean]

    def draw(self, streams: SeedStreams, traces: int, periods: int) -> Tensor:
        n, length = len(self.mean), WINDOW + periods
        level = self.spread * streams.normal(traces, n, 1)
        shocks = streams.normal(traces, n, length)
        now, states = shocks[..., 0], []
        for week in range(length):
            if week:
                now = self.persistence * now + math.sqrt(1 - self.persistence**2) * shocks[..., week]
            states.append(now)
        bump = self.christmas * torch.exp(-weeks_to_christmas(self.first_week - WINDOW, length) / 1.5)
        centred = (self.spread**2 + self.noise**2) / 2  # so that the mean is the mean
        log = level + self.noise * torch.stack(states, -1) + bump.to(level.device) - centred
        return torch.tensor(self.mean, device=level.device)[:, None] * log.exp()

    def calendar(self, periods: int) -> Tensor:
        """Weeks to Christmas, in years."""
        return weeks_to_christmas(self.first_week, periods)[:, None] / 52


def weeks_to_christmas(first: int, periods: int) -> Tensor:
    """For each week from week `first` of a year of 52 on: weeks until the one before Christmas (week 50)."""
    return ((50 - first - torch.arange(periods)) % 52).float()
