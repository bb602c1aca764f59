"""NSLC, novelty search with local competition: be new, and be better than those who behave alike.

Lehman and Stanley, "Evolving a Diversity of Virtual Creatures through Novelty Search and Local Competition" (GECCO
2011), as Paolo et al. have it (arXiv 2111.01919): both are objectives of NSGA-II. A reward counts against the agent's
neighbours alone, so that a good one in a poor region does as well as the best of a rich one.
"""

from __future__ import annotations

import numpy as np

from rlbench.algos.evolution.agents import Agents, local_competition
from rlbench.algos.evolution.novelty_search import Novelty
from rlbench.algos.evolution.nsga2_ns import NSGA2


class NSLC(NSGA2):
    """NSGA-II on novelty and on how many of its nearest neighbours an agent earns more than.

    Args:
        task: the problem.
        population: parents.
        offspring: of each parent.
        mutation: standard deviation that is added to each gene.
        neighbours: the k nearest that novelty is the mean distance to, and that an agent competes with.
        additions: offspring that join the archive in each generation.
    """

    def objectives(self, s: Novelty, agents: Agents) -> np.ndarray:
        return np.stack([agents.novelty, local_competition(agents, self.reference(s), self.neighbours)], 1)
