"""The base stock that is optimal with backlogs and normal demand, in closed form.

What is ordered now is to last for the demand of L + 1 periods, normal with mean mu (L + 1) and deviation sigma
sqrt(L + 1). With z the normal quantile of p / (p + h), S = mu (L + 1) + z sigma sqrt(L + 1) costs (p + h) phi(z) sigma
sqrt(L + 1) a period, and no policy costs less. That demand is clipped at 0 is neglected where it rarely is; elsewhere
the store is solved as a chain of one stage (Clark and Scarf).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from torch import Tensor

from rlbench.algos.inventory.clark_scarf import clipped_mean, solve
from rlbench.algos.inventory.policy import Policy
from rlbench.algos.inventory.stock_levels import BaseStock
from rlbench.envs.inventory.demand import Normal
from rlbench.envs.inventory.network import Moment
from rlbench.envs.inventory.task import InventoryTask
from rlbench.nets.optim import Params
from rlbench.rng import SeedStreams

RARELY_CLIPPED = 3
"""Standard deviations of demand in its mean from which on clipping changes costs by less than 0.1 %."""


@dataclass(frozen=True)
class Newsvendor:
    """A newsvendor who faces normal demand for several periods.

    Attributes:
        mean: of demand in a period.
        std: its standard deviation.
        lead: periods until an order is on hand.
        holding: cost of a unit left over.
        underage: cost of a unit short.
    """

    mean: float
    std: float
    lead: int
    holding: float
    underage: float

    @property
    def z(self) -> float:
        return NormalDist().inv_cdf(self.underage / (self.underage + self.holding))

    @property
    def level(self) -> float:
        """S, the base stock."""
        return self.mean * (self.lead + 1) + self.z * self.std * math.sqrt(self.lead + 1)

    def cost(self, level: float) -> float:
        """What a base stock costs in a period, exactly."""
        spread = self.std * math.sqrt(self.lead + 1)
        z = (level - self.mean * (self.lead + 1)) / spread
        short = NormalDist().pdf(z) - z * (1 - NormalDist().cdf(z))  # E (N - z)^+
        return spread * (self.holding * (z + short) + self.underage * short)


class ClosedForm(BaseStock):
    """Orders up to the level that is optimal.

    Args:
        task: the problem, one store with backlogs and normal demand.
    """

    def __init__(self, task: InventoryTask) -> None:
        Policy.__init__(self, task)
        env, network = task.env, self.network
        fits = network.locations == 1 and not network.lost and isinstance(env.demand, Normal) and task.data is None
        self.want(fits, "one store with backlogs and normal demand: env=inv_one_store")
        low, high = env.underage_range
        self.want(env.demand.std[0] > 0, "demand that varies")
        self.want(low == high, "one underage cost for all traces")
        mean, std, lead, holding = env.demand.mean[0], env.demand.std[0], network.links[0].lead, network.holding[0]
        if mean >= RARELY_CLIPPED * std:
            newsvendor = Newsvendor(mean, std, lead, holding, low[0])
            self.level, cost = newsvendor.level, newsvendor.cost(newsvendor.level)
        else:
            found = solve(mean, std, [lead], [holding], low[0])
            (self.level,), cost = found.levels, found.cost
        self.bound = self.charged(cost, low[0], clipped_mean(mean, std))

    def init(self, streams: SeedStreams) -> Params:
        return {}

    def levels(self, params: Params) -> Tensor:
        return self.task.numbers(self.level).expand(len(self.task.seeds), 1, 1)

    def raw(self, params: Params, moment: Moment) -> Tensor:
        return self.levels(params).expand(-1, moment.stock.shape[1], -1)
