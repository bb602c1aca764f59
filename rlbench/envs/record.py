"""What is remembered of the episodes that an algorithm lives through while it learns."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rlbench.envs.policy_search import BINS, PolicySearch


class Record:
    """Of most problems nothing.

    Attributes:
        tensors: all that is remembered, on the CPU, `[S, ...]` each: part of the state that is saved.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}

    def add(self, place: int, returns: np.ndarray, ends: np.ndarray) -> None:
        """Remember episodes of the seed in one place.

        Args:
            place: of the seed.
            returns: of each episode, `[E]`.
            ends: what came of each (see `rlbench.envs.simulators.END`), `[E, END]`; NaN of those that did not end.
        """

    def metrics(self) -> dict[str, np.ndarray]:
        """What it tells, `[S]` a metric."""
        return {}


class Findings(Record):
    """Of a problem with reward areas, what a search would remember: the best reward in each, and where episodes ended.

    Args:
        problem: whose episodes they are.
        seeds: S.
    """

    def __init__(self, problem: PolicySearch, seeds: int) -> None:
        super().__init__()
        self.problem = problem
        areas = len(problem.centres)
        counts = {"visits": BINS**2, "spent": areas}
        self.tensors |= {name: torch.zeros(seeds, width, dtype=torch.int64) for name, width in counts.items()}
        self.tensors["best"] = torch.zeros(seeds, areas, dtype=torch.float64)

    def of_seed(self, place: int) -> dict[str, np.ndarray]:
        """What is remembered of one seed, to be read and changed."""
        return {name: value[place].numpy() for name, value in self.tensors.items()}

    def add(self, place: int, returns: np.ndarray, ends: np.ndarray) -> None:
        over, mine = np.isfinite(ends).all(1), self.of_seed(place)
        returns, area, outcome = returns[over], ends[over, 0].astype(np.int64), ends[over, 1:]
        rewarded = area >= 0
        np.add.at(mine["visits"], self.problem.cells(outcome), 1)
        np.add.at(mine["spent"], area[rewarded], 1)
        np.maximum.at(mine["best"], area[rewarded], returns[rewarded])

    def metrics(self) -> dict[str, np.ndarray]:
        seeds = len(self.tensors["best"])
        return by_name([found(**self.of_seed(place)) for place in range(seeds)])


def found(visits: np.ndarray, spent: np.ndarray, best: np.ndarray) -> dict[str, float]:
    """What was found since the beginning, in all episodes of one seed.

    `eval/best_reward` is the mean over areas of the best reward in each, 0 where an area was not found.
    `eval/coverage` is the share of the cells of the outcome plane in which an episode ended, `eval/uniformity` 1
    less the Jensen-Shannon distance of the episodes' ends to a uniform distribution over all cells, `eval/episodes`
    how many episodes there were.

    Args:
        visits: episodes that ended in each cell, `[BINS^2]`.
        spent: episodes that were rewarded in each area, `[A]`.
        best: the best reward of each area, `[A]`.
    """
    return {
        "eval/best_reward": float(best.mean()),
        "eval/areas": float((spent > 0).sum()),
        "eval/coverage": float((visits > 0).mean()),
        "eval/uniformity": uniformity(visits),
        "eval/episodes": float(visits.sum()),
        **{f"eval/best_reward_{area}": float(reward) for area, reward in enumerate(best)},
        **{f"eval/episodes_{area}": float(count) for area, count in enumerate(spent)},
    }


def by_name(rows: list[dict[str, float]]) -> dict[str, np.ndarray]:
    """Metrics of each seed as arrays over seeds."""
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def uniformity(visits: np.ndarray) -> float:
    """1 less the Jensen-Shannon distance (base 2) of counts to a uniform distribution; 0 of no counts."""
    total = visits.sum()
    if not total:
        return 0.0
    p, q = visits / total, np.full(len(visits), 1 / len(visits))
    middle = (p + q) / 2

    def divergence(x: np.ndarray) -> float:
        there = x > 0
        return float((x[there] * np.log2(x[there] / middle[there])).sum())

    return 1.0 - float(np.sqrt((divergence(p) + divergence(q)) / 2))
