"""CPL: contrastive preference learning, a policy straight from comparisons of segments.

Hejna et al., "Contrastive Preference Learning: Learning from Human Feedback without RL" (ICLR 2024). People are taken
to prefer the segment of smaller regret: P(s_2 > s_1) = logistic(sum_t gamma^t A*_2t - sum_t gamma^t A*_1t). In
maximum-entropy problems A* = alpha log pi*, so that with S = sum_t gamma^t alpha log pi(a_t|s_t) the likelihood of
the comparisons depends on the policy alone, and is maximal at pi*:

    L = -log[exp S_+ / (exp S_+ + exp(lambda S_-))] = softplus(lambda S_- - S_+)

With lambda < 1, of policies that explain the comparisons alike the one that finds the data likelier has less loss:
what keeps the policy near the data. It begins with behaviour cloning of all segments. As in the authors' code, a policy
over bounded actions is tanh(network), log pi(a|s) = -||tanh(network) - a||^2, and gamma is 1 within segments.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlbench.algos.preference.contrast import agreement, contrastive_loss, ranking_loss
from rlbench.algos.preference.learner import AfterCloning, Pairs
from rlbench.task import ControlTask
from rlbench.types import BelowOne, Count, Fraction, NonNegative, NonNegativeInt, Positive


class CPL(AfterCloning):
    """Contrastive preference learning.

    Args:
        task: the problem.
        hidden_dims: widths of the hidden layers of the policy.
        dropout: probability with which a hidden unit is left out in training.
        learning_rate: Adam's step size.
        batch_size: pairs in an update (with dataset.mode=score, segments).
        bc_steps: first updates, of behaviour cloning.
        warmup_steps: updates after these, over which the step size rises from 0.
        warmup_to: what it rises to, as a share of `learning_rate`.
        alpha: temperature.
        conservatism: lambda, what scores of segments not preferred are multiplied by; 1: nothing is conservative.
        gamma: discount within segments.
        bc_coefficient: weight of behaviour cloning beside the contrast.
    """

    def __init__(
        self,
        task: ControlTask,
        *,
        hidden_dims: list[Count],
        dropout: BelowOne,
        learning_rate: Positive,
        batch_size: Count,
        bc_steps: NonNegativeInt,
        warmup_steps: NonNegativeInt,
        warmup_to: Positive,
        alpha: Positive,
        conservatism: Fraction,
        gamma: Fraction,
        bc_coefficient: NonNegative,
    ) -> None:
        super().__init__(
            task, hidden_dims=hidden_dims, dropout=dropout, learning_rate=learning_rate, batch_size=batch_size,
            bc_steps=bc_steps, warmup_steps=warmup_steps, warmup_to=warmup_to,
        )  # fmt: skip
        self.alpha, self.conservatism, self.bc_coefficient = alpha, conservatism, bc_coefficient
        self.discount = gamma ** torch.arange(task.segments.action.shape[1], device=task.device)

    def relative(self, log_prob: Tensor, pairs: Pairs) -> Tensor:
        """What stands for log pi in the scores, `[S, N, T]`; here: log pi."""
        return log_prob

    def loss_after(self, log_prob: Tensor, pairs: Pairs) -> tuple[Tensor, dict[str, Tensor]]:
        score = self.alpha * (self.discount * self.relative(log_prob, pairs)).sum(-1)
        if self.minibatches.mode == "score":
            contrast, metrics = ranking_loss(score, pairs.label, self.conservatism), {}
        else:
            contrast = contrastive_loss(score, pairs.label, self.conservatism)
            metrics = {"train/agreement": agreement(score, pairs.label)}
        loss = contrast - self.bc_coefficient * log_prob.mean((1, 2))
        return loss, {"train/cpl_loss": contrast, **metrics}
