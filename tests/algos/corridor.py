"""A corridor of five places between two doors: a small problem of choices whose values are known."""

from typing import Any

import gymnasium
import numpy as np

from rlbench.envs.control import Control

PLACES, GAMMA, LIMIT = 5, 0.8, 3


class Corridor(gymnasium.Env[np.ndarray, np.int64]):
    """Left or right, one-hot; out of either end the episode is over, for 0.2 and 1, and what is seen is the last place.

    Episodes begin anywhere and are cut after `LIMIT` steps, which the values know nothing of.

    Args:
        mistaken: call a cut an end.
    """

    observation_space = gymnasium.spaces.Box(0.0, 1.0, (PLACES,))
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, mistaken: bool = False) -> None:
        self.mistaken = mistaken

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.steps = 0
        self.place = int(self.np_random.integers(PLACES))
        return self.seen(), {}

    def seen(self) -> np.ndarray:
        return np.eye(PLACES, dtype=np.float32)[self.place]

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.steps += 1
        following = self.place + (1 if action else -1)
        over = not 0 <= following < PLACES
        reward = (1.0 if following == PLACES else 0.2) if over else 0.0
        self.place = self.place if over else following
        return self.seen(), reward, over or (self.mistaken and self.steps == LIMIT), False, {}


def values() -> np.ndarray:
    """Q* by value iteration, `[places, 2]`."""
    q = np.zeros((PLACES, 2))
    for _ in range(200):
        v = q.max(1)
        q[:, 0] = 0.2, *(GAMMA * v[:-1])
        q[:, 1] = *(GAMMA * v[1:]), 1.0
    return q


gymnasium.register("Places-v0", f"{__name__}:Corridor", max_episode_steps=LIMIT)
CORRIDOR = Control("corridor", f"{__name__}:Places-v0")
MISTAKEN = Control("mistaken", f"{__name__}:Places-v0", kwargs={"mistaken": True})
