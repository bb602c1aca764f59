"""SERENE: novelty search finds rewards, emitters follow them.

Paolo, Coninx, Doncieux and Laflaquiere, "Sparse Reward Exploration via Novelty Search and Emitters" (GECCO 2021). The
budget is spent in chunks, by turns: on novelty search, which does not see rewards; and on emitters, small elitist
searches for reward that begin at every agent that was rewarded. A candidate becomes an emitter if a few generations
improve it. Which emitter goes on is drawn from the Pareto front of improvement and of novelty among the rewarded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from rlbench.algos.evolution.agents import Agents, fronts, novelty
from rlbench.algos.evolution.distribution import Distribution, package
from rlbench.algos.evolution.emitters import Emitter, spread, stagnant
from rlbench.algos.evolution.novelty_search import Exploring, Novelty
from rlbench.algos.evolution.search import csv
from rlbench.errors import UsageError
from rlbench.task import Task
from rlbench.types import Count, NonNegativeInt, Positive

MUTANTS = 2
"""Of each agent in a generation of an emitter."""
Kind = Literal["fitness", "novelty", "cma_es"]
"""Of emitters: the best or the most novel of all survive, or CMA-ES follows the reward."""


@dataclass
class Following(Novelty):
    """A novelty search that follows rewards.

    Attributes:
        exploring: whether this chunk explores.
        left: episodes that are left of this chunk.
        rewarded: the reward archive.
        candidates: emitters that were not tried yet.
        emitters: those that improved, but for the running one.
        running: the one that runs, if one does.
        released: novel agents of emitters that have ended, for the novelty archive.
    """

    exploring: bool
    left: int
    rewarded: Agents
    candidates: list[Emitter]
    emitters: list[Emitter]
    running: list[Emitter]
    released: Agents


F = TypeVar("F", bound=Following)


class Alternating(Exploring[F], Generic[F]):
    """What SERENE and STAX do by turns.

    Args:
        task: the problem.
        chunk: episodes of a turn.
        emitter_population: agents of an emitter.
        bootstrap: generations in which a candidate has to improve.
        emitter: how emitters search.
        exploration: the settings of novelty search.
    """

    def __init__(
        self, task: Task, chunk: int, emitter_population: int, bootstrap: int, emitter: Kind, **exploration: Any
    ) -> None:
        self.chunk, self.emitter_population, self.bootstrap = chunk, emitter_population, bootstrap
        self.emitter = emitter
        if emitter == "cma_es":
            package()  # rather than when the first reward is found
            if emitter_population < 2:
                raise UsageError("algo.emitter=cma_es needs an algo.emitter_population of at least 2")
        super().__init__(task, **exploration)

    def common(self, place: int, rng: np.random.Generator) -> dict[str, Any]:
        agents = {"rewarded": self.nobody, "released": self.nobody}
        emitters: dict[str, Any] = {"candidates": [], "emitters": [], "running": []}
        return {**super().common(place, rng), "exploring": True, "left": self.chunk, **agents, **emitters}

    def generation(self, s: F) -> None:
        before = s.evaluations
        if not len(s.population):
            self.start(s)
            return
        if s.exploring:
            self.explore(s)
        elif s.running or self.choose(s):
            self.follow(s)
        else:
            s.left = 0
        s.left -= s.evaluations - before
        # What is being tried is tried to the end, and paid for.
        if s.left <= 0 and not any(self.untried(emitter) for emitter in s.running):
            self.turn(s)

    def turn(self, s: F) -> None:
        """The end of a chunk."""
        if not s.exploring:
            s.emitters += s.running
            s.running = []
            s.archive = Agents.joined(s.archive, s.released)
            s.released = self.nobody
        s.exploring = not (s.exploring and (s.candidates or s.emitters))
        s.left = self.chunk

    def reference(self, s: F) -> Agents:
        return Agents.joined(super().reference(s), s.rewarded)

    def notice(self, s: F) -> None:
        """Store every agent that was rewarded and not followed yet, and let an emitter try to follow it."""
        everyone = Agents.joined(s.population, s.offspring)
        for place in np.flatnonzero((everyone.reward > 0) & ~everyone.followed):
            agent = everyone[place : place + 1]
            sigma = spread(int(place), everyone.genome, self.mutation)
            nothing = np.zeros((0, self.emitter_population))
            s.candidates.append(Emitter(agent, sigma, self.nobody, nothing, 0.0, agent[:], self.nobody, None))
            self.reward(s, agent)
        for group in (s.population, s.offspring):
            group.followed |= group.reward > 0

    def reward(self, s: F, agents: Agents) -> None:
        """Add to the reward archive whom it does not hold yet."""
        s.rewarded = Agents.joined(s.rewarded, agents[~np.isin(agents.id, s.rewarded.id)])

    # -- emitters ------------------------------------------------------------------------------------------------------

    def untried(self, emitter: Emitter) -> bool:
        return emitter.generations < self.bootstrap

    def choose(self, s: F) -> bool:
        """Let an emitter run: the candidate whose ancestor is most novel, while a third of the chunk is left, else one
        of the front; whether there is one.
        """
        if s.candidates and 3 * s.left > self.chunk:
            s.running = [s.candidates.pop(int(self.rarity(s, s.candidates).argmax()))]
        elif s.emitters:
            scores = np.stack([self.rarity(s, s.emitters), [emitter.improvement for emitter in s.emitters]], 1)
            s.running = [s.emitters.pop(int(s.rng.choice(np.flatnonzero(fronts(scores) == 0))))]
        return bool(s.running)

    def rarity(self, s: F, emitters: list[Emitter]) -> np.ndarray:
        """How novel the ancestors of some emitters are among the rewarded."""
        return novelty(Agents.joined(*(emitter.ancestor for emitter in emitters)), s.rewarded, self.neighbours)

    def follow(self, s: F) -> None:
        """One generation of the emitter that runs."""
        (emitter,) = s.running
        was_untried = self.untried(emitter)
        tried = self.adapted(s, emitter) if self.emitter == "cma_es" else self.selected(s, emitter)
        emitter.rewards = np.concatenate([emitter.rewards, emitter.population.reward[None]])
        self.keep_best(s, emitter, tried)
        self.keep_novel(s, emitter, tried)
        if was_untried:
            if not self.untried(emitter):
                s.running = []
                s.emitters += [emitter] if emitter.improvement > 0 else []
        elif stagnant(emitter.rewards, self.env.controller.genes) or (
            emitter.distribution and emitter.distribution.ended
        ):
            s.running = []
            self.reward(s, emitter.ancestor)
            chosen = s.rng.permutation(len(emitter.novel))[: self.additions]
            s.released = Agents.joined(s.released, emitter.novel[chosen])

    def selected(self, s: F, emitter: Emitter) -> Agents:
        """Try mutants; the best of them and of the population are the next one. Returns whom it tried."""
        ancestor = int(emitter.ancestor.id[0])
        if not len(emitter.population):
            emitter.population = self.mutants(s, emitter.ancestor, self.emitter_population, emitter.sigma, ancestor)
            return emitter.population
        tried = self.mutants(s, emitter.population, MUTANTS, emitter.sigma, ancestor)
        everyone = Agents.joined(emitter.population, tried)
        merit = everyone.reward
        if self.emitter == "novelty":
            merit = novelty(everyone, self.reference(s), self.neighbours)
        emitter.population = everyone[np.argsort(-merit, kind="stable")[: self.emitter_population]]
        return tried

    def adapted(self, s: F, emitter: Emitter) -> Agents:
        """Try a population that is drawn from a distribution, which then follows their rewards. Returns them."""
        ancestor = emitter.ancestor
        if emitter.distribution is None:
            limit, seed = self.env.controller.LIMIT, int(s.rng.integers(2**31))
            size = self.emitter_population
            emitter.distribution = Distribution(ancestor.genome[0], emitter.sigma, size, limit, seed)
        genomes = emitter.distribution.ask()
        tried = self.evaluated(s, genomes, ancestor.id.repeat(len(genomes)), int(ancestor.id[0]))
        emitter.distribution.tell(genomes, tried.reward)
        emitter.population = tried
        return tried

    def keep_best(self, s: F, emitter: Emitter, tried: Agents) -> None:
        """Put into the reward archive what exceeds all that the emitter has put there; at first, its best."""
        reward = tried.reward
        better = np.flatnonzero(reward > emitter.best)
        if emitter.best == 0:
            better = better[np.argsort(-reward[better], kind="stable")[:1]]
        self.reward(s, tried[better])
        emitter.best = max(emitter.best, float(reward.max()))

    def keep_novel(self, s: F, emitter: Emitter, tried: Agents) -> None:
        """Keep what is more novel than all that the emitter has met."""
        tried.novelty = novelty(tried, self.reference(s), self.neighbours)
        emitter.novel = Agents.joined(emitter.novel, tried[tried.novelty > emitter.most_novel.novelty])
        most = int(tried.novelty.argmax())
        if tried.novelty[most] > emitter.most_novel.novelty[0]:
            emitter.most_novel = tried[most : most + 1]

    def tables(self, s: F) -> list[Agents]:
        emitters = [*s.candidates, *s.emitters, *s.running]
        followed = [table for emitter in emitters for table in emitter.tables]
        return [*super().tables(s), s.rewarded, s.released, *followed]

    def measures(self, s: F) -> dict[str, float]:
        emitters = {
            "train/emitters": float(len(s.emitters) + len(s.running)),
            "train/candidates": float(len(s.candidates)),
        }
        return {**super().measures(s), "train/rewarded": float(len(s.rewarded)), **emitters}

    def files(self, place: int) -> dict[str, str]:
        """What `rlbench export` writes: the reward archive too."""
        return {**super().files(place), "rewarded.csv": csv(self.searches[place].rewarded, self.behaviours)}


class Serene(Alternating[Following]):
    """SERENE, by outcomes.

    Args:
        task: the problem.
        chunk: episodes of a turn of exploration, or of emitters.
        emitter_population: agents of an emitter.
        bootstrap: generations in which a candidate has to improve to become an emitter.
        emitter: how emitters search: the `fitness` or the `novelty` of mutants decides who survives, or `cma_es`
            follows rewards.
        population: parents.
        offspring: of each parent.
        mutation: standard deviation that is added to each gene.
        neighbours: k of the mean distance to the k nearest.
        additions: agents that join the archive in each generation, and from each emitter that ends.
        archiving: which offspring join it, `random` ones or the `best` by what decides who survives.
    """

    state = Following

    def __init__(
        self,
        task: Task,
        *,
        chunk: Count,
        emitter_population: Count,
        bootstrap: Count,
        emitter: Kind,
        population: Count,
        offspring: Count,
        mutation: Positive,
        neighbours: Count,
        additions: NonNegativeInt,
        archiving: Literal["random", "best"],
    ) -> None:
        super().__init__(
            task, chunk, emitter_population, bootstrap, emitter,
            population=population, offspring=offspring, mutation=mutation, neighbours=neighbours, additions=additions,
            archiving=archiving,
        )  # fmt: skip
