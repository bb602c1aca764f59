"""Comparisons of sampled responses in an enumerated language: how many there are; `env=lm_enum` draws them."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from rlbench.types import Count, Range

if TYPE_CHECKING:
    from rlbench.envs.problem import Problem


@dataclass(frozen=True)
class EnumComparisons(ABC):
    """Demonstrations from a source language, and compared responses of the model that was fitted to them.

    Every seed has its own.

    Args:
        env: the language.
        sft_size: demonstrations.
        held_out: comparisons to be judged by.
    """

    word: ClassVar[str]
    """The word after `dataset=`."""

    env: Problem
    sft_size: Count
    held_out: Count

    @property
    @abstractmethod
    def count(self) -> int:
        """Comparisons to learn from."""

    @property
    @abstractmethod
    def arity(self) -> int:
        """Responses of each."""

    @property
    def compared(self) -> dict[str, int]:
        """What determines the comparisons to learn from, but for the language and the reference."""
        return {key: value for key, value in vars(self).items() if key not in ("env", "sft_size", "held_out")}

    def identity(self) -> dict[str, Any]:
        sizes = {key: value for key, value in vars(self).items() if key != "env"}
        return {"source": self.word, **sizes}

    def load(self, progress: Any = None) -> EnumComparisons:
        return self

    @property
    def fingerprint(self) -> str:
        """A hash of what is drawn but for the seed and the language."""
        return hashlib.sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()

    @property
    def card(self) -> dict[str, Any]:
        return {"id": self.word, "level": self.word, "rows": self.count, **self.identity()}


@dataclass(frozen=True)
class EnumPairs(EnumComparisons):
    """Pairs; which of two is preferred is drawn by Bradley and Terry's model of the true reward.

    Args:
        pairs: comparisons to learn from.
    """

    word = "enum_pairs"

    pairs: Count

    @property
    def count(self) -> int:
        return self.pairs

    @property
    def arity(self) -> int:
        return 2


@dataclass(frozen=True)
class EnumRankings(EnumComparisons):
    """Rankings; the order is drawn by Plackett and Luce's model of the true reward.

    Args:
        rankings: comparisons to learn from.
        responses: of each.
    """

    word = "enum_rankings"

    rankings: Count
    responses: Annotated[int, Range(2)]

    @property
    def count(self) -> int:
        return self.rankings

    @property
    def arity(self) -> int:
        return self.responses
