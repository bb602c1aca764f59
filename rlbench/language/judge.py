"""Who decides which of two answers is better: a plug-in of the user's own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

Verdict = Literal["first", "second", "tie"]


class Judge(ABC):
    """Compares answers. Built with the task and the keys of its YAML node, `judge:` in a file of `env/`."""

    @abstractmethod
    def prefers(self, prompt: str, first: str, second: str) -> Verdict:
        """Which of two answers to a prompt is better; in which order they come is drawn by lot."""
