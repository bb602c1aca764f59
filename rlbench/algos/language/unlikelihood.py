"""Unlikelihood: make chosen responses likelier and rejected ones less likely, whatever the model thinks already.

The baseline of Rafailov et al. (NeurIPS 2023), after Welleck et al. (ICLR 2020): L = -log pi(y_w) + alpha log pi(y_l).
It has DPO's gradient without the weight sigma(r(y_l) - r(y_w)), which is what keeps DPO from degenerating.
"""

from __future__ import annotations

from torch import Tensor

from rlbench.algos.language.from_comparisons import FromComparisons
from rlbench.language.task import LanguageTask
from rlbench.types import Count, NonNegative, NonNegativeInt, Positive


class Unlikelihood(FromComparisons):
    """Raises chosen, lowers rejected.

    Args:
        task: the problem.
        alpha: weight of the rejected responses.
        beta: scale of the implicit rewards in the metrics; the loss does not know it; null: the problem's price of
            divergence.
        batch_size: comparisons in a minibatch.
        micro_batch: of these, how many are computed at a time (less memory); null: all.
        learning_rate: step size of RMSprop.
        warmup_updates: updates until it is reached.
        max_grad_norm: gradients are scaled down to this norm.
    """

    pairs_only = "unlikelihood"

    def __init__(
        self,
        task: LanguageTask,
        *,
        alpha: NonNegative,
        beta: Positive | None,
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
        self.alpha = alpha

    def loss(self, logp: Tensor, reference: Tensor) -> Tensor:
        return self.alpha * logp[1] - logp[0]
