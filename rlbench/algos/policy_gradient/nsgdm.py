"""Normalised stochastic gradient ascent with momentum (Cutkosky and Mehta, "Momentum Improves Normalized SGD", ICML
2020), on policy gradients."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from rlbench.algos.policy_gradient.ascent import Momentum
from rlbench.algos.policy_gradient.rollouts import Rollouts


@dataclass(kw_only=True, eq=False)
class NSGDM(Momentum):
    """d_t = (1 - eta_t) d_{t-1} + eta_t g(tau_t, theta_t), theta_{t+1} = theta_t + alpha_t d_t / |d_t|."""

    eta_power = 2 / 3

    def direction(self, places: list[int], batches: list[Rollouts]) -> Tensor:
        return self.mixed(places, self.d[places], self.gradient(places, self.theta[places], batches[0]))
