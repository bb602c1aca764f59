"""Direct Preference Optimization: your language model is secretly a reward model.

Rafailov et al. (NeurIPS 2023), in the form of the authors' code.

Wanted is max_pi E[r(x, y)] - beta KL(pi || pi_ref). Its solution, pi*(y | x) = pi_ref(y | x) exp(r(x, y) / beta) /
Z(x), solved for r, turns the Bradley-Terry model of comparisons into one of policies, in which Z(x) cancels:

    P(y_w > y_l | x) = sigma(beta h),   h = [log pi(y_w) - log pi(y_l)] - [log pi_ref(y_w) - log pi_ref(y_l)],

    L = -(1 - eps) log sigma(beta h) - eps log sigma(-beta h),

with log pi(y) the SUM over the tokens of a response. eps is the share of labels taken to be wrong (conservative DPO);
0 is DPO. The policy begins as the reference: h = 0 and L = log 2 at the first update.
"""

from __future__ import annotations

from typing import Annotated

from torch import Tensor
from torch.nn import functional as F

from rlbench.algos.language.pairwise import Pairwise
from rlbench.language.task import LanguageTask
from rlbench.types import Count, NonNegativeInt, Positive, Range


def log_ratio_margin(logp: Tensor, reference: Tensor) -> Tensor:
    """h, from log-probabilities `[2, ...]` of chosen and rejected responses under policy and reference."""
    return (logp[0] - logp[1]) - (reference[0] - reference[1])


def dpo_loss(h: Tensor, beta: float, label_smoothing: float = 0.0) -> Tensor:
    """L for each h."""
    return -(1 - label_smoothing) * F.logsigmoid(beta * h) - label_smoothing * F.logsigmoid(-beta * h)


class DPO(Pairwise):
    """Direct Preference Optimization.

    Args:
        task: the problem.
        beta: how strongly the policy is tied to the reference; null: the problem's price of divergence.
        label_smoothing: eps, the share of comparisons taken to be labelled wrongly, below 0.5.
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
        super().__init__(
            task,
            beta=beta,
            batch_size=batch_size,
            micro_batch=micro_batch,
            learning_rate=learning_rate,
            warmup_updates=warmup_updates,
            max_grad_norm=max_grad_norm,
        )
        self.label_smoothing, self.reference_free = label_smoothing, reference_free

    def loss(self, logp: Tensor, reference: Tensor) -> Tensor:
        h = log_ratio_margin(logp, reference * 0 if self.reference_free else reference)
        return dpo_loss(h, self.beta, self.label_smoothing)
