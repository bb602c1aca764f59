"""Best of N: no policy is trained; of N responses of the reference, the one that a reward model likes best is given.

Stiennon et al. (NeurIPS 2020). The reward model is learned meanwhile (`rlbench.algos.language.reward_bt`).
"""

from __future__ import annotations

from typing import Any, Literal

import torch

from rlbench.algos.language.reward_bt import RewardBT
from rlbench.language.task import LanguageTask
from rlbench.types import Count, NonNegativeInt, Positive


class BestOfN(RewardBT):
    """The best of N samples.

    Args:
        task: the problem.
        n: samples of which one is given.
        reward: what chooses: learned, the reward model; ground_truth, the reward behind the comparisons, where it is
            known.
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
        n: Count,
        reward: Literal["learned", "ground_truth"],
        batch_size: Count,
        micro_batch: Count | None,
        learning_rate: Positive,
        warmup_updates: NonNegativeInt,
        max_grad_norm: Positive,
    ) -> None:
        super().__init__(
            task,
            batch_size=batch_size,
            micro_batch=micro_batch,
            learning_rate=learning_rate,
            warmup_updates=warmup_updates,
            max_grad_norm=max_grad_norm,
        )
        self.n = n
        self.score = self.scorer if reward == "learned" else task.true_reward()

    @torch.no_grad()
    def evaluate(self) -> dict[str, Any]:
        return {**self.task.evaluate_best(self.score, self.n), **super().evaluate()}
