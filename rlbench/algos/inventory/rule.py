"""Policies that need no training: exact solutions, rules, bounds. One unit of work is one batch of training traces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rlbench.algos.inventory.epochs import Epochs
from rlbench.algos.inventory.policy import Policy
from rlbench.envs.inventory.network import Moment
from rlbench.envs.inventory.task import InventoryTask
from rlbench.types import Count


class Rule:
    """A policy as it is.

    Args:
        task: the problem.
        policy: the policy.
        batch_size: training traces that it is played on in a step.
    """

    def __init__(self, task: InventoryTask, *, policy: Callable[[InventoryTask], Policy], batch_size: Count) -> None:
        self.task = task
        self.policy = policy(task)
        self.params = self.policy.init(task.streams("initialisation"))
        self.epochs = Epochs(task, batch_size)

    def act(self, moment: Moment) -> Tensor:
        return self.policy(self.params, moment)

    @torch.no_grad()
    def train(self, n: int) -> dict[str, Tensor]:
        """Play the policy; nothing is learned."""
        for _ in range(n):
            traces = self.epochs.next()
        costs = self.task.costs(self.act, traces)
        return {"train/cost": costs[..., self.task.env.train.ignored :].mean((1, 2))}

    def evaluate(self) -> dict[str, Tensor]:
        """Cost on the test traces; where it is known, the least that any policy can cost in expectation."""
        metrics = self.task.evaluate(self.act)
        if self.policy.bound is None:
            return metrics
        return metrics | {"eval/bound": torch.full_like(metrics["eval/cost"], self.policy.bound)}

    def files(self, place: int) -> dict[str, str]:
        """What `rlbench export` writes."""
        return self.policy.files(self.params, place)

    def state_dict(self) -> dict[str, Any]:
        return {"epochs": self.epochs.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epochs.load_state_dict(state["epochs"])
