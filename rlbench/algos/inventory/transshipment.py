"""Stores behind a hub that keeps nothing: a lower bound on every policy, and the allocation that comes near it.

Federgruen and Zipkin, "Approximations of Dynamic, Multilocation Production and Inventory Problems" (Management Science
1984). If stock could be moved between stores for nothing just before demand, only the sum would count: what the hub
orders is to last, with lead time L_w to it and L_s from it, for the hub's L_w periods of everybody's demand and then
for L_s + 1 periods in which each store is on its own. Relaxed so, the cost of a store is at least

    (p + h) phi(z) / n * sqrt((sum_i sigma_i)^2 (L_s + 1) + L_w V),

with V the variance of the demand of all stores together.

Not relaxed, the hub orders up to that level, and gives what arrives to the stores that are lowest, measured in the
deviations of their own demand.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import torch
from torch import Tensor
from torch.nn import functional as F

from rlbench.algos.inventory.policy import Policy
from rlbench.envs.inventory.demand import Normal
from rlbench.envs.inventory.network import Moment
from rlbench.envs.inventory.task import InventoryTask
from rlbench.nets.optim import Params
from rlbench.rng import SeedStreams

HALVINGS = 30


class MyopicAllocation(Policy):
    """Orders up to a level of all stock, and levels what the stores have.

    Args:
        task: the problem, one hub that keeps nothing, stores that are alike but for their demand.
    """

    def __init__(self, task: InventoryTask) -> None:
        super().__init__(task)
        env, network, n = task.env, self.network, task.env.n
        low, high = env.underage_range
        leads = {link.lead for link in network.links[:n]}
        alike = len(leads) == len(set(low)) == len(set(network.holding[:n])) == 1
        fits = alike and not network.keeps and not network.lost and network.locations == n + 1
        what = "one hub that keeps nothing, with stores alike in lead time and costs: env=inv_transshipment"
        self.want(fits and isinstance(env.demand, Normal) and task.data is None, what)
        assert isinstance(env.demand, Normal)
        self.want(not env.demand.clipped, "normal demand that is not clipped at 0: env.clipped=false")
        self.want(min(env.demand.std) > 0, "demand that varies")
        self.want(low == high, "one underage cost for all traces")
        (store_lead,), hub_lead = leads, network.links[n].lead
        holding, underage, correlation = network.holding[0], low[0], env.demand.correlation
        z = NormalDist().inv_cdf(underage / (underage + holding))
        deviations = sum(env.demand.std)
        together = (1 - correlation) * sum(std**2 for std in env.demand.std) + correlation * deviations**2
        spread = math.sqrt(deviations**2 * (store_lead + 1) + hub_lead * together)
        cost = (underage + holding) * NormalDist().pdf(z) * spread / n
        self.bound = self.charged(cost, underage, sum(env.demand.mean) / n)
        self.level = sum(env.demand.mean) * (store_lead + 1 + hub_lead) + z * spread
        self.mean = task.mean * (store_lead + 1)
        self.deviation = task.std * math.sqrt(store_lead + 1)

    def init(self, streams: SeedStreams) -> Params:
        return {}

    def raw(self, params: Params, moment: Moment) -> Tensor:
        return moment.stock.sum(-1)

    def orders(self, raw: Tensor, moment: Moment) -> Tensor:
        """Stores are the first links, the hub is the last."""
        hub = F.relu(self.level - raw.sum(-1, keepdim=True))
        position, supply = raw[..., :-1], moment.on_hand[..., -1:]
        # Fill up to mean + k deviation, with k such that all is given away: between where the lowest store is and where
        # even an empty network's stores would have it all.
        low = ((position - self.mean) / self.deviation).amin(-1, keepdim=True)
        high = (
            low
            + 1
            + (supply + (self.mean + low * self.deviation - position).abs().sum(-1, keepdim=True))
            / (self.deviation.amin())
        )
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            enough = F.relu(self.mean + middle * self.deviation - position).sum(-1, keepdim=True) >= supply
            low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
        given = F.relu(self.mean + high * self.deviation - position)
        total = given.sum(-1, keepdim=True).clamp(min=1e-9)
        return torch.cat([given * (supply / total), hub], -1)
