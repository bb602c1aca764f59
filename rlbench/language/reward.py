"""Who grades answers: a plug-in of the user's own, or a classifier of texts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rlbench.envs.text import require

if TYPE_CHECKING:
    from rlbench.task import Task


class Reward(ABC):
    """Grades responses. Built with the task and the keys of its YAML node, `reward:` in a file of `env/`."""

    @abstractmethod
    def rewards(self, prompts: Sequence[str], responses: Sequence[str]) -> Sequence[float]:
        """One number for each response to its prompt, the better the higher."""


class ClassifierReward(Reward):
    """The probability of a label, of prompt and response together: p(positive) in DPO's controlled sentiment.

    Of a reward model, which has one output, it is that number. Where both are longer than it can read, it reads
    the end.

    Args:
        task: the problem.
        model: a classifier of texts of `transformers`, a folder or a name on the hub of Hugging Face.
        label: the label; a reward model's one is mostly called LABEL_0.
    """

    def __init__(self, task: Task, *, model: str, label: str) -> None:
        require("env.reward", "transformers")
        from rlbench.language import hf

        self.probabilities = hf.probabilities(model, label, task.device, "env.reward")

    def rewards(self, prompts: Sequence[str], responses: Sequence[str]) -> Sequence[float]:
        return self.probabilities([prompt + response for prompt, response in zip(prompts, responses, strict=True)])
