"""Policy gradients that do not look into the recursion: what HDPO's gradient is compared with.

The policy is Gaussian around the numbers from which HDPO's policy makes orders, with a deviation learned for each, so
every order can be met whatever is drawn. The score function weighs the log-probability of what was drawn in a period by
what it is held to have cost: the whole trace (REINFORCE, Williams 1992), the periods from there on less the mean over
the batch (reward to go), or that with the clipped ratio of PPO (Schulman et al., arXiv 1707.06347). A step simulates as
many periods as one of HDPO. The paper names "variants of REINFORCE"; the details are ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rlbench.algos.inventory.hdpo import Trained
from rlbench.algos.inventory.policy import Policy
from rlbench.envs.inventory.network import Moment, Traces
from rlbench.envs.inventory.task import InventoryTask
from rlbench.errors import UsageError
from rlbench.nets.optim import Params
from rlbench.types import Count, Positive

Played = list[tuple[Moment, Tensor]]
"""Every period with the numbers that were drawn in it, `[S, B, k]`."""


class Reinforce(Trained):
    """REINFORCE: every decision answers for the whole trace.

    Args:
        task: the problem.
        policy: the policy.
        batch_size: traces in a batch.
        learning_rate: Adam's.
        dev_every: steps between two looks at the dev traces.
        patience: steps without a better policy after which a seed's training is over.
        std: first standard deviation of the numbers drawn.

    Raises:
        UsageError: batches have too few traces to learn from, or patience would end before the first look.
    """

    fewest = 1
    """Traces that a batch needs."""

    def __init__(
        self,
        task: InventoryTask,
        *,
        policy: Callable[[InventoryTask], Policy],
        batch_size: Count,
        learning_rate: Positive,
        dev_every: Count,
        patience: Count,
        std: Positive,
    ) -> None:
        if min(batch_size, task.env.train.traces) < self.fewest:
            raise UsageError(
                f"algo.batch_size={batch_size}, env.train.traces={task.env.train.traces}: costs are compared with the "
                f"batch's mean\nboth are to be at least {self.fewest}"
            )
        self.std = std
        super().__init__(
            task,
            policy=policy,
            batch_size=batch_size,
            learning_rate=learning_rate,
            dev_every=dev_every,
            patience=patience,
        )
        self.noise = task.streams("exploration")

    def first_params(self) -> Params:
        params = super().first_params()
        seeds = len(self.task.seeds)
        one = self.epochs.traces.take(torch.zeros(seeds, 1, dtype=torch.int64, device=self.task.device))
        width = self.policy.raw(params, Moment(self.task.simulator.start(one), one, 0)).shape[-1]
        return {**params, "log_std": torch.full((seeds, 1, width), math.log(self.std), device=self.task.device)}

    @torch.no_grad()
    def play(self, traces: Traces) -> tuple[Played, Tensor]:
        """Periods with what was drawn in them, and what each cost, `[S, B, T]`."""
        played: Played = []

        def act(moment: Moment) -> Tensor:
            mean = self.policy.raw(self.params, moment)
            raw = mean + self.params["log_std"].exp() * self.noise.normal(*mean.shape[1:])
            played.append((moment, raw))
            return self.policy.orders(raw, moment)

        return played, self.task.costs(act, traces)

    def log_probability(self, params: Params, moment: Moment, raw: Tensor) -> Tensor:
        """Of what was drawn, `[S, B]`, but for a constant."""
        deviation = (raw - self.policy.raw(params, moment)) * (-params["log_std"]).exp()
        return -(deviation.square() / 2 + params["log_std"]).sum(-1)

    def weights(self, costs: Tensor) -> Tensor:
        """What each decision answers for, `[S, B, T]`."""
        return costs.sum(-1, keepdim=True).expand_as(costs)

    def step(self) -> dict[str, Tensor]:
        played, costs = self.play(self.epochs.next())
        weights = self.weights(costs).unbind(-1)

        def loss(params: Params) -> tuple[Tensor, dict[str, Tensor]]:
            terms = [
                (self.log_probability(params, *period) * weight).mean(1)
                for period, weight in zip(played, weights, strict=True)
            ]
            return torch.stack(terms).mean(0), {}

        self.update(loss)
        return self.report(costs)

    def report(self, costs: Tensor) -> dict[str, Tensor]:
        return {
            "train/cost": costs[..., self.task.env.train.ignored :].mean((1, 2)),
            "train/std": self.params["log_std"].exp().mean((1, 2)),
        }

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "noise": self.noise.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.noise.load_state_dict(state["noise"])


class RewardToGo(Reinforce):
    """Every decision answers for what comes after it, less what that costs on average over the batch."""

    fewest = 2

    def weights(self, costs: Tensor) -> Tensor:
        to_go = costs.flip(-1).cumsum(-1).flip(-1)
        return to_go - to_go.mean(1, keepdim=True)


class PPO(RewardToGo):
    """Proximal policy optimisation: several updates on what was played, with the ratio of probabilities clipped.

    Args:
        task: the problem.
        policy: the policy.
        batch_size: traces in a batch.
        learning_rate: Adam's.
        dev_every: steps between two looks at the dev traces.
        patience: steps without a better policy after which a seed's training is over.
        std: first standard deviation of the numbers drawn.
        clip: how far the ratio may be from 1.
        updates: how many are made on one batch.
    """

    def __init__(
        self,
        task: InventoryTask,
        *,
        policy: Callable[[InventoryTask], Policy],
        batch_size: Count,
        learning_rate: Positive,
        dev_every: Count,
        patience: Count,
        std: Positive,
        clip: Positive,
        updates: Count,
    ) -> None:
        super().__init__(
            task,
            policy=policy,
            batch_size=batch_size,
            learning_rate=learning_rate,
            dev_every=dev_every,
            patience=patience,
            std=std,
        )
        self.clip, self.updates = clip, updates

    def step(self) -> dict[str, Tensor]:
        played, costs = self.play(self.epochs.next())
        weights = self.weights(costs)
        advantages = (-weights / weights.std(1, keepdim=True).clamp(min=1e-8)).unbind(-1)
        with torch.no_grad():
            before = [self.log_probability(self.params, *period) for period in played]

        def loss(params: Params) -> tuple[Tensor, dict[str, Tensor]]:
            terms = []
            for period, old, advantage in zip(played, before, advantages, strict=True):
                ratio = (self.log_probability(params, *period) - old).exp()
                limited = ratio.clamp(1 - self.clip, 1 + self.clip)
                terms.append(-torch.minimum(ratio * advantage, limited * advantage).mean(1))
            return torch.stack(terms).mean(0), {}

        for _ in range(self.updates):
            self.update(loss)
        return self.report(costs)
