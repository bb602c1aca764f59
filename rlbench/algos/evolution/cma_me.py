"""CMA-ME: several CMA-ES by turns, each of which follows what changes the elites.

Fontaine, Togelius, Nikolaidis and Hoover, "Covariance Matrix Adaptation for the Rapid Illumination of Behavior Space"
(GECCO 2020), with improvement emitters: agents in new cells rank first, by reward, then those that exceed an elite, by
how much. An emitter whose generation changed nothing, or that has converged, begins anew at a random elite.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rlbench.algos.evolution.distribution import Distribution
from rlbench.algos.evolution.elites import Illuminating, Illumination
from rlbench.task import Task
from rlbench.types import Count, Positive, Several


@dataclass
class Improving(Illuminating):
    """A search with improvement emitters.

    Attributes:
        emitters: one distribution each.
        turn: generations so far.
        restarts: of emitters.
    """

    emitters: list[Distribution]
    turn: int
    restarts: int


class CMAME(Illumination[Improving]):
    """CMA-ME with improvement emitters.

    Args:
        task: the problem.
        emitters: how many.
        population: genomes of a generation of an emitter.
        sigma: standard deviation of each gene when an emitter begins.
    """

    state = Improving

    def __init__(self, task: Task, *, emitters: Count, population: Several, sigma: Positive) -> None:
        self.emitters, self.population, self.sigma = emitters, population, sigma
        super().__init__(task)

    def common(self, place: int, rng: np.random.Generator) -> dict[str, Any]:
        origin = np.zeros(self.env.controller.genes)
        emitters = [self.fresh(rng, origin) for _ in range(self.emitters)]
        return {**super().common(place, rng), "emitters": emitters, "turn": 0, "restarts": 0}

    def fresh(self, rng: np.random.Generator, mean: np.ndarray) -> Distribution:
        seed = int(rng.integers(2**31))
        return Distribution(mean, self.sigma, self.population, self.env.controller.LIMIT, seed)

    def generation(self, s: Improving) -> None:
        place = s.turn % self.emitters
        emitter = s.emitters[place]
        genomes = emitter.ask()
        new, gain = self.add(s, self.evaluated(s, genomes))
        order = np.lexsort((gain, new))  # the best last
        emitter.tell(genomes, np.argsort(order).astype(np.float64))
        s.turn += 1
        if emitter.ended or not (new | (gain > 0)).any():
            s.emitters[place] = self.fresh(s.rng, self.drawn(s, 1).genome[0])
            s.restarts += 1

    def measures(self, s: Improving) -> dict[str, float]:
        return {**super().measures(s), "train/restarts": float(s.restarts)}
