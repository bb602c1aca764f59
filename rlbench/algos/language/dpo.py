"""Direct Preference Optimization: your language model is secretly a reward model.

Rafailov et al. (NeurIPS 2023), in the form of the authors' code.

Wanted is max_pi E[r(x, y)] - beta KL(pi || pi_ref). Its solution, pi*(y | x) = pi_ref(y | x) exp(r(x, y) / beta) /
Z(x), solved for r, turns the Bradley-Terry model of comparisons into one of policies, in which Z(x) cancels:

    P(y_w > y_l | x) = sigma(beta h),   h = [log pi(y_w) - log pi(y_l)] - [log pi_ref(y_w) - log pi_ref(y_l)],

    L = -(1 - eps) log sigma(beta h) - eps log sigma(-beta h),

with log pi(y) the SUM over the tokens of a response. eps is the share of labels taken to be wrong (conservative DPO);
0 is DPO. The policy begins as the reference: h = 0 and L = log 2 at the first update.

Of K responses in order of preference, with Plackett and Luce's model in place of Bradley and Terry's (the paper's
appendix), of which the loss of pairs is K = 2:

    L = -sum_k log( exp(beta u_k) / sum_{j >= k} exp(beta u_j) ),   u_k = log pi(y_k) - log pi_ref(y_k).
"""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from rlbench.algos.language.from_comparisons import FromComparisons
from rlbench.language.ranking import ranking_loss
from rlbench.language.task import LanguageTask
from rlbench.types import Count, NonNegativeInt, Positive, Range


def dpo_loss(u: Tensor, beta: float, label_smoothing: float = 0.0) -> Tensor:
    """L of comparisons, `[...]`, from log-ratios `[K, ...]`, the best first."""
    loss = ranking_loss(beta * u)
    if label_smoothing == 0:
        return loss
    return (1 - label_smoothing) * loss + label_smoothing * ranking_loss(beta * u.flip(0))


class DPO(FromComparisons):
    """Direct Preference Optimization.

    Args:
        task: the problem.
        beta: how strongly the policy is tied to the reference; null: the problem's price of divergence.
        label_smoothing: eps, the share of comparisons taken to be labelled wrongly, below 0.5; pairs alone have it.
        reference_free: take a uniform reference in the loss.
        batch_size: comparisons in a minibatch.
        micro_batch: of these, how many are computed at a time (less memory); null: all.
        learning_rate: step size of RMSprop.
        warmup_updates: updates until it is reached.
        max_grad_norm: gradients are scaled down to this norm.
    """

    def __init__(
        self,
        task: LanguageTask,
        *,
        beta: Positive | None,
        label_smoothing: Annotated[float, Range(0, 0.5, open_high=True)],
        reference_free: bool,
        batch_size: Count,
        micro_batch: Count | None,
        learning_rate: Positive,
        warmup_updates: NonNegativeInt,
        max_grad_norm: Positive,
    ) -> None:
        self.label_smoothing, self.reference_free = label_smoothing, reference_free
        self.pairs_only = "algo.label_smoothing" if label_smoothing else ""
        super().__init__(
            task,
            beta=beta,
            batch_size=batch_size,
            micro_batch=micro_batch,
            learning_rate=learning_rate,
            warmup_updates=warmup_updates,
            max_grad_norm=max_grad_norm,
        )

    def loss(self, logp: Tensor, reference: Tensor) -> Tensor:
        return dpo_loss(logp if self.reference_free else logp - reference, self.beta, self.label_smoothing)
