"""Problems of searches over policies, one step after another: for algorithms that learn from steps.

Observations, actions and rewards are those of the searches. What an end earns comes with the last step, and that step
terminates the episode: its length is part of the problem, no limit of a simulator's. Nothing is random, so all episodes
begin alike. The last step's `info` says what came of the episode (`rlbench.envs.simulators.END`).
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from rlbench.envs.policy_search import PolicySearch
from rlbench.envs.simulators import Simulators


class Stepped(Simulators):
    """Episodes of a problem as one array.

    Args:
        problem: it.
    """

    def __init__(self, problem: PolicySearch) -> None:
        super().__init__(problem.make)
        self.problem = problem

    def begin(self, seeds: Sequence[int]) -> None:
        self.worlds, self.time = self.problem.begin(len(seeds)), 0
        self.start(self.worlds.observation.astype(np.float32))

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        running = self.running
        reward = np.where(running, self.worlds.step(actions.astype(np.float64).clip(-1.0, 1.0)), 0.0)
        self.time += 1
        ended = running & (self.worlds.over | (self.time == self.worlds.steps))
        if ended.any():
            end = self.worlds.end()
            reward[ended] += end.reward[ended]
            self.ends[ended] = np.column_stack([end.area, end.outcome])[ended]
        self.observation[running] = self.worlds.observation[running]
        self.running = running & ~ended
        return reward, ended


class OneEpisode(gymnasium.Env[np.ndarray, np.ndarray]):
    """One episode at a time, for gymnasium.

    Args:
        problem: whose.
        render_mode: rgb_array, or None.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012  gymnasium's name and kind for it

    def __init__(self, problem: PolicySearch, render_mode: str | None = None) -> None:
        self.episode, self.render_mode = Stepped(problem), render_mode
        observation_dim, action_dim = problem.dims()
        self.observation_space = Box(-np.inf, np.inf, (observation_dim,), np.float32)
        self.action_space = Box(-1.0, 1.0, (action_dim,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode.begin([0])
        return self.episode.observation[0].copy(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        reward, ended = self.episode.step(action[None])
        info = {"end": self.episode.ends[0]} if ended[0] else {}
        return self.episode.observation[0].copy(), float(reward[0]), bool(ended[0]), False, info

    def render(self) -> Any:
        return self.episode.worlds.drawn()[0]


def built(problem: str, settings: dict[str, Any]) -> PolicySearch:
    """The problem of a class, `package.module.Class`, with these settings."""
    module, _, name = problem.rpartition(".")
    made: PolicySearch = getattr(import_module(module), name)(**settings)
    return made


def of_class(problem: str, settings: dict[str, Any], render_mode: str | None = None) -> OneEpisode:
    """An episode of such a problem."""
    return OneEpisode(built(problem, settings), render_mode)


gymnasium.register("PolicySearch-v0", entry_point="rlbench.envs.stepped:of_class")
