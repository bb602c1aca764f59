"""Supervised fine-tuning: the likeliest model of given responses.

The loss is the negative log-probability of a response, summed over its tokens. On the demonstrations, from the base
model on, this is how the reference of all other algorithms is made; on the preferred responses, from the reference on,
it is the baseline Preferred-FT of Rafailov et al. (NeurIPS 2023).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from rlbench.algos.language.by_examples import ByLosses, Means, WithPolicy
from rlbench.language.task import LanguageTask
from rlbench.language.text import split
from rlbench.language.tuning import Tuner, likelihood_loss
from rlbench.types import Count, NonNegativeInt, Positive


class SFT(ByLosses, WithPolicy):
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
        self.texts = task.demonstrations if data == "target" else task.comparisons.chosen
        self.policy = task.base() if data == "target" else task.fitted().clone(task.streams("policy"))
        tuner = Tuner(self.policy, learning_rate, warmup_updates, max_grad_norm)
        super().__init__(task, len(self.texts), batch_size, micro_batch, tuner)

    def losses(self, index: Tensor, means: Means) -> Iterator[Tensor]:
        for part, share in split(index, self.micro_batch):
            loss = likelihood_loss(self.policy, self.texts.take(part))
            means.add(share, loss=loss)
            yield share * loss

    @torch.no_grad()
    def evaluate(self) -> dict[str, Any]:
        means = Means()
        for part, share in self.held_out():
            means.add(share, loss=likelihood_loss(self.policy, self.task.held_out.chosen.take(part)))
        judged, held_out = self.task.evaluate(self.policy), {"eval/loss": means.sums["loss"]}
        return {**judged, **held_out} if self.task.decides else {**held_out, **judged}
