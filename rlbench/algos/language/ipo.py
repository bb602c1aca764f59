"""Identity Preference Optimization: comparisons are fitted without a model of rewards.

Azar et al. (AISTATS 2024), in the form of DPO's code: L = (h - 1 / (2 beta))^2, h as in `rlbench.algos.language.dpo`.
Where the first of two responses is preferred with probability p, the best h is (2 p - 1) / (2 beta): finite, however
sure the labels are.
"""

from __future__ import annotations

from torch import Tensor

from rlbench.algos.language.dpo import log_ratio_margin
from rlbench.algos.language.pairwise import Pairwise


def ipo_loss(h: Tensor, beta: float) -> Tensor:
    """L for each h."""
    return (h - 1 / (2 * beta)).square()


class IPO(Pairwise):
    """Identity Preference Optimization."""

    def loss(self, logp: Tensor, reference: Tensor) -> Tensor:
        return ipo_loss(log_ratio_margin(logp, reference), self.beta)
