"""TAXONS: novelty search in a behaviour space that an autoencoder learns from views.

Paolo, Laflaquiere, Coninx and Doncieux, "Unsupervised Learning and Exploration of Reachable Outcome Space" (ICRA 2020),
with the schedule of training of STAX: exploration counts in chunks of episodes, and the autoencoder is trained after
the first, after two more, and so on. Survivors are drawn by novelty or by surprise, a coin for each generation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rlbench.algos.evolution.agents import Agents
from rlbench.algos.evolution.learned import LearnedSpace
from rlbench.algos.evolution.novelty_search import Exploring, Novelty
from rlbench.task import Task
from rlbench.types import Count, NonNegativeInt, Positive


@dataclass
class Chunked(Novelty):
    """A novelty search that counts in chunks.

    Attributes:
        left: episodes that are left of this chunk.
    """

    left: int


class Taxons(Exploring[Chunked]):
    """Novelty search by what is seen.

    Args:
        task: the problem.
        chunk: episodes that the schedule of training counts in.
        population: parents.
        offspring: of each parent.
        mutation: standard deviation that is added to each gene.
        neighbours: k of the mean distance to the k nearest.
        additions: offspring that join the archive in each generation.
        views: images of an episode, at equally spaced times; behaviour is all their codes.
        features: width of the code of a view.
        learning_rate: of the autoencoder.
        batch_size: views in a minibatch.
        max_epochs: of one training of the autoencoder; 0: it is never trained.
    """

    state = Chunked

    def __init__(
        self,
        task: Task,
        *,
        chunk: Count,
        population: Count,
        offspring: Count,
        mutation: Positive,
        neighbours: Count,
        additions: NonNegativeInt,
        views: Count,
        features: Count,
        learning_rate: Positive,
        batch_size: Count,
        max_epochs: NonNegativeInt,
    ) -> None:
        self.chunk, self.views, self.behaviours = chunk, views, views * features
        self.space = LearnedSpace(task, features, learning_rate, batch_size, max_epochs)
        super().__init__(task, population, offspring, mutation, neighbours, additions)

    def common(self, place: int, rng: np.random.Generator) -> dict[str, Any]:
        return {**super().common(place, rng), "left": self.chunk}

    def described(self, s: Chunked, agents: Agents) -> Agents:
        return self.space.describe(s.place, agents)

    def selection(self, s: Chunked, agents: Agents) -> np.ndarray:
        return self.space.order(s.rng, agents)

    def generation(self, s: Chunked) -> None:
        if not len(s.population):
            self.start(s)
            return
        before = s.evaluations
        self.explore(s)
        s.left -= s.evaluations - before
        if s.left <= 0:
            s.left = self.chunk
            if self.space.chunk_explored(s.place):
                self.space.train(s.place, self.reference(s), self.tables(s))

    def measures(self, s: Chunked) -> dict[str, float]:
        return {**super().measures(s), **self.space.measures(s.place)}

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "space": self.space.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.space.load_state_dict(state["space"])
