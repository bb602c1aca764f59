"""A point in a square that has to go round a wall to its goal: a reward which random actions hardly ever meet.

The square is [-1, 1]^2. s' = clip(s + 0.1 a), a in [-1, 1]^2; a step that would end in the wall, |x| <= 0.05 and
|y| <= 0.6, or cross it, is not taken. Episodes start uniformly in the strip x < -0.8, and end with a reward of 1, the
only one, within 0.1 of (0.9, 0), or after 100 steps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import product
from typing import Any

import gymnasium
import numpy as np

from rlbench.envs.drawing import BLACK, BLUE, RED, Canvas

STEP = 0.1
STRIP = -0.8
WALL = np.array([0.05, 0.6])
"""Half of its width and height; its middle is the origin."""
GOAL = np.array([0.9, 0.0])
RADIUS = 0.1
TIME_LIMIT = 100


def start(rng: np.random.Generator, count: int) -> np.ndarray:
    """First states, `[count, 2]`."""
    return rng.uniform([-1.0, -1.0], [STRIP, 1.0], (count, 2))


def move(state: np.ndarray, action: np.ndarray) -> np.ndarray:
    """The next states, `[N, 2]` and `[N, 2]` to `[N, 2]`."""
    following = np.clip(state + STEP * np.clip(action, -1.0, 1.0), -1.0, 1.0)
    return np.where(blocked(state, following)[:, None], state, following)


def blocked(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Whether the straight lines from a to b, `[N, 2]` each, meet the wall, bool `[N]`."""
    way = b - a
    with np.errstate(divide="ignore", invalid="ignore"):
        times = np.stack([(-WALL - a) / way, (WALL - a) / way])
    # Along an axis on which it does not move, a point is between the two sides always or never.
    still, within = way == 0, np.abs(a) <= WALL
    enters = np.where(still, np.where(within, -np.inf, np.inf), times.min(0)).max(1)
    leaves = np.where(still, np.where(within, np.inf, -np.inf), times.max(0)).min(1)
    return (enters <= leaves) & (enters <= 1) & (leaves >= 0)


def arrived(state: np.ndarray) -> np.ndarray:
    """Whether states `[N, 2]` are at the goal, bool `[N]`."""
    return np.asarray(np.linalg.norm(state - GOAL, axis=1) <= RADIUS)


def shortest() -> dict[tuple[int, int], int]:
    """Least number of steps to the goal from every point (i, j) of the grid (0.1 i, 0.1 j), by breadth-first search.

    A step goes to one of the eight neighbours, which is what actions of -1, 0 and 1 do.
    """
    grid = range(-10, 11)
    lengths = {(x, y): 0 for x, y in product(grid, grid) if np.hypot(x - 9, y) <= 1}
    queue = deque(lengths)
    while queue:
        x, y = point = queue.popleft()
        for before in product((x - 1, x, x + 1), (y - 1, y, y + 1)):
            a, b = STEP * np.array([[before], [point]], dtype=np.float64)
            if before not in lengths and max(map(abs, before)) <= 10 and not blocked(a, b)[0]:
                lengths[before] = lengths[point] + 1
                queue.append(before)
    return lengths


class PointMaze(gymnasium.Env[np.ndarray, np.ndarray]):
    """The environment; `info["success"]` says whether the goal is reached. The time limit is the registered one."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.state = start(self.np_random, 1)
        return self.state[0].astype(np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.state = move(self.state, np.asarray(action, dtype=np.float64)[None])
        there = bool(arrived(self.state)[0])
        return self.state[0].astype(np.float32), float(there), there, False, {"success": there}


def drawing(env: PointMaze, size: int) -> Callable[[], np.ndarray]:
    """Draws the environment as it is."""
    return lambda: drawn(env.state, size)[0]


def drawn(state: np.ndarray, size: int) -> np.ndarray:
    """Wall, goal and point at states `[B, 2]`, uint8 `[B, size, size, 3]`."""
    canvas = Canvas((-1.0, -1.0), (1.0, 1.0), len(state), size)
    canvas.rectangle(-WALL, WALL, BLACK)
    canvas.bars(GOAL[None], GOAL[None], RADIUS, RED)
    canvas.bars(state, state, RADIUS, BLUE)
    return canvas.views


gymnasium.register("PointMaze2DSparse-v0", entry_point=f"{__name__}:PointMaze", max_episode_steps=TIME_LIMIT)
