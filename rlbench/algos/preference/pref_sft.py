"""Preferred SFT: behaviour cloning of the segments that were preferred.

The baseline of Hejna et al., "Contrastive Preference Learning" (ICLR 2024): first all segments are cloned, then the
preferred one of every pair; of a tie, both.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlbench.algos.preference.learner import AfterCloning, Pairs
from rlbench.task import ControlTask
from rlbench.types import BelowOne, Count, NonNegativeInt, Positive


class PrefSFT(AfterCloning):
    """Supervised fine-tuning on preferred segments.

    Args:
        task: the problem.
        hidden_dims: widths of the hidden layers of the policy.
        dropout: probability with which a hidden unit is left out in training.
        learning_rate: Adam's step size.
        batch_size: pairs in an update.
        bc_steps: first updates, of behaviour cloning of all segments.
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
    ) -> None:
        super().__init__(
            task, hidden_dims=hidden_dims, dropout=dropout, learning_rate=learning_rate, batch_size=batch_size,
            bc_steps=bc_steps, warmup_steps=0, warmup_to=1.0,
        )  # fmt: skip
        self.need_pairs("pref_sft")

    def begin_after(self) -> None:
        """The optimiser goes on: the loss is the same, of fewer segments."""

    def loss_after(self, log_prob: Tensor, pairs: Pairs) -> tuple[Tensor, dict[str, Tensor]]:
        preferred = torch.cat([pairs.label <= 0.5, pairs.label >= 0.5], 1).float()
        loss = -(log_prob.mean(-1) * preferred).sum(1) / preferred.sum(1)
        return loss, {"train/sft_loss": loss}
