"""Problems for searches over policies: one episode of a genome, its reward, where it ended, and what was seen of it.

A policy is a small network of fixed shape, and its genome is the list of its weights. An episode is deterministic: an
elitist search would otherwise keep luck. Rewards are sparse, so that nearly every policy earns exactly 0.

Algorithms that act step by step take the same episodes as a gymnasium environment (`rlbench.envs.stepped`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

import numpy as np

from rlbench.envs.drawing import PIXELS
from rlbench.envs.problem import common
from rlbench.envs.stepwise import Stepwise
from rlbench.metrics import Ways

if TYPE_CHECKING:
    import gymnasium

    from rlbench.envs.simulators import Simulators
    from rlbench.task import Task

BINS = 50
"""Cells of the coverage grid along each axis."""

Act = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Episodes:
    """What came of B episodes.

    Attributes:
        reward: the sum of each, `[B]`.
        area: the number of the reward area that it was earned in, -1 where there was none, int64 `[B]`.
        outcome: where it ended: the ground truth that coverage is measured with, `[B, 2]`.
        views: images at equally spaced times, the last one at the end: uint8 `[B, m, PIXELS, PIXELS, 3]`.
    """

    reward: np.ndarray
    area: np.ndarray
    outcome: np.ndarray
    views: np.ndarray


class Controller:
    """A feed-forward network whose weights are a genome: y = 2 sigmoid(W x + b) - 1 in every layer, one b a layer.

    Args:
        sizes: widths of the observation, the hidden layers and the action.
    """

    LIMIT = 5.0
    """Genes stay in [-LIMIT, LIMIT]."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.shapes = [(wide, narrow) for narrow, wide in pairwise(sizes)]
        self.genes = sum(out * into + 1 for out, into in self.shapes)

    def policy(self, genomes: np.ndarray) -> Act:
        """What maps observations `[B, into]` of B genomes `[B, genes]` to their actions `[B, out]`, in (-1, 1)."""
        layers, first = [], 0
        for out, into in self.shapes:
            last = first + out * into
            # Halved: 2 sigmoid(z) - 1 = tanh(z / 2).
            weight = 0.5 * genomes[:, first:last].reshape(-1, out, into)
            layers.append((weight, 0.5 * genomes[:, last : last + 1, None]))
            first = last + 1

        def act(observation: np.ndarray) -> np.ndarray:
            x = observation[..., None]
            for weight, bias in layers:
                x = np.tanh(weight @ x + bias)
            return x[..., 0]

        return act


class End(NamedTuple):
    """What episodes that end here earn for their end, and as `Episodes` has it: area and outcome."""

    reward: np.ndarray
    area: np.ndarray
    outcome: np.ndarray


class Worlds:
    """B episodes of a problem side by side, from their beginning on; a subclass says what a step does.

    Args:
        steps: after which an episode ends.
        observation: the first ones, `[B, d]`.
    """

    def __init__(self, steps: int, observation: np.ndarray) -> None:
        self.steps = steps
        self.observation = observation
        """What is to be acted on now, `[B, d]`."""
        self.over = np.zeros(len(observation), dtype=bool)
        """Whose episode has ended before its time, `[B]`: nothing moves there any more."""

    def step(self, action: np.ndarray) -> np.ndarray:
        """Take an action in [-1, 1] in each, `[B, a]`; returns what that earns on the way, `[B]`."""
        raise NotImplementedError

    def end(self) -> End:
        """What came of episodes that end here."""
        raise NotImplementedError

    def drawn(self) -> np.ndarray:
        """Images of them, uint8 `[B, PIXELS, PIXELS, 3]`."""
        raise NotImplementedError


class PolicySearch(Stepwise):
    """What a search asks of a problem: episodes of genomes, and the plane that their outcomes lie in."""

    # Without annotations: those are what an environment's YAML file sets.
    SIZES = cast(tuple[int, ...], (2, 5, 5, 2))
    """Widths of the controller's observation, hidden layers and action."""
    LOW, HIGH = (-1.0, -1.0), (1.0, 1.0)
    """Corners of the outcome plane, which is what is drawn and what coverage is measured on."""
    id = "rlbench.envs.stepped:PolicySearch-v0"
    """Gymnasium's."""
    metric_directions: ClassVar[Ways] = {"eval/episodes": "neither"}

    @property
    def centres(self) -> np.ndarray:
        """Centres of the reward areas, `[A, 2]`."""
        raise NotImplementedError

    def begin(self, count: int) -> Worlds:
        """So many episodes, at their beginning."""
        raise NotImplementedError

    @cached_property
    def controller(self) -> Controller:
        return Controller(self.SIZES)

    def episodes(self, genomes: np.ndarray, views: int) -> Episodes:
        """One episode of each genome `[B, genes]`, seen at so many times."""
        return self.play(self.controller.policy(genomes), len(genomes), views)

    def play(self, act: Act, count: int, views: int) -> Episodes:
        """Episodes of whatever maps observations `[count, d]` to actions `[count, a]`, side by side."""
        worlds, reward = self.begin(count), np.zeros(count)
        times, seen = seen_at(worlds.steps, views), []
        for step in range(1, worlds.steps + 1):
            reward += worlds.step(act(worlds.observation).clip(-1.0, 1.0))
            if step in times:
                seen.append(worlds.drawn())
        end = worlds.end()
        return Episodes(reward + end.reward, end.area, end.outcome, stacked(seen, count))

    def cells(self, outcome: np.ndarray) -> np.ndarray:
        """The cell of the coverage grid that each outcome `[B, 2]` lies in, int64 `[B]`; what is outside counts at
        the border.
        """
        low, high = np.array(self.LOW), np.array(self.HIGH)
        place = np.floor((outcome - low) / (high - low) * BINS).astype(np.int64).clip(0, BINS - 1)
        return place[:, 0] * BINS + place[:, 1]

    # -- with a goal ---------------------------------------------------------------------------------------------------

    def outcome(self, observation: np.ndarray) -> np.ndarray:
        """The outcome of an episode that ends with an observation, `[B, d]` to `[B, 2]`."""
        raise NotImplementedError

    def goal_reward(self, outcome: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """What an outcome is worth to somebody who is to come to a goal, both `[B, 2]`: `[B]`, 0 where it is missed.

        That is the problem's own reward as it were if there was one area, with its centre at the goal.
        """
        raise NotImplementedError

    # -- step by step --------------------------------------------------------------------------------------------------

    @property
    def kwargs(self) -> dict[str, Any]:
        """What `gymnasium.make` needs beside the id."""
        cls = type(self)
        return {"problem": f"{cls.__module__}.{cls.__qualname__}", "settings": asdict(cast(Any, self))}

    def make(self, **kwargs: Any) -> gymnasium.Env:
        from rlbench.envs.stepped import OneEpisode

        self.require()
        return OneEpisode(self, **kwargs)

    def simulators(self) -> Simulators:
        from rlbench.envs.stepped import Stepped

        return Stepped(self)

    def dims(self) -> tuple[int, int]:
        return self.SIZES[0], self.SIZES[-1]

    def time_limit(self) -> int:
        return self.begin(1).steps

    def task(self, task: Task) -> Task:
        from rlbench.envs.record import Findings
        from rlbench.nets.mlp import Networks
        from rlbench.task import Features, SearchTask

        networks, features = Networks(*self.dims()), Features(self.dims()[0])
        record = Findings(self, len(task.seeds))
        return SearchTask(**common(task), networks=networks, features=features, record=record)


def seen_at(steps: int, views: int) -> dict[int, int]:
    """At which step (1 to `steps`) each view is taken: equally spaced, the last one at the end."""
    return {round(steps * (number + 1) / views): number for number in range(views)}


def stacked(seen: Sequence[np.ndarray], count: int) -> np.ndarray:
    """Views `[B, PIXELS, PIXELS, 3]` of each time as those of each episode, `[B, m, PIXELS, PIXELS, 3]`."""
    return np.stack(seen, 1) if seen else np.zeros((count, 0, PIXELS, PIXELS, 3), dtype=np.uint8)


def nearness(position: np.ndarray, centres: np.ndarray, radius: Any) -> tuple[np.ndarray, np.ndarray]:
    """(R - d) / R within R of an area's centre, else 0, and the area's number, else -1: `[B]` and `[B]`.

    Args:
        position: where the episodes ended, `[B, 2]`.
        centres: of the areas, `[A, 2]`; they do not overlap.
        radius: R, one for all or one for each area.
    """
    distance = np.linalg.norm(position[:, None] - centres, axis=-1)
    reward = np.maximum(0.0, (radius - distance) / radius)
    area = reward.argmax(1)
    best = reward[np.arange(len(position)), area]
    return best, np.where(best > 0, area, -1)
