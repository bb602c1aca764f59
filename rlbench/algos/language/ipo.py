"""Identity Preference Optimization: comparisons are fitted without a model of rewards.

Azar et al. (AISTATS 2024), in the form of DPO's code:

    L = (h - 1 / (2 beta))^2,   h = [log pi(y_w) - log pi(y_l)] - [log pi_ref(y_w) - log pi_ref(y_l)].

Where the first of two responses is preferred with probability p, the best h is (2 p - 1) / (2 beta): finite, however
sure the labels are.
"""

from __future__ import annotations

from torch import Tensor

from rlbench.algos.language.from_comparisons import FromComparisons


def ipo_loss(h: Tensor, beta: float) -> Tensor:
    """L for each h."""
    return (h - 1 / (2 * beta)).square()


class IPO(FromComparisons):
    """Identity Preference Optimization."""

    pairs_only = "IPO"

    def loss(self, logp: Tensor, reference: Tensor) -> Tensor:
        u = logp - reference
        return ipo_loss(u[0] - u[1], self.beta)
