"""Comparisons of sampled responses in an enumerated language: how many there are; `env=lm_enum` draws them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlbench.types import Count

if TYPE_CHECKING:
    from rlbench.envs.problem import Problem


@dataclass(frozen=True)
class EnumPairs:
    """Demonstrations from a source language, and pairs of responses of the model that was fitted to them.

    Which of a pair is preferred is drawn by Bradley and Terry's model of the true reward. Every seed has its own.

    Args:
        env: the language.
        sft_size: demonstrations.
        pairs: comparisons to learn from.
        held_out: comparisons to be judged by.
    """

    env: Problem
    sft_size: Count
    pairs: Count
    held_out: Count

    def identity(self) -> dict[str, Any]:
        sizes = {key: value for key, value in vars(self).items() if key != "env"}
        return {"source": "enum_pairs", **sizes}

    def load(self, progress: Any = None) -> EnumPairs:
        return self

    @property
    def fingerprint(self) -> str:
        """A hash of what is drawn but for the seed and the language."""
        return hashlib.sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()

    @property
    def card(self) -> dict[str, Any]:
        return {"id": "enum_pairs", "level": "enum_pairs", "rows": self.pairs, **self.identity()}
