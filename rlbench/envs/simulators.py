"""Environments stepped together, an episode each; one whose episode has ended stands still."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import gymnasium

END = 3
"""Numbers that a problem with reward areas tells of an episode, as `info["end"]` of its last step: the area that it was
rewarded in (-1: in none), and the place in the outcome plane where it ended."""


class Simulators:
    """As many environments as there are episodes to be played at once; a problem with a model of its own steps them
    as one array instead, to the same numbers.

    Args:
        make: makes another environment.
    """

    def __init__(self, make: Callable[[], gymnasium.Env]) -> None:
        self.make = make
        self.envs: list[gymnasium.Env] = []

    def begin(self, seeds: Sequence[int]) -> None:
        """Begin an episode for each of N seeds of the simulator."""
        while len(self.envs) < len(seeds):
            self.envs.append(self.make())
        first = [env.reset(seed=seed)[0] for env, seed in zip(self.envs, seeds, strict=False)]
        self.start(np.asarray(first, dtype=np.float32).reshape(len(seeds), -1))

    def start(self, observation: np.ndarray) -> None:
        """All episodes are at their first observation, `[N, d]`."""
        self.observation = observation
        """What is to be acted on now, or was seen last, `[N, d]`."""
        self.running = np.ones(len(observation), dtype=bool)
        """Whose episode has not ended, `[N]`."""
        self.success = np.full(len(observation), np.nan)
        """Whether episodes ended in success, `[N]`; NaN: it is not known."""
        self.ends = np.full((len(observation), END), np.nan)
        """What came of episodes that have ended, `[N, END]`; NaN: it is not known."""

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Take an action `[N, a]` in each running environment; returns rewards and who terminated, `[N]` each."""
        reward, ended = np.zeros(len(self.running)), np.zeros(len(self.running), dtype=bool)
        for i in np.flatnonzero(self.running):
            observation, reward[i], ended[i], truncated, info = self.envs[i].step(actions[i])
            self.observation[i] = np.asarray(observation, dtype=np.float32).reshape(-1)
            if ended[i] or truncated:
                self.running[i] = False
                self.success[i] = info.get("success", np.nan)
                self.ends[i] = info.get("end", np.nan)
        return reward, ended

    def close(self) -> None:
        for env in self.envs:
            env.close()
