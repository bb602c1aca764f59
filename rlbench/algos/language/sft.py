"""Supervised fine-tuning: the likeliest model of given responses.

The loss is the negative log-probability of a response, summed over its tokens. On the demonstrations, from the base
model on, this is how the reference of all other algorithms is made; on the preferred responses, from the reference on,
it is the baseline Preferred-FT of Rafailov et al. (NeurIPS 2023).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from rlbench.algos.language.by_examples import ByExamples
from rlbench.language.policy import TextPolicy
from rlbench.language.task import LanguageTask
from rlbench.language.tuning import Tuner, likelihood_losses
from rlbench.types import Count, NonNegativeInt, Positive


class SFT(ByExamples):
    """Supervised fine-tuning.

    Args:
        task: the problem.
        data: what is imitated: target, the demonstrations, from the base model on; chosen, the preferred responses,
            from the reference on.
        batch_size: responses in a minibatch.
        micro_batch: of these, how many are computed at a time (less memory); null: all.
        learning_rate: step size of RMSprop.
        warmup_updates: updates until it is reached.
        max_grad_norm: gradients are scaled down to this norm.
    """

    def __init__(
        self,
        task: LanguageTask,
        *,
        data: Literal["target", "chosen"],
        batch_size: Count,
        micro_batch: Count | None,
        learning_rate: Positive,
        warmup_updates: NonNegativeInt,
        max_grad_norm: Positive,
    ) -> None:
        texts = task.demonstrations if data == "target" else task.pairs.chosen
        self.policy: TextPolicy = (task.base if data == "target" else task.reference).clone()
        self.losses = likelihood_losses(self.policy, texts, micro_batch)
        tuner = Tuner(self.policy, learning_rate, warmup_updates, max_grad_norm)
        super().__init__(task, tuner, len(texts), batch_size)

    def update(self, index: Tensor) -> dict[str, Tensor]:
        total = torch.zeros(len(index), device=index.device)

        def counted(loss: Tensor) -> Tensor:
            total.add_(loss.detach())
            return loss

        norm = self.tuner.step(counted(loss) for loss in self.losses(index))
        return {"train/loss": total, "train/gradient_norm": norm}

    @torch.no_grad()
    def evaluate(self) -> dict[str, Any]:
        return self.task.evaluate(self.policy)
