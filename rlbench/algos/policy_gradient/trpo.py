"""TRPO: trust region policy optimisation.

Schulman et al., "Trust Region Policy Optimization" (ICML 2015), single path: natural gradient steps of a given
divergence, shortened until the sampled objective agrees.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rlbench.algos.policy_gradient.baseline import LinearBaseline
from rlbench.algos.policy_gradient.estimators import discounted, log_probs
from rlbench.algos.policy_gradient.on_policy import OnPolicy
from rlbench.algos.policy_gradient.rollouts import Rollouts
from rlbench.types import Count, NonNegative, Positive

SHORTER = 0.5  # from one trial of the line search to the next


@dataclass(kw_only=True, eq=False)
class TRPO(OnPolicy):
    """Maximises mean pi_theta(a|s) / pi_old(a|s) A subject to mean KL(pi_old || pi_theta) <= delta.

    A is the return from the step on above a linear value function fitted to the batch before, normalised.

    Args:
        max_kl: delta.
        cg_iterations: iterations of conjugate gradients, which solve F x = g for Fisher's matrix F.
        damping: added to its diagonal.
        backtracks: most trials of the line search; after that the policy stays.
    """

    max_kl: Positive
    cg_iterations: Count
    damping: NonNegative
    backtracks: Count

    reported = ("kl", "trials")

    def __post_init__(self) -> None:
        super().__post_init__()
        task = self.task
        self.values = LinearBaseline(len(task.seeds), task.networks.observation_dim, task.device)

    def improve(self, places: list[int], batches: list[Rollouts]) -> dict[str, Tensor]:
        rollouts, theta = batches[0], self.theta[places]
        returns = discounted(rollouts.reward, self.gamma)
        advantage = normalized((returns - self.values.value(places, rollouts)) * rollouts.mask, rollouts.mask)
        old = log_probs(self.policy, theta, rollouts)

        def mean(values: Tensor) -> Tensor:
            return (values * rollouts.mask).sum((1, 2)) / rollouts.steps

        def gain(new: Tensor) -> Tensor:
            return mean((log_probs(self.policy, new, rollouts) - old).exp() * advantage)

        def kl(new: Tensor) -> Tensor:
            before, after = self.policy.params(theta), self.policy.params(new)
            flat = self.policy.divergence(after, before, rollouts.observation.flatten(1, 2))
            return mean(flat.unflatten(1, rollouts.mask.shape[1:]))

        here = theta.clone().requires_grad_()
        (slope,) = torch.autograd.grad(kl(here).sum(), here, create_graph=True)

        def fisher(v: Tensor) -> Tensor:
            return torch.autograd.grad((slope * v).sum(), here, retain_graph=True)[0] + self.damping * v

        (g,) = torch.autograd.grad(gain(here).sum(), here)
        direction = conjugate_gradients(fisher, g, self.cg_iterations)
        size = (2 * self.max_kl / dot(direction, fisher(direction)).clamp(min=1e-12)).sqrt()
        new, trials = self.shortened(theta, size * direction, gain, kl)
        self.theta[places] = new
        self.values.fit(places, rollouts, returns)
        return {"kl": kl(new), "trials": trials}

    def shortened(
        self, theta: Tensor, step: Tensor, gain: Callable[[Tensor], Tensor], kl: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """For each seed theta + SHORTER^j step with the least j that gains and stays within delta; and j, from 1 on."""
        before, new = gain(theta), theta
        open_, trials = torch.ones_like(before, dtype=torch.bool), torch.zeros_like(before)
        for j in range(self.backtracks):
            trial = theta + SHORTER**j * step
            good = open_ & (gain(trial) > before) & (kl(trial) <= self.max_kl)
            new = torch.where(good[:, None], trial, new)
            trials += open_
            open_ &= ~good
        return new, trials

    def state(self) -> dict[str, Tensor]:
        return {**super().state(), "baseline": self.values.weight}


def normalized(values: Tensor, mask: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1 over each seed's steps, `[S, E, T]`."""
    count = mask.sum((1, 2), keepdim=True)
    centred = (values - values.sum((1, 2), keepdim=True) / count) * mask
    return centred / ((centred.square().sum((1, 2), keepdim=True) / count).sqrt() + 1e-8)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Of each seed, `[S, 1]`."""
    return (a * b).sum(1, keepdim=True)


def conjugate_gradients(product: Callable[[Tensor], Tensor], b: Tensor, iterations: int) -> Tensor:
    """x with product(x) ~ b for each seed, from 0 on, `[S, D]`."""
    x, residual, direction = torch.zeros_like(b), b, b
    square = dot(residual, residual)
    for _ in range(iterations):
        along = product(direction)
        rate = square / dot(direction, along).clamp(min=1e-20)
        x, residual = x + rate * direction, residual - rate * along
        before, square = square, dot(residual, residual)
        direction = residual + square / before.clamp(min=1e-20) * direction
    return x
