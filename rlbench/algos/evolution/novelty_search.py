"""Novelty search: whoever behaves like nobody else survives, whatever it earns.

Lehman and Stanley, "Abandoning Objectives: Evolution through the Search for Novelty Alone" (Evolutionary Computation
19, 2011), as Paolo et al. have it (arXiv 2111.01919): every parent makes a few mutated offspring, a few random ones of
these join an archive, and the most novel of parents and offspring are the next parents. Behaviour is the outcome that
the environment measures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from rlbench.algos.evolution.agents import Agents, novelty
from rlbench.algos.evolution.search import Search, State, csv
from rlbench.task import Task
from rlbench.types import Count, NonNegativeInt, Positive


@dataclass
class Novelty(State):
    """A novelty search.

    Attributes:
        population: the parents of the next generation.
        offspring: those of the last one.
        archive: behaviours that were there before.
    """

    population: Agents
    offspring: Agents
    archive: Agents


N = TypeVar("N", bound=Novelty)


class Exploring(Search[N], Generic[N]):
    """What novelty search and all that build on it do to explore.

    Args:
        task: the problem.
        population: parents.
        offspring: of each parent.
        mutation: standard deviation that is added to each gene.
        neighbours: k of the mean distance to the k nearest.
        additions: offspring that join the archive in each generation.
        archiving: which do, `random` ones or the `best`.
    """

    def __init__(
        self,
        task: Task,
        population: int,
        offspring: int,
        mutation: float,
        neighbours: int,
        additions: int,
        archiving: Literal["random", "best"] = "random",
    ) -> None:
        self.population, self.offspring, self.mutation = population, offspring, mutation
        self.neighbours, self.additions, self.archiving = neighbours, additions, archiving
        super().__init__(task)

    def common(self, place: int, rng: np.random.Generator) -> dict[str, Any]:
        groups = dict.fromkeys(("population", "offspring", "archive"), self.nobody)
        return {**super().common(place, rng), **groups}

    def reference(self, s: N) -> Agents:
        """Whom novelty is measured against."""
        return Agents.joined(s.population, s.offspring, s.archive)

    def mutants(self, s: N, parents: Agents, each: int, sigma: float, ancestor: int = -1) -> Agents:
        """Some evaluated mutants of each parent."""
        genomes = parents.genome.repeat(each, axis=0)
        genomes = self.within(genomes + sigma * s.rng.standard_normal(genomes.shape))
        return self.evaluated(s, genomes, parents.id.repeat(each), ancestor)

    def start(self, s: N) -> None:
        """The first population."""
        s.population = self.evaluated(s, self.first_genomes(s, self.population))

    def explore(self, s: N) -> None:
        """One generation."""
        s.offspring = self.mutants(s, s.population, self.offspring, self.mutation)
        for group in (s.population, s.offspring):
            group.novelty = novelty(group, self.reference(s), self.neighbours)
        self.notice(s)
        everyone = Agents.joined(s.population, s.offspring)
        order = self.selection(s, everyone)
        if self.archiving == "best":
            ranked = order[order >= len(s.population)] - len(s.population)
        else:
            ranked = s.rng.permutation(len(s.offspring))
        s.archive = Agents.joined(s.archive, s.offspring[ranked[: self.additions]])
        s.population = everyone[order[: self.population]]

    def notice(self, s: N) -> None:
        """See what the new generation has earned."""

    def selection(self, s: N, agents: Agents) -> np.ndarray:
        """The agents in the order in which they are to survive, `[N]`."""
        return np.argsort(-agents.novelty, kind="stable")

    def tables(self, s: N) -> list[Agents]:
        """All agents that are kept somewhere."""
        return [s.best, s.population, s.offspring, s.archive]

    def measures(self, s: N) -> dict[str, float]:
        mean = float(s.population.novelty.mean())
        return {**super().measures(s), "train/novelty": mean, "train/archive": float(len(s.archive))}

    def files(self, place: int) -> dict[str, str]:
        """What `rlbench export` writes: the archive too."""
        return {**super().files(place), "archive.csv": csv(self.searches[place].archive, self.behaviours)}


class NoveltySearch(Exploring[Novelty]):
    """Novelty search by outcomes.

    Args:
        task: the problem.
        population: parents.
        offspring: of each parent.
        mutation: standard deviation that is added to each gene.
        neighbours: k of the mean distance to the k nearest.
        additions: offspring that join the archive in each generation.
    """

    state = Novelty

    def __init__(
        self,
        task: Task,
        *,
        population: Count,
        offspring: Count,
        mutation: Positive,
        neighbours: Count,
        additions: NonNegativeInt,
    ) -> None:
        super().__init__(task, population, offspring, mutation, neighbours, additions)

    def generation(self, s: Novelty) -> None:
        if len(s.population):
            self.explore(s)
        else:
            self.start(s)
