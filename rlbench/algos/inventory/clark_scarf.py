"""The optimal echelon stock of a chain.

Clark and Scarf, "Optimal Policies for a Multi-Echelon Inventory Problem" (Management Science 1960).

With y the store's position (all that is there or on its way), C_1(y) is what it costs when that order arrives, L_1 + 1
periods of demand later. The stage above, with z in its echelon when its order has arrived, lets x <= z go on and holds
the rest:

    C_{j+1}(y) = E min over x <= y - D(L_{j+1}) of h_{j+1} (y - D(L_{j+1}) - x) + C_j(x)

so that stage j orders up to S_j = argmin C_j(x) - h_{j+1} x, the last one up to argmin C_m. Stock on its way costs
nothing. Solved on a grid, with demand rounded to it: exact but for the grid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from torch import Tensor

from rlbench.algos.inventory.stock_levels import EchelonStock
from rlbench.envs.inventory.demand import Normal
from rlbench.envs.inventory.task import InventoryTask
from rlbench.nets.optim import Params
from rlbench.rng import SeedStreams

GRID = 0.02
"""Distance of the points on which costs are computed, in units of the standard deviation of demand."""


@dataclass(frozen=True)
class Solution:
    """Optimal echelon levels, from the store upwards, and what they cost in a period."""

    levels: list[float]
    cost: float


def solve(mean: float, std: float, leads: Sequence[int], holding: Sequence[float], underage: float) -> Solution:
    """Levels and cost of a chain.

    Args:
        mean: of demand in a period, normal, what is negative counts as 0.
        std: its standard deviation.
        leads: lead times from each stage's supplier to it, from the store upwards.
        holding: cost of a unit on hand, likewise.
        underage: cost of a unit short.
    """
    step = GRID * std
    one = clipped_normal(mean, std, step)
    periods = sum(leads) + 1
    low = -(mean + 6 * std) * (leads[0] + 1)  # the position of a store that is out of stock for long
    high = mean * periods + 8 * std * math.sqrt(periods)
    y = np.arange(math.floor(low / step), math.ceil(high / step) + 1) * step
    mass = repeated(one, leads[0] + 1)
    cost = expected_below(np.where(y > 0, holding[0] * y, -underage * y), y, mass, underage)
    levels = []
    for lead, h in zip(leads[1:], holding[1:], strict=True):
        reduced = cost - h * y
        best = int(reduced.argmin())
        levels.append(float(y[best]))
        # min over x <= z of h (z - x) + C(x): C itself below S_j, from there on the best x is S_j.
        sent = np.where(np.arange(len(y)) < best, cost, h * y + reduced[best])
        cost = expected_below(sent, y, repeated(one, lead), underage)
    best = int(cost.argmin())
    return Solution([*levels, float(y[best])], float(cost[best]))


def clipped_normal(mean: float, std: float, step: float) -> np.ndarray:
    """P(D = k step) for k = 0, 1, ..., of normal demand clipped at 0 and rounded to the grid."""
    edges = (np.arange(math.ceil((mean + 7 * std) / step)) + 0.5) * step
    cdf = np.array([NormalDist(mean, std).cdf(edge) for edge in edges])
    mass = np.diff(cdf, prepend=0.0)
    return mass / mass.sum()


def clipped_mean(mean: float, std: float) -> float:
    """The mean of normal demand clipped at 0: clipping raises it."""
    return mean * NormalDist().cdf(mean / std) + std * NormalDist().pdf(mean / std)


def repeated(one: np.ndarray, periods: int) -> np.ndarray:
    """The distribution of the demand of several periods."""
    mass = np.ones(1)
    for _ in range(periods):
        mass = np.convolve(mass, one)
    return mass


def expected_below(values: np.ndarray, y: np.ndarray, mass: np.ndarray, underage: float) -> np.ndarray:
    """E f(y - D) on the grid; left of it, f goes on with slope -underage, as it does when all are short."""
    step = y[1] - y[0]
    margin = np.arange(len(mass) - 1, 0, -1) * step * underage + values[0]
    return np.convolve(np.concatenate([margin, values]), mass, mode="valid")


class ClarkScarf(EchelonStock):
    """Orders up to the optimal echelon levels.

    Args:
        task: the problem, a chain with normal demand.
    """

    def __init__(self, task: InventoryTask) -> None:
        super().__init__(task)
        env, network = task.env, self.network
        fits = isinstance(env.demand, Normal) and env.demand.clipped and not network.lost and task.data is None
        self.want(fits, "a chain with backlogs and normal demand that is clipped at 0: env=inv_serial")
        self.want(min(env.demand.std) > 0, "demand that varies")
        low, high = env.underage_range
        self.want(low == high, "one underage cost for all traces")
        leads = [link.lead for link in network.links]
        found = solve(env.demand.mean[0], env.demand.std[0], leads, network.holding, low[0])
        self.found = found.levels
        self.bound = self.charged(found.cost, low[0], clipped_mean(env.demand.mean[0], env.demand.std[0]))

    def init(self, streams: SeedStreams) -> Params:
        return {}

    def levels(self, params: Params) -> Tensor:
        return self.task.numbers(self.found).expand(len(self.task.seeds), 1, -1)
