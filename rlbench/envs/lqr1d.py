"""A linear system with a quadratic cost in one dimension: return, gradient and optimum in closed form.

s' = A s + B a + sqrt(W) w, reward -(q s^2 + r a^2), s_0 and w standard normal. The policy a = -k s + sigma xi with
|gamma (A - B k)^2| < 1 has, with P(k) = (q + r k^2) / (1 - gamma (A - B k)^2),

    J(k) = -[P + (r sigma^2 + gamma P (B^2 sigma^2 + W)) / (1 - gamma)],

which is highest, whatever sigma, at k* = gamma P* A B / (r + gamma B^2 P*), where P* solves the Riccati equation
P = q + gamma A^2 P - (gamma P A B)^2 / (r + gamma B^2 P).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.utils.seeding import np_random

from rlbench.envs.exact import Distribution, Exact
from rlbench.envs.simulators import Simulators

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class System:
    """The constants.

    Attributes:
        A, B: what state and action add to the next state.
        q, r: costs of a squared state and of a squared action.
        W: variance of the noise.
    """

    A: float = 0.9
    B: float = 0.5
    q: float = 1.0
    r: float = 0.1
    W: float = 0.01

    def following(self, state: np.ndarray, action: np.ndarray, noise: np.ndarray) -> np.ndarray:
        return self.A * state + self.B * action + np.sqrt(self.W) * noise

    def reward(self, state: np.ndarray, action: np.ndarray) -> np.ndarray:
        return -(self.q * state**2 + self.r * action**2)

    def expected_return(self, k: Any, sigma: Any, gamma: float) -> Any:
        """J(k), of numbers or tensors."""
        P = (self.q + self.r * k**2) / (1 - gamma * (self.A - self.B * k) ** 2)
        return -(P + (self.r * sigma**2 + gamma * P * (self.B**2 * sigma**2 + self.W)) / (1 - gamma))

    def best_gain(self, gamma: float) -> float:
        """k*, from the positive root of the Riccati equation, which is quadratic in P."""
        b = self.r - gamma * (self.A**2 * self.r + self.B**2 * self.q)
        P = (-b + np.sqrt(b**2 + 4 * gamma * self.B**2 * self.q * self.r)) / (2 * gamma * self.B**2)
        return float(gamma * P * self.A * self.B / (self.r + gamma * self.B**2 * P))


class LQR1D(Exact):
    """The problem; `kwargs` holds the constants of `System` and the horizon, `max_episode_steps`."""

    @property
    def system(self) -> System:
        return System(**{name: value for name, value in self.kwargs.items() if name != "max_episode_steps"})

    def simulators(self) -> Simulators:
        return LinearSystems(self)

    def exact(self, policy: Distribution, gamma: float) -> tuple[Tensor, Tensor] | None:
        """As `Exact` says; known for policies that are linear in the state, their noise the same everywhere."""
        import torch

        at = torch.tensor([1.0, -1.0, 2.0, 0.0], dtype=torch.float64)
        mean, sigma = policy(at[None, :, None]).chunk(2, -1)
        k, sigma = -mean[:, 0, 0], sigma[..., 0]
        if not torch.allclose(mean[..., 0], -k[:, None] * at) or not torch.allclose(sigma, sigma[:, :1]):
            return None
        system, sigma = self.system, sigma[:, 0]
        stable = gamma * (system.A - system.B * k) ** 2 < 1
        value = torch.where(stable, system.expected_return(k, sigma, gamma), -torch.inf)
        return value, system.expected_return(system.best_gain(gamma), sigma, gamma) - value


class LinearSystems(Simulators):
    """Episodes of `LQR1D` as one array."""

    def __init__(self, env: LQR1D) -> None:
        super().__init__(env.make)
        self.system, self.horizon = env.system, env.time_limit() or 0

    def begin(self, seeds: Sequence[int]) -> None:
        self.noise = np.stack([np_random(seed)[0].standard_normal(self.horizon + 1) for seed in seeds])
        self.state, self.time = self.noise[:, 0], 0
        self.start(self.state[:, None].astype(np.float32))

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        action = actions[:, 0].astype(np.float64)
        reward = self.system.reward(self.state, action)
        self.time += 1
        self.state = self.system.following(self.state, action, self.noise[:, self.time])
        self.observation = self.state[:, None].astype(np.float32)
        self.running &= self.time < self.horizon
        return reward, np.zeros(len(self.running), dtype=bool)


class LinearSystem(gymnasium.Env[np.ndarray, np.ndarray]):
    """One such system for gymnasium; it never terminates.

    Args:
        constants: those of `System`.
    """

    def __init__(self, **constants: float) -> None:
        self.system = System(**constants)
        self.observation_space = Box(-np.inf, np.inf, (1,), np.float32)
        self.action_space = Box(-np.inf, np.inf, (1,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.state = self.np_random.standard_normal(1)
        return self.state.astype(np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        act = action.astype(np.float64)
        reward = float(self.system.reward(self.state, act)[0])
        self.state = self.system.following(self.state, act, self.np_random.standard_normal(1))
        return self.state.astype(np.float32), reward, False, False, {}


gymnasium.register("LQR1D-v0", entry_point="rlbench.envs.lqr1d:LinearSystem", max_episode_steps=40)
