"""HARPG: Hessian-aided recursive policy gradient; and N-HARPG, with normalised steps.

Fatkhullin, Barakat, Kireeva and He, "Stochastic Policy Gradient Methods: Improved Sample Complexity for
Fisher-non-degenerate Policies" (ICML 2023, arXiv 2302.01734). The old direction is moved to the new point without bias:
the mean Hessian between the two, times their difference, is the difference of the gradients.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rlbench.algos.policy_gradient.ascent import Averaged, Momentum
from rlbench.algos.policy_gradient.estimators import hessian_product
from rlbench.algos.policy_gradient.rollouts import Rollouts
from rlbench.rng import SeedStreams
from rlbench.types import Count


@dataclass(kw_only=True, eq=False)
class HARPG(Averaged, Momentum):
    """With x_t = q theta_t + (1 - q) theta_{t-1}, q uniform, tau_t played by pi_{theta_t} and tau'_t by pi_{x_t}:

    v_t = B(tau'_t, x_t) (theta_t - theta_{t-1}), d_t = (1 - eta_t) (d_{t-1} + v_t) + eta_t g(tau_t, theta_t),
    theta_{t+1} = theta_t + alpha_t d_t, alpha_t = alpha_0 (2 / (t + 2))^(1/2). Both batches count.

    The authors' means are over steps; where episodes differ in length from batch to batch, v_t is unbiased only over
    episodes.

    Args:
        hessian_batch_size: least environment steps of the second batch, which holds whole episodes.
    """

    hessian_batch_size: Count

    alpha_power = 1 / 2
    normalized = False

    def between(self, places: list[int]) -> Tensor:
        """x_t, `[R, D]`."""
        names = [(self.task.seeds[place], f"segment {int(self.iteration[place])}") for place in places]
        q = torch.stack([SeedStreams((seed,), purpose).uniform(1)[0] for seed, purpose in names]).to(self.theta)
        return torch.lerp(self.previous[places], self.theta[places], q)

    def points(self, places: list[int]) -> list[tuple[Tensor, int]]:
        first = super().points(places)
        if self.iteration[places[0]] == 0:  # nothing is old yet
            return first
        return [*first, (self.between(places), self.hessian_batch_size)]

    def direction(self, places: list[int], batches: list[Rollouts]) -> Tensor:
        old, theta = self.d[places], self.theta[places]
        if len(batches) == 2:
            weight = self.weights(places, batches[1])
            moved = theta - self.previous[places]
            old = old + hessian_product(self.policy, self.between(places), batches[1], weight, moved)
        return self.mixed(places, old, self.gradient(places, theta, batches[0]))


@dataclass(kw_only=True, eq=False)
class NHARPG(HARPG):
    """The same with theta_{t+1} = theta_t + alpha_t d_t / |d_t|, alpha_t = alpha_0 2 / (t + 2)."""

    alpha_power = 1.0
    normalized = True
