"""MAP-Elites: mutants of random elites, each of which takes the cell where it ends if it is better there.

Mouret and Clune, "Illuminating Search Spaces by Mapping Elites" (arXiv 1504.04909).
"""

from __future__ import annotations

from rlbench.algos.evolution.elites import Illuminating, Illumination
from rlbench.task import Task
from rlbench.types import Count, Positive


class MAPElites(Illumination[Illuminating]):
    """MAP-Elites with Gaussian mutations.

    Args:
        task: the problem.
        population: genomes that it begins with.
        batch: mutants of a generation.
        mutation: standard deviation that is added to each gene.
    """

    state = Illuminating

    def __init__(self, task: Task, *, population: Count, batch: Count, mutation: Positive) -> None:
        self.population, self.batch, self.mutation = population, batch, mutation
        super().__init__(task)

    def generation(self, s: Illuminating) -> None:
        if not len(s.elites):
            self.add(s, self.evaluated(s, self.first_genomes(s, self.population)))
            return
        parents = self.drawn(s, self.batch)
        genomes = parents.genome + self.mutation * s.rng.standard_normal(parents.genome.shape)
        self.add(s, self.evaluated(s, self.within(genomes), parents.id))
