"""Comparisons made by the preference model itself, where optimal advantages are known: the ground truth of CPL."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rlbench.data.segments import Segments
from rlbench.types import Count, NonNegativeInt

if TYPE_CHECKING:
    from rlbench.data.store import Progress
    from rlbench.envs.solved import Solved


class ExactPairs:
    """Pairs of segments of the problem's behaviour; the second is preferred with probability logistic(G_2 - G_1).

    G is the discounted sum of what people are taken to judge by: optimal advantages (the negative regret), or rewards.

    Args:
        env: a solved problem.
        pairs: how many.
        length: steps of a segment.
        judged_by: regret (the discounted sum of optimal advantages) or partial_return (that of rewards).
        labels: soft (the probability itself) or sampled (0 or 1, as a person would answer).
        seed: of segments and labels.
    """

    def __init__(
        self,
        env: Solved,
        *,
        pairs: Count,
        length: Count,
        judged_by: Literal["regret", "partial_return"],
        labels: Literal["soft", "sampled"],
        seed: NonNegativeInt,
    ) -> None:
        self.env, self.pairs, self.length = env, pairs, length
        self.judged_by, self.labels, self.seed = judged_by, labels, seed

    def identity(self) -> dict[str, Any]:
        """What determines the content, but for the problem."""
        asked = {name: getattr(self, name) for name in ("pairs", "length", "judged_by", "labels", "seed")}
        return {"dataset": "pref_exact", **asked}

    def load(self, progress: Progress | None = None) -> Segments:
        """The pairs, made anew: it takes moments."""
        rng = np.random.default_rng(self.seed)
        behaviour = self.env.behave(2 * self.pairs, self.length, rng)
        judged = behaviour.advantage if self.judged_by == "regret" else behaviour.reward
        total = judged @ self.env.discounts(self.length)
        label = np.exp(-np.logaddexp(0.0, total[: self.pairs] - total[self.pairs :]))
        if self.labels == "sampled":
            label = (rng.random(self.pairs) < label).astype(np.float64)
        columns = [each.astype(np.float32) for each in (behaviour.observation, behaviour.action, label)]
        digest = hashlib.sha256()
        for column in columns:
            digest.update(np.ascontiguousarray(column).data)
        card = {"id": "pref_exact", "source": "computed", "segments": 2 * self.pairs, **self.identity()}
        observation, action, probability = columns
        return Segments(observation, action, probability, "comparison", digest.hexdigest(), card)
