"""Environments to learn in: one a seed, stepped together, whose state can be saved and restored exactly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from rlbench.envs.record import Record
    from rlbench.envs.stepwise import Stepwise


def episode_seed(seed: int, episode: int) -> int:
    """The simulator's seed for one training episode of one seed."""
    return int(np.random.SeedSequence([seed, episode, 0x7A14]).generate_state(1)[0])


class Step(NamedTuple):
    """What one step in every environment gave."""

    reward: np.ndarray  # [S]
    next_observation: np.ndarray  # [S, d], of the episode that the action belongs to
    terminated: np.ndarray  # [S], bool
    truncated: np.ndarray  # [S], bool


class TrainingEnvs:
    """S environments; an episode that ends is followed by the next at once.

    The state is saved as each episode's seed and the actions taken in it, and restored by playing them again: exact for
    every deterministic simulator, whatever its internals.

    Args:
        env: what to step.
        seeds: S seeds.
        record: hears of every episode that ends; its state is saved with that of the environments.
    """

    def __init__(self, env: Stepwise, seeds: Sequence[int], record: Record) -> None:
        self.seeds = list(seeds)
        self.record = record
        self.envs = [env.make() for _ in seeds]
        self.episodes = [0 for _ in seeds]
        self.actions: list[list[np.ndarray]] = [[] for _ in seeds]
        self.observation = np.stack([self._reset(i) for i in range(len(seeds))])
        """The observation to act on now, float32 `[S, d]`."""
        self.returns = np.zeros(len(seeds))
        """Return so far of the running episodes."""
        self.last_returns = np.full(len(seeds), np.nan)
        """Return of each seed's last finished episode, NaN before the first."""
        self.successes = np.full(len(seeds), np.nan)
        """Finished episodes that ended in success, NaN as long as the simulator says nothing about it."""

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """The least and the largest action, `[a]` each."""
        box: Any = self.envs[0].action_space
        return box.low, box.high

    def _reset(self, i: int) -> np.ndarray:
        self.actions[i] = []
        observation, _ = self.envs[i].reset(seed=episode_seed(self.seeds[i], self.episodes[i]))
        return np.asarray(observation, dtype=np.float32).reshape(-1)

    def step(self, actions: np.ndarray) -> Step:
        """Take one action `[S, a]` in each environment."""
        reward = np.zeros(len(self.envs), dtype=np.float32)
        terminated, truncated = np.zeros((2, len(self.envs)), dtype=bool)
        following = np.empty_like(self.observation)
        for i, env in enumerate(self.envs):
            observation, value, terminated[i], truncated[i], info = env.step(actions[i])
            following[i] = np.asarray(observation, dtype=np.float32).reshape(-1)
            reward[i] = value
            self.returns[i] += float(value)
            self.actions[i].append(np.array(actions[i], dtype=np.float32))
            if (terminated[i] or truncated[i]) and "success" in info:
                self.successes[i] = np.nan_to_num(self.successes[i]) + bool(info["success"])
            if "end" in info:
                self.record.add(i, self.returns[i : i + 1], info["end"][None])
        self.observation = following.copy()
        for i in np.flatnonzero(terminated | truncated):
            self.last_returns[i], self.returns[i] = self.returns[i], 0.0
            self.episodes[i] += 1
            self.observation[i] = self._reset(i)
        return Step(reward, following, terminated, truncated)

    def state_dict(self) -> dict[str, Any]:
        return {
            "episodes": list(self.episodes),
            "actions": [[a.tolist() for a in actions] for actions in self.actions],
            "returns": self.returns.tolist(),
            "last_returns": self.last_returns.tolist(),
            "successes": self.successes.tolist(),
            **{f"record.{name}": value.clone() for name, value in self.record.tensors.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.episodes = list(state["episodes"])
        for i, actions in enumerate(state["actions"]):
            self.observation[i] = self._reset(i)
            for action in np.asarray(actions, dtype=np.float32):
                observation = self.envs[i].step(action)[0]
                self.observation[i] = np.asarray(observation, dtype=np.float32).reshape(-1)
                self.actions[i].append(action)
        self.returns = np.array(state["returns"])
        self.last_returns = np.array(state["last_returns"])
        self.successes = np.array(state["successes"])
        for name, value in self.record.tensors.items():
            value.copy_(state[f"record.{name}"])
