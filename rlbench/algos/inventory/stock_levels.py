"""Policies that order up to a level: a number or two, learned by the same gradient as a network's weights."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from rlbench.algos.inventory.policy import Policy, met
from rlbench.envs.inventory.network import Moment
from rlbench.envs.inventory.task import InventoryTask
from rlbench.nets.optim import Params
from rlbench.rng import SeedStreams


class BaseStock(Policy):
    """Orders what is missing to a level S, stock on its way counted: max(S - position, 0). Optimal with backlogs.

    Args:
        task: the problem, one store.
    """

    def __init__(self, task: InventoryTask) -> None:
        super().__init__(task)
        self.want(self.network.locations == 1, "one store: env=inv_one_store")

    def init(self, streams: SeedStreams) -> Params:
        return {"level": streams.uniform(1, 1)}

    def levels(self, params: Params) -> Tensor:
        """S, `[S, 1, 1]`."""
        return F.softplus(params["level"])

    def raw(self, params: Params, moment: Moment) -> Tensor:
        return self.levels(params).expand(-1, moment.stock.shape[1], -1)

    def orders(self, raw: Tensor, moment: Moment) -> Tensor:
        return F.relu(raw - moment.stock.sum(-1))

    def files(self, params: Params, place: int) -> dict[str, str]:
        return {"levels.csv": f"store,base_stock\n0,{float(self.levels(params)[place].squeeze()):.6g}\n"}


class CappedBaseStock(BaseStock):
    """Orders up to a level, and never more than a cap: min(max(S - position, 0), cap). Good where demand is lost."""

    def init(self, streams: SeedStreams) -> Params:
        return {"level": streams.uniform(1, 2)}

    def orders(self, raw: Tensor, moment: Moment) -> Tensor:
        level, cap = raw.split(1, -1)
        return torch.minimum(F.relu(level - moment.stock.sum(-1)), cap)

    def files(self, params: Params, place: int) -> dict[str, str]:
        level, cap = self.levels(params)[place].squeeze(0).tolist()
        return {"levels.csv": f"store,base_stock,cap\n0,{level:.6g},{cap:.6g}\n"}


class EchelonStock(Policy):
    """Each stage of a chain orders up to a level of all stock from it down to the store. Optimal in a chain.

    Levels add up from the store on: level_k = sum over j <= k of softplus(x_j + 10).

    Args:
        task: the problem, a chain.
    """

    def __init__(self, task: InventoryTask) -> None:
        super().__init__(task)
        network = self.network
        chain = network.stores == 1 and len(network.links) == network.locations and network.keeps
        self.want(chain, "one store, or a chain whose stages can keep stock: env=inv_serial")

    def init(self, streams: SeedStreams) -> Params:
        return {"steps": streams.uniform(1, self.network.locations)}

    def levels(self, params: Params) -> Tensor:
        """From the store upwards, `[S, 1, locations]`."""
        return F.softplus(params["steps"] + 10).cumsum(-1)

    def raw(self, params: Params, moment: Moment) -> Tensor:
        return self.levels(params).expand(-1, moment.stock.shape[1], -1)

    def orders(self, raw: Tensor, moment: Moment) -> Tensor:
        """Link k leads to location k, from location k + 1 (see `Serial`)."""
        position = moment.stock.sum(-1).cumsum(-1)
        wanted = F.relu(raw - position)
        return torch.cat([torch.minimum(wanted[..., :-1], moment.on_hand[..., 1:]), wanted[..., -1:]], -1)

    def files(self, params: Params, place: int) -> dict[str, str]:
        levels = self.levels(params)[place].flatten().tolist()
        rows = "".join(f"{stage},{level:.6g}\n" for stage, level in enumerate(levels))
        return {"levels.csv": f"stage,echelon_stock\n{rows}"}


class StockCover(Policy):
    """Every location orders up to so many periods of recent demand, as planners of retail do; for any network.

    A store's recent demand is its mean over the periods looked back on, a supplier's the sum over all stores; what a
    location has is all that is there or on its way to it. What is missing is split over its sources; a supplier that
    has less than is asked of it ships in proportion. Learned are the periods, and how the missing is split.

    Args:
        task: the problem.
    """

    def __init__(self, task: InventoryTask) -> None:
        super().__init__(task)
        targets = [link.target for link in self.network.links]
        self.target = torch.tensor(targets, device=task.device)
        self.rivals = (self.target[:, None] == self.target).float()
        """Which links lead to the same location."""

    def init(self, streams: SeedStreams) -> Params:
        return {
            "periods": 5 + streams.uniform(1, self.network.locations),
            "shares": streams.uniform(1, len(self.network.links)),
        }

    def raw(self, params: Params, moment: Moment) -> Tensor:
        """What every location misses, split over its links."""
        n = self.network.stores
        recent = moment.past.mean(-1)
        all_stores = recent.sum(-1, keepdim=True).expand(-1, -1, self.network.locations - n)
        levels = F.softplus(params["periods"]) * torch.cat([recent, all_stores], -1)
        missing = F.relu(levels - moment.stock.sum(-1))
        weights = params["shares"].exp()
        return missing[..., self.target] * (weights / (weights @ self.rivals))

    def orders(self, raw: Tensor, moment: Moment) -> Tensor:
        return met(raw, moment, self.network)

    def files(self, params: Params, place: int) -> dict[str, str]:
        periods = F.softplus(params["periods"])[place].flatten().tolist()
        rows = "".join(f"{location},{each:.6g}\n" for location, each in enumerate(periods))
        return {"levels.csv": f"location,periods\n{rows}"}
