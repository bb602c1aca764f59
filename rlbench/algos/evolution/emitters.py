"""Emitters: small local searches for reward, each from an agent that was rewarded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rlbench.algos.evolution.agents import Agents, distances
from rlbench.algos.evolution.distribution import Distribution

EDGE = 3
"""Populations at either end of an emitter's life that improvement is measured between."""
RECENT = 20
"""Populations at either end of the window that stagnation is measured between."""


@dataclass
class Emitter:
    """An emitter, or a candidate for one: before its first generation nothing is known but where it begins.

    Attributes:
        ancestor: the agent that it began from.
        sigma: standard deviation of its mutations.
        population: its present agents.
        rewards: of its population in each generation, the first one included: `[g, population]`.
        best: the highest reward that it has put into the reward archive, 0 before.
        most_novel: the most novel agent that it has met, first its ancestor.
        novel: agents that were more novel than all it had met: candidates for the novelty archive.
        distribution: that its populations come from, of a CMA-ES emitter that has begun.
    """

    ancestor: Agents
    sigma: float
    population: Agents
    rewards: np.ndarray
    best: float
    most_novel: Agents
    novel: Agents
    distribution: Distribution | None

    @property
    def generations(self) -> int:
        """After the first population."""
        return len(self.rewards) - 1

    @property
    def improvement(self) -> float:
        return improvement(self.rewards)

    @property
    def tables(self) -> list[Agents]:
        """All agents that it keeps."""
        return [self.ancestor, self.population, self.most_novel, self.novel]


def spread(place: int, genomes: np.ndarray, fallback: float) -> float:
    """A third of the distance from a genome to the nearest of the others, so that most mutants stay on its side.

    Args:
        place: the row of the genome.
        genomes: all of them, `[N, genes]`.
        fallback: the spread of a genome that occurs twice.
    """
    others = np.delete(genomes, place, axis=0)
    nearest = float(distances(genomes[place : place + 1], others).min()) if len(others) else 0.0
    return nearest / 3 or fallback


def improvement(rewards: np.ndarray) -> float:
    """How much more the last populations `[g, population]` earn in the mean than the first, if they do; else 0."""
    return max(0.0, float(rewards[-EDGE:].mean() - rewards[:EDGE].mean()))


def stagnant(rewards: np.ndarray, genes: int) -> bool:
    """Whether the last populations `[g, population]` are no better than those before, in the median or the best."""
    window = int(20 * genes / rewards.shape[1] + 120)
    if len(rewards) - 1 <= window:
        return False
    first, last = rewards[-window:][:RECENT], rewards[-RECENT:]
    return bool(np.median(first) >= np.median(last) or first.max() >= last.max())
