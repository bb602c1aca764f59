"""CMA-ES: one normal distribution over genomes follows the reward; without reward there is nothing to follow.

Hansen, "The CMA Evolution Strategy: A Tutorial" (arXiv 1604.00772). It begins as random search does, and begins anew
when it has converged or sees no differences.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rlbench.algos.evolution.distribution import Distribution
from rlbench.algos.evolution.search import Search, State
from rlbench.task import Task
from rlbench.types import Positive, Several


@dataclass
class Adapting(State):
    """A distribution that is adapted.

    Attributes:
        distribution: the present one.
        restarts: how many there were before.
    """

    distribution: Distribution
    restarts: int


class CMAES(Search[Adapting]):
    """CMA-ES with restarts.

    Args:
        task: the problem.
        population: genomes of a generation.
        sigma: standard deviation of each gene at first; the mean is 0.
    """

    state = Adapting

    def __init__(self, task: Task, *, population: Several, sigma: Positive) -> None:
        self.population, self.sigma = population, sigma
        super().__init__(task)

    def common(self, place: int, rng: np.random.Generator) -> dict[str, Any]:
        return {**super().common(place, rng), "distribution": self.fresh(rng), "restarts": 0}

    def fresh(self, rng: np.random.Generator) -> Distribution:
        controller = self.env.controller
        seed = int(rng.integers(2**31))
        return Distribution(np.zeros(controller.genes), self.sigma, self.population, controller.LIMIT, seed)

    def generation(self, s: Adapting) -> None:
        genomes = s.distribution.ask()
        s.distribution.tell(genomes, self.evaluated(s, genomes).reward)
        if s.distribution.ended:
            s.distribution, s.restarts = self.fresh(s.rng), s.restarts + 1

    def measures(self, s: Adapting) -> dict[str, float]:
        return {**super().measures(s), "train/restarts": float(s.restarts)}
