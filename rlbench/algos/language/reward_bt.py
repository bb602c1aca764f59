"""A reward model from comparisons: Bradley and Terry's model, L = -log sigma(r(x, y_w) - r(x, y_l)).

Christiano et al. (NeurIPS 2017), Ouyang et al. (NeurIPS 2022): the reference model with a number in place of the
distribution over tokens, read after the last token. Of rankings of more than two responses, Plackett and Luce's model
(`rlbench.language.ranking`), whose utilities are the rewards.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from rlbench.algos.language.by_examples import ByLosses, Means
from rlbench.language.policy import TextScorer
from rlbench.language.ranking import every_two, ranking_loss
from rlbench.language.task import LanguageTask
from rlbench.language.text import Comparisons, split
from rlbench.language.tuning import Tuner
from rlbench.types import Count, NonNegativeInt, Positive


def scored(scorer: TextScorer, comparisons: Comparisons, index: Tensor) -> Tensor:
    """Rewards of the responses of the comparisons in places `[S, B]`, the best first: `[K, S, B]`."""
    return comparisons.apart(scorer.score(comparisons.take(index)))


class RewardBT(ByLosses):
    """A reward model, by Bradley and Terry.

    Args:
        task: the problem.
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
        batch_size: Count,
        micro_batch: Count | None,
        learning_rate: Positive,
        warmup_updates: NonNegativeInt,
        max_grad_norm: Positive,
    ) -> None:
        self.scorer: TextScorer = task.fitted().scorer(task.streams("reward head"))
        tuner = Tuner(self.scorer, learning_rate, warmup_updates, max_grad_norm)
        super().__init__(task, len(task.comparisons), batch_size, micro_batch, tuner)

    def losses(self, index: Tensor, means: Means) -> Iterator[Tensor]:
        for part, share in split(index, self.micro_batch):
            yield share * self.judged(self.task.comparisons, part, share, means)

    def judged(self, comparisons: Comparisons, index: Tensor, share: float, means: Means) -> Tensor:
        """The loss of a part `[S]`; what else is known of it goes into the means."""
        reward = scored(self.scorer, comparisons, index)
        loss = ranking_loss(reward).mean(1)
        better, worse = every_two(reward)
        accuracy = (better > worse).float().mean((0, 2))
        means.add(share, accuracy=accuracy, loss=loss, margin=(better - worse).mean((0, 2)))
        return loss

    @torch.no_grad()
    def evaluate(self) -> dict[str, Any]:
        means = Means()
        for part, share in self.held_out():
            self.judged(self.task.held_out, part, share, means)
        return {f"eval/{name}": value for name, value in means.sums.items()}
