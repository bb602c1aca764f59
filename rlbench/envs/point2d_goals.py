"""A point in a square room with four reward areas, from the middle on, 50 steps: `env=point2d_goals`.

The environment of Paolo et al., "Sparse Reward Exploration via Novelty Search and Emitters" (GECCO 2021), with their
reward for every step inside an area, and with one for where the episode ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from rlbench.envs.drawing import BLUE, RED, WHITE, Canvas
from rlbench.envs.policy_search import End, PolicySearch, Worlds, nearness
from rlbench.types import Positive

STEPS = 50
SPEED = 0.05
"""The longest way in one step along each axis."""
AREAS = np.array(
    [
        [[0.75, 0.75], [0.80, 0.80]],
        [[-0.98, 0.90], [-0.93, 0.95]],
        [[0.0, -0.75], [0.05, -0.70]],
        [[-0.75, -0.05], [-0.70, 0.0]],
    ]
)
"""Lower left and upper right corners, `[A, 2, 2]`."""
SIDE = 0.05
"""Of an area."""


@dataclass(frozen=True)
class Point2DGoals(PolicySearch):
    """A point that is pushed through [-1, 1]^2.

    Args:
        name: the word after `env=`.
        reward: `transit` pays 1 for every step inside the first area that is entered; `final` pays (R - d) / R for an
            end within R of an area's centre.
        radius: R of `final`.
    """

    SIZES = (2, 5, 5, 2)
    LOW, HIGH = (-1.0, -1.0), (1.0, 1.0)

    name: str
    reward: Literal["transit", "final"]
    radius: Positive

    @property
    def centres(self) -> np.ndarray:
        return AREAS.mean(1)

    def begin(self, count: int) -> Room:
        return Room(self, count)

    def outcome(self, observation: np.ndarray) -> np.ndarray:
        return observation

    def goal_reward(self, outcome: np.ndarray, goal: np.ndarray) -> np.ndarray:
        if self.reward == "final":
            return nearness(outcome, goal[:, None], self.radius)[0]
        return np.all(np.abs(outcome - goal) <= SIDE / 2, axis=1).astype(np.float64)


class Room(Worlds):
    """Points, from the middle on."""

    def __init__(self, problem: Point2DGoals, count: int) -> None:
        super().__init__(STEPS, np.zeros((count, 2)))
        self.problem = problem
        self.entered = np.full(count, -1)
        """The first area that each point has been in, `[B]`."""

    def step(self, action: np.ndarray) -> np.ndarray:
        self.observation = (self.observation + SPEED * action).clip(-1.0, 1.0)
        if self.problem.reward == "final":
            return np.zeros(len(action))
        here = self.observation[:, None]
        inside = np.all((here >= AREAS[:, 0]) & (here <= AREAS[:, 1]), axis=-1)
        self.entered = np.where((self.entered < 0) & inside.any(1), inside.argmax(1), self.entered)
        return (inside[np.arange(len(action)), self.entered] & (self.entered >= 0)).astype(np.float64)

    def end(self) -> End:
        if self.problem.reward == "final":
            reward, area = nearness(self.observation, self.problem.centres, self.problem.radius)
            return End(reward, area, self.observation)
        return End(np.zeros(len(self.entered)), self.entered, self.observation)

    def drawn(self) -> np.ndarray:
        return room(self.observation)


def room(points: np.ndarray, background: tuple[int, int, int] = WHITE, radius: float = 2.0) -> np.ndarray:
    """Pictures of points `[B, 2]` in the room, uint8 `[B, h, w, 3]`; the radius of a point in pixels."""
    canvas = Canvas(Point2DGoals.LOW, Point2DGoals.HIGH, len(points))
    canvas.views[:] = background
    for low, high in AREAS:
        canvas.rectangle(low, high, RED)
    canvas.discs(points, radius * canvas.pixel, BLUE)
    return canvas.views
