"""Minibatches of traces: every epoch each trace once, in an order of each seed's own."""

from __future__ import annotations

from typing import Any

import torch

from rlbench.envs.inventory.network import Traces
from rlbench.envs.inventory.task import InventoryTask


class Epochs:
    """The traces that policies are trained on, batch by batch; what does not fill a batch is left to other epochs.

    Args:
        task: the problem.
        batch_size: traces in a batch, or all where there are fewer.
    """

    def __init__(self, task: InventoryTask, batch_size: int) -> None:
        parts = list(task.traces("train"))
        demand, stock, underage = (
            torch.cat([getattr(part, name) for part in parts], 1) for name in ("demand", "stock", "underage")
        )
        self.traces = Traces(demand, stock, underage, parts[0].calendar)
        self.count = self.traces.demand.shape[1]
        self.batch_size = min(batch_size, self.count)
        self.streams = task.streams("batches")
        self.position = self.count

    def next(self) -> Traces:
        """The next batch, `[S, B, ...]`."""
        if self.position + self.batch_size > self.count:
            self.order = self.streams.permutation(self.count)
            self.position = 0
        index = self.order[:, self.position : self.position + self.batch_size]
        self.position += self.batch_size
        return self.traces.take(index)

    def state_dict(self) -> dict[str, Any]:
        order = self.order.clone() if self.position < self.count else None
        return {"streams": self.streams.state_dict(), "order": order, "position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.streams.load_state_dict(state["streams"])
        self.position = state["position"]
        if state["order"] is not None:
            self.order = state["order"].to(self.traces.demand.device)
