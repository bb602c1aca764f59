"""NSGA-II on novelty and reward: novelty search that looks at rewards when it selects.

Deb, Pratap, Agarwal and Meyarivan, "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II" (IEEE TEC 2002).
"""

from __future__ import annotations

import numpy as np

from rlbench.algos.evolution.agents import Agents, tradeoff
from rlbench.algos.evolution.novelty_search import Novelty, NoveltySearch


class NSGA2(NoveltySearch):
    """Novelty search whose survivors come from the Pareto fronts of novelty and reward, the least crowded first.

    Args:
        task: the problem.
        population: parents.
        offspring: of each parent.
        mutation: standard deviation that is added to each gene.
        neighbours: k of the mean distance to the k nearest.
        additions: offspring that join the archive in each generation.
    """

    def selection(self, s: Novelty, agents: Agents) -> np.ndarray:
        return tradeoff(self.objectives(s, agents))

    def objectives(self, s: Novelty, agents: Agents) -> np.ndarray:
        """What is traded off, the higher the better: `[N, 2]`."""
        return np.stack([agents.novelty, agents.reward], 1)
