"""N-PG-IGT: normalised policy gradient with implicit gradient transport.

Fatkhullin, Barakat, Kireeva and He, "Stochastic Policy Gradient Methods: Improved Sample Complexity for
Fisher-non-degenerate Policies" (ICML 2023, arXiv 2302.01734). Gradients are taken at a point ahead of theta_t, so far
ahead that the old direction, which is late, and the new gradient, which is early, make up the gradient at theta_t, were
the return quadratic.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from rlbench.algos.policy_gradient.ascent import Momentum
from rlbench.algos.policy_gradient.rollouts import Rollouts


@dataclass(kw_only=True, eq=False)
class NPGIGT(Momentum):
    """With x_t = theta_t + (1 - eta_t) / eta_t (theta_t - theta_{t-1}) and tau_t played by pi_{x_t}:

    d_t = (1 - eta_t) d_{t-1} + eta_t g(tau_t, x_t), theta_{t+1} = theta_t + alpha_t d_t / |d_t|.
    """

    eta_power = 4 / 5

    def points(self, places: list[int]) -> list[tuple[Tensor, int]]:
        eta, theta = self.eta(places), self.theta[places]
        return [(theta + (1 - eta) / eta * (theta - self.previous[places]), self.batch_size)]

    def direction(self, places: list[int], batches: list[Rollouts]) -> Tensor:
        (ahead, _), *_ = self.points(places)
        return self.mixed(places, self.d[places], self.gradient(places, ahead, batches[0]))
