"""Plain stochastic gradient ascent on the return (REINFORCE, in the form of GPOMDP).

Williams, "Simple statistical gradient-following algorithms for connectionist reinforcement learning" (Machine Learning,
1992); Baxter and Bartlett, "Infinite-Horizon Policy-Gradient Estimation" (JAIR 2001).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from rlbench.algos.policy_gradient.ascent import Averaged
from rlbench.algos.policy_gradient.rollouts import Rollouts


@dataclass(kw_only=True, eq=False)
class VanillaPG(Averaged):
    """theta_{t+1} = theta_t + alpha_t g(tau_t, theta_t), alpha_t = alpha_0 (2 / (t + 2))^(1/2)."""

    alpha_power = 1 / 2
    normalized = False

    def direction(self, places: list[int], batches: list[Rollouts]) -> Tensor:
        return self.gradient(places, self.theta[places], batches[0])
