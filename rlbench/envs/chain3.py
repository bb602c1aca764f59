"""A chain of three states and two actions: return of every policy by dynamic programming.

Start in state 0; action 1 moves right with probability 0.8, else left, action 0 left with 0.9, else right, and the ends
hold. Action 0 in state 0 pays 0.2, action 1 in state 2 pays 1. Observed is the state, one-hot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.utils.seeding import np_random

from rlbench.envs.exact import Distribution, Exact
from rlbench.envs.simulators import Simulators

if TYPE_CHECKING:
    from torch import Tensor

STATES = 3
RIGHT = np.array([0.1, 0.8])
"""Probability of moving right, for each action."""
REWARD = np.array([[0.2, 0.0], [0.0, 0.0], [0.0, 1.0]])
"""Of each state and action."""


def following(state: np.ndarray, action: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """The next states, of uniform numbers."""
    return np.clip(state + np.where(uniform < RIGHT[action], 1, -1), 0, STATES - 1)


def transitions() -> np.ndarray:
    """Probability of each next state, `[3, 2, 3]`."""
    state = np.arange(STATES)
    right, left = (np.eye(STATES)[np.clip(state + move, 0, STATES - 1)] for move in (1, -1))
    return RIGHT[:, None] * right[:, None] + (1 - RIGHT[:, None]) * left[:, None]


def expected_return(probabilities: Tensor, gamma: float, horizon: int) -> Tensor:
    """Expected discounted return of stationary policies, float64 `[..., 3, 2]` to `[...]`."""
    import torch

    reward, P = torch.tensor(REWARD), torch.tensor(transitions())
    value = torch.zeros(STATES, dtype=torch.float64)
    for _ in range(horizon):
        value = (probabilities * (reward + gamma * (P * value[..., None, None, :]).sum(-1))).sum(-1)
    return value[..., 0]


def best_return(gamma: float, horizon: int) -> float:
    """The highest expected return of any policy, of those that look at the clock too."""
    value = np.zeros(STATES)
    for _ in range(horizon):
        value = (REWARD + gamma * transitions() @ value).max(1)
    return float(value[0])


class Chain3(Exact):
    """The problem; `kwargs` holds the horizon, `max_episode_steps`."""

    def simulators(self) -> Simulators:
        return Chains(self)

    def exact(self, policy: Distribution, gamma: float) -> tuple[Tensor, Tensor] | None:
        import torch

        horizon = self.time_limit() or 0
        value = expected_return(policy(torch.eye(STATES, dtype=torch.float64)[None]), gamma, horizon)
        return value, best_return(gamma, horizon) - value


class Chains(Simulators):
    """Episodes of `Chain3` as one array."""

    def __init__(self, env: Chain3) -> None:
        super().__init__(env.make)
        self.horizon = env.time_limit() or 0

    def begin(self, seeds: Sequence[int]) -> None:
        self.uniform = np.stack([np_random(seed)[0].random(self.horizon) for seed in seeds])
        self.state, self.time = np.zeros(len(seeds), dtype=np.int64), 0
        self.start(np.eye(STATES, dtype=np.float32)[self.state])

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        action = actions.argmax(1)
        reward = REWARD[self.state, action]
        self.state = following(self.state, action, self.uniform[:, self.time])
        self.observation = np.eye(STATES, dtype=np.float32)[self.state]
        self.time += 1
        self.running &= self.time < self.horizon
        return reward, np.zeros(len(self.running), dtype=bool)


class Chain(gymnasium.Env[np.ndarray, np.int64]):
    """One such chain for gymnasium; it never terminates."""

    def __init__(self) -> None:
        self.observation_space = Box(0.0, 1.0, (STATES,), np.float32)
        self.action_space = Discrete(2)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.state = np.zeros(1, dtype=np.int64)
        return np.eye(STATES, dtype=np.float32)[self.state[0]], {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        taken = np.array([action])
        reward = float(REWARD[self.state, taken][0])
        self.state = following(self.state, taken, self.np_random.random(1))
        return np.eye(STATES, dtype=np.float32)[self.state[0]], reward, False, False, {}


gymnasium.register("Chain3-v0", entry_point="rlbench.envs.chain3:Chain", max_episode_steps=8)
