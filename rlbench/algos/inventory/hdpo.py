"""HDPO: an ordering policy learned by differentiating its cost on traces of demand.

Alvo, Russo, Kanoria and Lee, "Deep Reinforcement Learning for Inventory Networks: Toward Reliable Policy Optimization"
(arXiv 2306.11246). What a network of stock does is known; only demand is not, and orders do not change it. So a policy
can be played back on a batch of traces `[S, B]`, and

    J(theta) = mean over traces of sum over periods and locations of cost / (T n)

can be differentiated through the recursion of the stock with respect to all its parameters: no critic, no score
function, no exploration. The whole trace counts, its beginning too; what is reported leaves the first periods out. Of
all parameters met on the way, those that cost least on the dev traces are the policy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rlbench.algos.inventory.epochs import Epochs
from rlbench.algos.inventory.policy import Policy
from rlbench.envs.inventory.network import Moment
from rlbench.envs.inventory.task import InventoryTask
from rlbench.errors import UsageError
from rlbench.nets.optim import Adam, Params, assign, clipped, clone, gradients
from rlbench.types import Count, Positive


class Trained:
    """A policy whose parameters are trained, step by step, and chosen on the dev traces.

    Args:
        task: the problem.
        policy: the policy.
        batch_size: traces in a batch.
        learning_rate: Adam's.
        dev_every: steps between two looks at the dev traces.
        patience: steps without a better policy after which a seed's training is over.

    Raises:
        UsageError: patience would end before the first look.
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
    ) -> None:
        if patience < dev_every:
            raise UsageError(
                f"algo.patience={patience} would end training before the first look at the dev traces: "
                f"at least algo.dev_every={dev_every} is wanted"
            )
        self.task, self.dev_every, self.patience = task, dev_every, patience
        self.policy = policy(task)
        self.epochs = Epochs(task, batch_size)
        self.params = self.first_params()
        self.optimizer = Adam(self.params, learning_rate)
        self.time = 0
        """Steps made."""
        self.best = clone(self.params)
        self.best_cost = torch.full((len(task.seeds),), torch.inf, device=task.device)
        self.best_at = torch.zeros(len(task.seeds), dtype=torch.int64, device=task.device)
        """The step at which each seed's best parameters were met."""
        self.metrics: dict[str, Tensor] = {}

    def first_params(self) -> Params:
        return self.policy.init(self.task.streams("initialisation"))

    def step(self) -> dict[str, Tensor]:
        """One update; returns metrics."""
        raise NotImplementedError

    def train(self, n: int) -> dict[str, Tensor]:
        for _ in range(n):
            if not self.over():
                self.metrics = self.step()
            self.time += 1
            if self.time % self.dev_every == 0:
                self.choose()
        return self.metrics

    def update(self, loss: Callable[[Params], tuple[Tensor, dict[str, Tensor]]]) -> dict[str, Tensor]:
        """Change the parameters by the gradient of a loss; returns the metrics that it gives."""
        grads, metrics = gradients(loss, self.params)
        if (most := self.policy.max_grad_norm) is not None:
            grads, _ = clipped(grads, most)
        self.optimizer.step(grads)
        return metrics

    def over(self) -> bool:
        """Whether no seed has patience left: what still is to be made of the run changes nothing."""
        return self.time > self.patience and bool((self.time - self.best_at > self.patience).all())

    def choose(self) -> None:
        """Keep the parameters of the seeds for which they are better on the dev traces than any before."""
        if self.over():
            return
        cost = self.task.cost(lambda moment: self.policy(self.params, moment), "dev")
        better = (cost < self.best_cost) & (self.time - self.best_at <= self.patience)
        self.best_cost = torch.where(better, cost, self.best_cost)
        self.best_at = torch.where(better, self.time, self.best_at)
        for name, value in self.best.items():
            kept = better.view(-1, *[1] * (value.dim() - 1))
            value.copy_(torch.where(kept, self.params[name], value))

    def act(self, moment: Moment) -> Tensor:
        """The orders of the best parameters so far."""
        return self.policy(self.best, moment)

    def evaluate(self) -> dict[str, Tensor]:
        """Cost on the test traces of the parameters that were best on the dev traces, at first of the first ones."""
        return self.task.evaluate(self.act)

    def files(self, place: int) -> dict[str, str]:
        """What `rlbench export` writes: levels, where the policy has some."""
        return self.policy.files(self.best, place)

    def state_dict(self) -> dict[str, Any]:
        return {
            "params": clone(self.params),
            "optimizer": self.optimizer.state_dict(),
            "epochs": self.epochs.state_dict(),
            "time": self.time,
            "best": clone(self.best),
            "best_cost": self.best_cost.clone(),
            "best_at": self.best_at.clone(),
            "metrics": {name: value.clone() for name, value in self.metrics.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assign(self.params, state["params"])
        assign(self.best, state["best"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epochs.load_state_dict(state["epochs"])
        self.time, self.metrics = state["time"], state["metrics"]
        self.best_cost, self.best_at = (state[name].to(self.task.device) for name in ("best_cost", "best_at"))


class HDPO(Trained):
    """Backpropagation through the recursion of the stock."""

    def step(self) -> dict[str, Tensor]:
        traces = self.epochs.next()

        def loss(params: Params) -> tuple[Tensor, dict[str, Tensor]]:
            cost = self.task.costs(lambda moment: self.policy(params, moment), traces)
            settled = cost[..., self.task.env.train.ignored :].mean((1, 2))
            return cost.mean((1, 2)), {"train/cost": settled}

        return self.update(loss)
