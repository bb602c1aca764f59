"""The exact optimum of a small store that loses what it cannot serve, by relative value iteration.

The state is what is on hand and what arrives in each of the next L - 1 periods; there is no simple optimal policy.
Zipkin, "Old and New Methods for Lost-Sales Inventory Systems" (Operations Research 2008), has the costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from rlbench.algos.inventory.policy import Policy
from rlbench.envs.inventory.demand import Poisson, poisson_cdf
from rlbench.envs.inventory.network import Moment
from rlbench.envs.inventory.task import InventoryTask
from rlbench.errors import UsageError
from rlbench.nets.optim import Params
from rlbench.rng import SeedStreams

LARGEST = 5_000_000
"""States times orders that are solved: some seconds."""
CLOSE = 1e-7
"""How near the bounds of the optimal cost are to each other when it counts as found."""


@dataclass(frozen=True)
class LostSales:
    """A store that loses sales.

    Attributes:
        mean: of Poisson demand.
        lead: periods until an order is on hand, L.
        holding: cost of a unit left over.
        underage: cost of a sale lost.
    """

    mean: float
    lead: int
    holding: float
    underage: float

    @cached_property
    def mass(self) -> np.ndarray:
        """P(D = k)."""
        return np.diff(poisson_cdf(self.mean).numpy(), prepend=0.0)

    def quantile(self, share: float, periods: int) -> int:
        cdf = poisson_cdf(self.mean * periods).numpy()
        return int(np.searchsorted(cdf, share))

    @property
    def most_ordered(self) -> int:
        """A little above what covers the demand of one period as well as the whole is to be covered."""
        return self.quantile(self.underage / (self.underage + self.holding), 1) + 2

    @property
    def most_on_hand(self) -> int:
        """The base stock that is optimal with backlogs: no order is worth it that goes beyond, with all that is on hand
        or under way (Zipkin)."""
        return self.quantile(self.underage / (self.underage + self.holding), self.lead + 1)

    @property
    def size(self) -> int:
        """States times orders."""
        return (self.most_on_hand + 1) * (self.most_ordered + 1) ** self.lead

    def solve(self) -> tuple[float, np.ndarray]:
        """The least cost of a period in the long run, and the order in each state `[on hand, then arrivals]`."""
        X, Q, L = self.most_on_hand + 1, self.most_ordered + 1, self.lead
        on_hand, demand = np.arange(X)[:, None], np.arange(len(self.mass))
        left = np.maximum(on_hand - demand, 0)
        now = (self.holding * left + self.underage * np.maximum(demand - on_hand, 0)) @ self.mass
        chances = np.zeros((X, X))  # of what is left of what was on hand
        np.add.at(chances, (np.broadcast_to(on_hand, left.shape), left), np.broadcast_to(self.mass, left.shape))
        position = np.indices((X, *[Q] * L)).sum(0)  # with the new order
        too_much = (position >= X) & (np.arange(Q) > 0)
        value = np.zeros((X, *[Q] * (L - 1)))
        while True:
            following = np.stack(
                # What arrives next joins what is left. What is cut off at the top was not ordered from within the grid.
                [np.tensordot(chances, value[np.minimum(np.arange(X) + arriving, X - 1)], 1) for arriving in range(Q)],
                axis=1,
            )  # [X, arriving, the later arrivals with the new order last]
            totals = np.where(too_much, np.inf, now.reshape(-1, *[1] * L) + following)
            best = totals.min(-1)
            change = best - value
            low, high = change.min(), change.max()
            if high - low < CLOSE:
                order = totals.argmin(-1)
                if order.max() == Q - 1:
                    raise ValueError(f"an order of {Q - 1} is the best one: the grid is too small")
                return float(low + high) / 2, order
            value = best - best.flat[0]


class LostSalesOptimum(Policy):
    """Orders what value iteration found.

    Args:
        task: the problem, one store with Poisson demand that is lost when it is not served.
    """

    def __init__(self, task: InventoryTask) -> None:
        super().__init__(task)
        env, network = task.env, self.network
        low, high = env.underage_range
        fits = network.locations == 1 and network.lost and isinstance(env.demand, Poisson) and low == high
        self.want(fits and task.data is None, "one store that loses Poisson demand: env=inv_one_store_lost")
        problem = LostSales(env.demand.mean[0], network.links[0].lead, network.holding[0], low[0])
        if problem.size > LARGEST:
            raise UsageError(
                f"env={env.name}: the exact optimum would take {problem.size:,} states times orders\n"
                "a shorter env.lead_time, a lower env.mean, or algo=capped_base_stock, which comes near"
            )
        cost, order = problem.solve()
        self.bound = self.charged(cost, low[0], env.demand.mean[0])
        self.order = torch.from_numpy(order).to(task.device)

    def init(self, streams: SeedStreams) -> Params:
        return {}

    def raw(self, params: Params, moment: Moment) -> Tensor:
        return moment.stock[:, :, 0]

    def orders(self, raw: Tensor, moment: Moment) -> Tensor:
        """Of the state nearest to that of the store."""
        index = raw.round().long().clamp(min=0)
        places = [index[..., slot].clamp(max=size - 1) for slot, size in enumerate(self.order.shape)]
        return self.order[tuple(places)].float().unsqueeze(-1)

    def files(self, params: Params, place: int) -> dict[str, str]:
        """The order in every state."""
        names = ["on_hand", *(f"arrives_in_{slot}" for slot in range(1, self.order.dim())), "order"]
        rows = [[*state, int(order)] for state, order in np.ndenumerate(self.order.cpu().numpy())]
        return {"orders.csv": "".join(",".join(map(str, row)) + "\n" for row in (names, *rows))}
