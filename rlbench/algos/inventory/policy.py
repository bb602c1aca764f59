"""What all ordering policies share: from parameters and stock to numbers, from numbers to orders that can be met."""

from __future__ import annotations

import json

import torch
from torch import Tensor

from rlbench.envs.inventory.network import Moment, Network
from rlbench.envs.inventory.task import InventoryTask
from rlbench.errors import UsageError
from rlbench.nets.optim import Params
from rlbench.rng import SeedStreams

NOTHING = 1e-9
"""Less than this is not divided by."""


class Policy:
    """An ordering policy; a subclass says what its numbers are and what they mean.

    Args:
        task: the problem.
    """

    max_grad_norm: float | None = None
    """What gradients are clipped to."""
    bound: float | None = None
    """The least that any policy costs in expectation, where it is known."""

    def __init__(self, task: InventoryTask) -> None:
        self.task = task
        self.network: Network = task.network

    def init(self, streams: SeedStreams) -> Params:
        """First parameters, `[S, ...]`."""
        raise NotImplementedError

    def raw(self, params: Params, moment: Moment) -> Tensor:
        """Any numbers, `[S, B, k]`: what a policy that explores adds noise to."""
        raise NotImplementedError

    def orders(self, raw: Tensor, moment: Moment) -> Tensor:
        """The orders that they stand for, one a link, `[S, B, links]`: no supplier ships more than it has."""
        raise NotImplementedError

    def __call__(self, params: Params, moment: Moment) -> Tensor:
        return self.orders(self.raw(params, moment), moment)

    def files(self, params: Params, place: int) -> dict[str, str]:
        """What `rlbench export` writes for the seed in one place."""
        return {}

    def charged(self, cost: float, underage: float, demand: float) -> float:
        """What a store's period is charged: where sales earn, less than its cost by what all demand would earn.

        Args:
            cost: of what is left over and what is short.
            underage: of a unit short, or the price of one sold.
            demand: the store's mean demand.
        """
        return cost - underage * demand if self.network.profit else cost

    def want(self, fits: bool, what: str) -> None:
        """Raise `UsageError` unless the network is one that this policy is for."""
        if not fits:
            raise UsageError(
                f"env={self.task.env.name}: this policy is for {what}\n`rlbench list env` names the others"
            )


class Learned(Policy):
    """A policy whose numbers come from a network over the stock."""

    def __init__(self, task: InventoryTask) -> None:
        super().__init__(task)
        self.used = torch.tensor(self.network.used, device=task.device)

    def stock(self, moment: Moment) -> Tensor:
        """All that can be other than 0, `[S, B, d]`."""
        flat = moment.stock.flatten(-2)
        return flat if len(self.used) == flat.shape[-1] else flat[..., self.used]

    @property
    def most(self) -> Tensor:
        """That a supplier orders from outside: four times the stores' mean demand."""
        return 4 * self.task.mean.sum()

    def files(self, params: Params, place: int) -> dict[str, str]:
        return {"weights.json": weights(params, place)}


def weights(params: Params, place: int) -> str:
    """The parameters of the seed in one place, by name, as JSON."""
    return json.dumps({name: value[place].tolist() for name, value in params.items()})


def by_link(parts: list[Tensor], links: list[int]) -> Tensor:
    """Columns in the order of the links that they belong to."""
    together = torch.cat(parts, -1)
    if links == sorted(links):
        return together
    return together[..., torch.tensor(links, device=together.device).argsort()]


def shared_out(desired: Tensor, on_hand: Tensor, all_of_it: bool = False) -> Tensor:
    """What one supplier ships when `[S, B, k]` is desired of it: in proportion, when it has less.

    Args:
        desired: not negative.
        on_hand: `[S, B]`.
        all_of_it: whether it ships all it has in any case, to all alike where nothing is desired.
    """
    if all_of_it:
        desired = torch.where(desired.sum(-1, keepdim=True) > NOTHING, desired, 1.0)
    share = on_hand / desired.sum(-1).clamp(min=NOTHING)
    return desired * (share if all_of_it else share.clamp(max=1.0)).unsqueeze(-1)


def met(desired: Tensor, moment: Moment, network: Network) -> Tensor:
    """Orders for what is desired along each link, `[S, B, links]`: in proportion, where a supplier has less."""
    parts, order = [desired[..., network.imports]], list(network.imports)
    for supplier, links in network.suppliers.items():
        parts.append(shared_out(desired[..., links], moment.supply(supplier), not network.keeps))
        order += links
    return by_link(parts, order)
