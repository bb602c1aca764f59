"""What algorithms for language models are given: models, comparisons, and a judge."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rlbench.errors import RunError
from rlbench.language.policy import TextPolicy, TextScorer
from rlbench.language.text import Comparisons, Text, Texts
from rlbench.task import Task

Score = Callable[[Text], Tensor]
"""From B prompts with responses to numbers `[S, B]`."""


@dataclass(frozen=True)
class LanguageTask(Task):
    """Responses to prompts are to be improved, near a reference model.

    Attributes:
        base: the model before anything was learned here, made when it is asked for: a copy, to be trained.
        fitted: the model fitted to `demonstrations`, made when it is asked for: what all that is trained begins as.
        reference: the same, frozen, in a precision of its own. What is judged is reward and distance to it.
        demonstrations: prompts with good responses.
        comparisons: what to learn from.
        asked: the prompts of these, short enough that a response of `max_new` tokens can be sampled.
        held_out: comparisons of other prompts, or other draws, to be judged by.
        max_new: most tokens of a response that is sampled.
        key: what determines the reference and the comparisons, seeds included, as JSON would hold it.
    """

    base: Callable[[], TextPolicy]
    fitted: Callable[[], TextPolicy]
    reference: TextPolicy
    demonstrations: Texts
    comparisons: Comparisons
    asked: Texts
    held_out: Comparisons
    max_new: int
    key: dict[str, Any]

    @property
    @abstractmethod
    def decides(self) -> bool:
        """Whether `evaluate` names what policies are judged by; else held-out comparisons have to do."""

    @abstractmethod
    def true_reward(self) -> Score:
        """The reward behind the comparisons, with mean 0 and deviation 1.

        Raises:
            UsageError: nobody knows it.
            RunError: it says the same of all responses.
        """

    @abstractmethod
    def evaluate(self, policy: TextPolicy) -> dict[str, Any]:
        """Metrics `[S]` of a policy."""

    @abstractmethod
    def evaluate_best(self, score: Score | TextScorer, n: int) -> dict[str, Any]:
        """The same of answering with the best of `n` samples of the reference by a score."""


@torch.no_grad()
def normalised(score: Score, texts: Iterable[Text]) -> Score:
    """A score moved to mean 0 and scaled to deviation 1, each seed's over its responses in these texts.

    Raises:
        RunError: it says the same of all of them.
    """
    deviation, mean = torch.std_mean(torch.cat([score(text) for text in texts], 1), 1, keepdim=True)
    if not bool((deviation > 0).all()):
        raise RunError("the reward is the same number for all responses: there is nothing to learn from it")
    return lambda text: (score(text) - mean) / deviation
