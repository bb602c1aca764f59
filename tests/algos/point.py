"""A point on a line, to be steered to 0: an environment whose best policy is known."""

from typing import Any

import gymnasium
import numpy as np

from rlbench.data.transitions import Transitions
from rlbench.envs.control import Control


class Point(gymnasium.Env[np.ndarray, np.ndarray]):
    """x' = x + a / 2, reward 1 - x'^2, over when |x'| > 1.2. The best action is clip(-2 x, -1, 1)."""

    observation_space = gymnasium.spaces.Box(-2.0, 2.0, (1,))
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.x = self.np_random.uniform(-1.0, 1.0, 1).astype(np.float32)
        return self.x.copy(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.x = (self.x + action / 2).astype(np.float32)
        return self.x.copy(), float(1 - self.x[0] ** 2), bool(abs(self.x[0]) > 1.2), False, {}


gymnasium.register("Point-v0", f"{__name__}:Point", max_episode_steps=8)
POINT = Control("point", f"{__name__}:Point-v0")


def recorded(rows: int = 300) -> Transitions:
    """What uniformly random actions do at uniformly random places, every row an episode."""
    rng = np.random.default_rng(0)
    state, action = rng.uniform(-1, 1, (2, rows, 1))
    following = state + action / 2
    over = np.abs(following[:, 0]) > 1.2
    return Transitions.of_columns(state, action, 1 - following[:, 0] ** 2, following, over, ~over)
