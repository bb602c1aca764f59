"""Problems of searches over policies whose observations say which reward area is asked for: behind what is observed
stands the centre of one. Rewards stay the problem's own, in whichever area they are earned; whether the area was the
one that was asked for is an episode's success.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from rlbench.envs.policy_search import PolicySearch
from rlbench.envs.problem import common
from rlbench.envs.stepped import OneEpisode, built
from rlbench.envs.stepwise import Stepwise
from rlbench.errors import UsageError
from rlbench.nets.mlp import Networks
from rlbench.task import AimedTask, Features, SearchTask


class Aimed(Stepwise):
    """A problem that says which area is asked for.

    Args:
        problem: the problem.
        area: asked for in every episode; None: one that is drawn, all alike, for each.

    Raises:
        UsageError: the problem does not say what a goal is.
    """

    id = "rlbench.envs.aimed:AimedPolicySearch-v0"
    """Gymnasium's."""

    def __init__(self, problem: PolicySearch, area: int | None = None) -> None:
        if type(problem).goal_reward is PolicySearch.goal_reward:
            raise UsageError(
                f"env={problem.name} has areas and no goals: its class is to say which outcome an observation is, and "
                "what one is worth to a goal\nadd the methods `outcome` and `goal_reward`: docs/systems/stax.md"
            )
        self.name, self.problem, self.area = problem.name, problem, area
        self.kwargs = problem.kwargs
        """What `gymnasium.make` needs beside the id."""

    def require(self) -> None:
        self.problem.require()

    def simulator(self) -> str:
        return self.problem.simulator()

    def make(self, **kwargs: Any) -> gymnasium.Env:
        self.require()
        return AimedEpisode(self.problem, area=self.area, **kwargs)

    def dims(self) -> tuple[int, int]:
        observation_dim, action_dim = self.problem.dims()
        return observation_dim + self.problem.centres.shape[1], action_dim

    def time_limit(self) -> int:
        return self.problem.time_limit()

    def each_area(self) -> Iterator[Aimed]:
        """The same for each area, asked for in every episode."""
        return (Aimed(self.problem, area) for area in range(len(self.problem.centres)))


class AimedEpisode(OneEpisode):
    """One episode at a time, for gymnasium; the info of its last step says whether it was a success.

    Args:
        problem: whose.
        render_mode: rgb_array, or None.
        area: see `Aimed`.
    """

    def __init__(self, problem: PolicySearch, render_mode: str | None = None, area: int | None = None) -> None:
        super().__init__(problem, render_mode)
        self.centres, self.always = problem.centres.astype(np.float32), area
        width = problem.dims()[0] + self.centres.shape[1]
        self.observation_space = Box(-np.inf, np.inf, (width,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        observation, info = super().reset(seed=seed, options=options)
        self.area = int(self.np_random.integers(len(self.centres))) if self.always is None else self.always
        return self.aimed(observation), info

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = super().step(action)
        if "end" in info:
            info["success"] = bool(info["end"][0] == self.area)
        return self.aimed(observation), reward, terminated, truncated, info

    def aimed(self, observation: np.ndarray) -> np.ndarray:
        return np.concatenate([observation, self.centres[self.area]])


def aimed(task: SearchTask) -> AimedTask:
    """The same task, aimed."""
    env = Aimed(task.env)
    fields = common(task) | {"env": env, "record": task.record}
    return AimedTask(**fields, networks=Networks(*env.dims()), features=Features(env.dims()[0]))


def of_class(problem: str, settings: dict[str, Any], render_mode: str | None = None) -> AimedEpisode:
    """An episode of the problem of a class, `package.module.Class`, with these settings."""
    return AimedEpisode(built(problem, settings), render_mode)


gymnasium.register("AimedPolicySearch-v0", entry_point="rlbench.envs.aimed:of_class")
