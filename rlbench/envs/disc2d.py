"""A point in the plane that should go to the origin: small enough that COCOA's anchors have an exact answer.

s' = s + 0.1 a, a in [-1, 1]^2, reward -|s'|, 50 steps. The data's next states fill the unit disc uniformly; episodes
start outside of it, at radius 1.2 to 1.4.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

STEP = 0.1


class Disc2D(gymnasium.Env[np.ndarray, np.ndarray]):
    """The environment; never terminates, its 50 steps are the registered time limit.

    Args:
        start_radius: least and largest distance of the first state from the origin.
    """

    def __init__(self, start_radius: tuple[float, float] = (1.2, 1.4)) -> None:
        self.start_radius = start_radius
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        angle = self.np_random.uniform(0, 2 * np.pi)
        self.state = self.np_random.uniform(*self.start_radius) * np.array([np.cos(angle), np.sin(angle)])
        return self.state.astype(np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.state = self.state + STEP * np.clip(action, -1.0, 1.0)
        return self.state.astype(np.float32), -float(np.linalg.norm(self.state)), False, False, {}


gymnasium.register("Disc2D-v0", entry_point="rlbench.envs.disc2d:Disc2D", max_episode_steps=50)
