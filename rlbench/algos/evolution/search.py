"""What all searches over policies share: counting episodes, remembering the best, and what they are judged by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from rlbench.algos.evolution.agents import Agents, nobody
from rlbench.algos.evolution.saving import plain, restored
from rlbench.envs.policy_search import BINS, PolicySearch
from rlbench.envs.record import by_name, found
from rlbench.rng import numpy_generator
from rlbench.task import Task


@dataclass
class State:
    """One seed's search.

    Attributes:
        rng: its random numbers.
        place: of its seed among those of the run.
        evaluations: episodes so far.
        visits: episodes that ended in each cell of the coverage grid, int64 `[BINS^2]`.
        spent: episodes that were rewarded in each area, int64 `[A]`.
        best: the best agent of each area that was found.
        reward: mean reward of the agents that were evaluated last.
    """

    rng: np.random.Generator
    place: int
    evaluations: int
    visits: np.ndarray
    spent: np.ndarray
    best: Agents
    reward: float


S = TypeVar("S", bound=State)


class Search(Generic[S]):
    """A search for each seed; the unit of work is one episode.

    Episodes come by generations: one that a step falls into is finished, so at most that many more were played than
    were asked for.

    Args:
        task: the problem.
    """

    state: ClassVar[type[Any]] = State
    views = 0
    """How often each episode is looked at."""
    behaviours = 2
    """Width of a behaviour, which is the outcome unless it is learned."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.env: PolicySearch = task.env
        self.count = 0
        """Episodes asked for, a seed."""
        self.searches: list[S] = []
        for place, seed in enumerate(task.seeds):
            self.searches.append(self.begin(self.common(place, numpy_generator(seed, "search"))))

    def common(self, place: int, rng: np.random.Generator) -> dict[str, Any]:
        """The fields of a plain state, for a richer one."""
        return {
            "rng": rng,
            "place": place,
            "evaluations": 0,
            "visits": np.zeros(BINS**2, dtype=np.int64),
            "spent": np.zeros(len(self.env.centres), dtype=np.int64),
            "best": self.nobody,
            "reward": 0.0,
        }

    def begin(self, common: dict[str, Any]) -> S:
        """The state before the first episode."""
        return self.state(**common)

    def generation(self, s: S) -> None:
        """The next few episodes."""
        raise NotImplementedError

    def measures(self, s: S) -> dict[str, float]:
        """What is logged of training."""
        return {"train/reward": s.reward}

    def described(self, s: S, agents: Agents) -> Agents:
        """The agents with their behaviour, just evaluated."""
        return agents

    @property
    def nobody(self) -> Agents:
        return nobody(self.env.controller.genes)

    # -- evaluating ----------------------------------------------------------------------------------------------------

    def first_genomes(self, s: S, count: int) -> np.ndarray:
        """Standard normal genomes, within the limits: `[count, genes]`."""
        return self.within(s.rng.standard_normal((count, self.env.controller.genes)))

    def within(self, genomes: np.ndarray) -> np.ndarray:
        limit = self.env.controller.LIMIT
        return genomes.clip(-limit, limit)

    def evaluated(self, s: S, genomes: np.ndarray, parents: np.ndarray | None = None, ancestor: int = -1) -> Agents:
        """Play an episode of each genome; nothing else does."""
        count, episodes = len(genomes), self.env.episodes(genomes, self.views)
        tried = Agents(
            id=s.evaluations + np.arange(count),
            parent=np.full(count, -1) if parents is None else parents,
            ancestor=np.full(count, ancestor),
            genome=genomes,
            reward=episodes.reward,
            area=episodes.area,
            outcome=episodes.outcome,
            views=episodes.views,
            behaviour=episodes.outcome,
            surprise=np.zeros(count),
            novelty=np.zeros(count),
            followed=np.zeros(count, dtype=bool),
        )
        agents = self.described(s, tried)
        s.evaluations += count
        s.reward = float(agents.reward.mean())
        np.add.at(s.visits, self.env.cells(agents.outcome), 1)
        np.add.at(s.spent, agents.area[agents.area >= 0], 1)
        rewarded = Agents.joined(s.best, agents[agents.area >= 0])
        # Of equal rewards the first stays.
        order = np.lexsort((-rewarded.reward, rewarded.area))
        s.best = rewarded[order[np.unique(rewarded.area[order], return_index=True)[1]]]
        return agents

    # -- the four methods ----------------------------------------------------------------------------------------------

    def train(self, n: int) -> dict[str, np.ndarray]:
        self.count += n
        for s in self.searches:
            while s.evaluations < self.count:
                self.generation(s)
        return by_name([self.measures(s) for s in self.searches])

    def evaluate(self) -> dict[str, np.ndarray]:
        """What was found since the beginning (see `rlbench.envs.record.found`)."""
        return by_name([self.found(s) for s in self.searches])

    def found(self, s: S) -> dict[str, float]:
        best = np.zeros(len(s.spent))
        best[s.best.area] = s.best.reward
        return found(s.visits, s.spent, best)

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count, "searches": [plain(s) for s in self.searches]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        searches = [restored(self.state, each) for each in state["searches"]]
        self.count, self.searches = state["count"], searches

    def files(self, place: int) -> dict[str, str]:
        """What `rlbench export` writes: the best agent of each area, with its genome."""
        return {"best.csv": csv(self.searches[place].best, self.behaviours)}


def csv(agents: Agents, behaviours: int) -> str:
    """A table with a row for each agent; its genome in the last columns.

    Args:
        agents: whom it is of; maybe nobody, whose outcomes and behaviours have no columns.
        behaviours: width of a behaviour.
    """
    x, y = agents.outcome.reshape(-1, 2).T
    behaviour = agents.behaviour if len(agents) else np.zeros((0, behaviours))
    numbers = {"reward": agents.reward, "x": x, "y": y}
    numbers |= {f"behaviour{i}": column for i, column in enumerate(behaviour.T)}
    numbers |= {f"gene{i}": column for i, column in enumerate(agents.genome.T)}
    columns = {name: getattr(agents, name).tolist() for name in ("id", "parent", "ancestor", "area")}
    columns |= {name: [f"{value:.9g}" for value in column] for name, column in numbers.items()}
    rows = zip(*columns.values(), strict=True)
    return "".join(",".join(map(str, row)) + "\n" for row in (columns, *rows))
