"""A language so small that all its responses can be listed: every expectation is a finite sum.

C prompts of one token, responses of T tokens out of V, no end token: V^T responses. For each seed, drawn from stream
1000 + seed:

- a source language: start logits s0[x, v] ~ N(0, 1), bigram logits s[x, u, v] ~ N(0, 1);
- a reward, sum_t w[x, y_t] + sum_t b[y_t, y_t+1] with w, b ~ N(0, 1), for each prompt moved to mean 0, and divided by
  its standard deviation over all prompts, both under the reference model.

The reference is a small transformer, fitted to samples of the source language.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rlbench.envs.problem import Problem
from rlbench.envs.text import refuse_uneven
from rlbench.errors import UsageError
from rlbench.metrics import Ways
from rlbench.types import Count, NonNegativeInt, Positive

if TYPE_CHECKING:
    from rlbench.language.enumerated import EnumTask
    from rlbench.task import Task

MOST = 4_000_000  # responses to all prompts together; a seed has a dozen tables of them, 8 bytes each


@dataclass(frozen=True)
class LmEnum(Problem):
    """An enumerated language.

    Args:
        name: the word after `env=`.
        C: prompts.
        V: tokens that responses are made of.
        T: tokens of a response.
        beta: price of a nat of divergence from the reference, in what policies are judged by.
        layers: of the transformer.
        width: of its residual stream.
        heads: of its attention; they divide the width.
        sft_epochs: passes over the demonstrations in which the reference is fitted.
        sft_batch_size: demonstrations in a minibatch.
        sft_learning_rate: step size of RMSprop.
        sft_warmup_updates: updates until it is reached.

    Raises:
        UsageError: the heads do not divide the width, or there are too many responses to be listed.
    """

    metric_directions: ClassVar[Ways] = {"eval/gap_closure": "higher", "eval/kl": "lower"}

    name: str
    C: Count
    V: Count
    T: Count
    beta: Positive
    layers: Count
    width: Count
    heads: Count
    sft_epochs: Count
    sft_batch_size: Count
    sft_learning_rate: Positive
    sft_warmup_updates: NonNegativeInt

    def __post_init__(self) -> None:
        refuse_uneven(self.heads, self.width)
        if self.C * self.V**self.T > MOST:
            raise UsageError(
                f"env={self.name}: {self.C} prompts with {self.V}^{self.T} responses each are too many to be listed\n"
                f"lower env.T={self.T}, env.V={self.V} or env.C={self.C}, to {MOST:,} responses in all"
            )

    def simulator(self) -> str:
        return f"{self.name}, {self.C} prompts, {self.V}^{self.T} responses, beta={self.beta:g}"

    def task(self, task: Task) -> EnumTask:
        from rlbench.language.enumerated import make

        return make(self, task)
