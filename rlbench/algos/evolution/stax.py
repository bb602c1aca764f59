"""STAX: SERENE in a behaviour space that is learned from views.

Paolo, Coninx, Laflaquiere and Doncieux, "Discovering and Exploiting Sparse Rewards in a Learned Behavior Space" (arXiv
2111.01919). An autoencoder reconstructs images of the end of each episode: its code is the behaviour that novelty is
measured in, its error the surprise; survivors are drawn by one or the other, a coin for each generation. Nothing of
the state of the environment enters. Each training moves the space, so all agents that are kept are described anew.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from rlbench.algos.evolution.agents import Agents, novelty, tradeoff
from rlbench.algos.evolution.learned import LearnedSpace
from rlbench.algos.evolution.serene import Alternating, Following, Kind
from rlbench.task import Task
from rlbench.types import Count, NonNegativeInt, Positive


class Stax(Alternating[Following]):
    """STAX; with `max_epochs=0`, STAX-NT.

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
        survival: by novelty or surprise, a `coin` for each generation, or by the `pareto` fronts of both.
        views: images of an episode, at equally spaced times; behaviour is all their codes.
        features: width of the code of a view.
        learning_rate: of the autoencoder.
        batch_size: views in a minibatch.
        max_epochs: of one training of the autoencoder; 0: it is never trained.
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
        survival: Literal["coin", "pareto"],
        views: Count,
        features: Count,
        learning_rate: Positive,
        batch_size: Count,
        max_epochs: NonNegativeInt,
    ) -> None:
        self.views, self.behaviours, self.survival = views, views * features, survival
        self.space = LearnedSpace(task, features, learning_rate, batch_size, max_epochs)
        super().__init__(
            task, chunk, emitter_population, bootstrap, emitter,
            population=population, offspring=offspring, mutation=mutation, neighbours=neighbours, additions=additions,
            archiving=archiving,
        )  # fmt: skip

    def described(self, s: Following, agents: Agents) -> Agents:
        return self.space.describe(s.place, agents)

    def selection(self, s: Following, agents: Agents) -> np.ndarray:
        if self.survival == "pareto":
            return tradeoff(np.stack([agents.novelty, agents.surprise], 1))
        return self.space.order(s.rng, agents)

    def turn(self, s: Following) -> None:
        explored = s.exploring
        super().turn(s)
        if explored and self.space.chunk_explored(s.place):
            self.space.train(s.place, self.reference(s), self.tables(s))
            for emitter in (*s.candidates, *s.emitters):
                emitter.most_novel.novelty = novelty(emitter.most_novel, self.reference(s), self.neighbours)

    def measures(self, s: Following) -> dict[str, float]:
        return {**super().measures(s), **self.space.measures(s.place)}

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "space": self.space.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.space.load_state_dict(state["space"])
