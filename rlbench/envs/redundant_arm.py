"""An arm of twenty joints in a room with four walls that reach in, and three reward areas: `env=redundant_arm`.

The environment of Paolo et al. (arXiv 2111.01919): the action accelerates the joints, and an episode ends before
anything that the arm may not do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rlbench.envs.drawing import BLACK, BLUE, RED, Canvas, between
from rlbench.envs.policy_search import End, PolicySearch, Worlds, nearness
from rlbench.types import Count

JOINTS = 20
SEGMENT = 1 / JOINTS
ROOT = np.array([0.5, 0.5])
HEADING = np.pi / 2
START = np.linspace(4 * np.pi / JOINTS, np.pi / JOINTS, JOINTS)
SUBSTEPS, DT = 2, 0.01
WALLS = np.array([[0.49, 0.0, 0.02, 0.2], [0.49, 0.8, 0.02, 0.2], [0.0, 0.49, 0.2, 0.02], [0.8, 0.49, 0.2, 0.02]])
"""Lower left corner, width and height."""
APART = 0.95 * SEGMENT
"""How near to each other two joints may come, in each direction together."""
CENTRES = np.array([[0.25, 0.25], [0.85, 0.85], [0.25, 0.90]])
RADIUS = 0.05
FIRST, SECOND = np.triu_indices(JOINTS + 1, 1)


def joints(angles: np.ndarray) -> np.ndarray:
    """Where the root, the joints and the end of the arm are: angles `[B, JOINTS]` to `[B, JOINTS + 1, 2]`."""
    heading = HEADING + angles.cumsum(1)
    steps = SEGMENT * np.stack([np.cos(heading), np.sin(heading)], -1)
    return np.concatenate([np.broadcast_to(ROOT, (len(angles), 1, 2)), ROOT + steps.cumsum(1)], 1)


def legal(before: np.ndarray, after: np.ndarray, speed: np.ndarray) -> np.ndarray:
    """Whether an arm may move so: not too fast, within the room, through no wall and not through itself, `[B]`.

    Args:
        before: where its joints were, `[B, JOINTS + 1, 2]`.
        after: where they would be.
        speed: of its joints, `[B, JOINTS]`.
    """
    slow = np.linalg.norm(after[:, -1] - before[:, -1], axis=1) / 2 + np.abs(speed[:, -1]) <= 1
    x, y = after[..., 0], after[..., 1]
    free = (x >= 0) & (x < 1) & (y >= 0) & (y < 1)
    for left, bottom, width, height in WALLS:
        free &= (x < left) | (x > left + width) | (y < bottom) | (y > bottom + height)
    apart = np.abs(x[:, FIRST] - x[:, SECOND]) + np.abs(y[:, FIRST] - y[:, SECOND]) >= APART
    return slow & free.all(1) & apart.all(1)


@dataclass(frozen=True)
class RedundantArm(PolicySearch):
    """An arm whose end is to come near to a place; (R - d) / R for an end within R = 0.05 of it.

    Args:
        name: the word after `env=`.
        steps: of an episode.
    """

    SIZES = (JOINTS, 5, 5, JOINTS)
    LOW, HIGH = (0.0, 0.0), (1.0, 1.0)

    name: str
    steps: Count

    @property
    def centres(self) -> np.ndarray:
        return CENTRES

    def begin(self, count: int) -> Arms:
        return Arms(self.steps, count)

    def outcome(self, observation: np.ndarray) -> np.ndarray:
        return joints(observation * np.pi)[:, -1]

    def goal_reward(self, outcome: np.ndarray, goal: np.ndarray) -> np.ndarray:
        return nearness(outcome, goal[:, None], RADIUS)[0]


class Arms(Worlds):
    """Arms, from their start on; one that would do what it may not stays where it was, and its episode is over."""

    def __init__(self, steps: int, count: int) -> None:
        self.angles, self.speed = np.tile(START, (count, 1)), np.zeros((count, JOINTS))
        self.arms = joints(self.angles)
        super().__init__(steps, self.angles / np.pi)

    def step(self, action: np.ndarray) -> np.ndarray:
        for _ in range(SUBSTEPS):
            moved = self.angles + self.speed * DT + action / 2 * DT**2
            faster, there = (moved - self.angles) / DT, joints(moved)
            self.over = self.over | ~legal(self.arms, there, faster)
            for now, then in ((self.angles, moved), (self.speed, faster), (self.arms, there)):
                now[~self.over] = then[~self.over]
        self.observation = self.angles / np.pi
        return np.zeros(len(action))

    def end(self) -> End:
        outcome = self.arms[:, -1].copy()
        return End(*nearness(outcome, CENTRES, RADIUS), outcome)

    def drawn(self) -> np.ndarray:
        canvas = Canvas(RedundantArm.LOW, RedundantArm.HIGH, len(self.arms))
        for wall in WALLS:
            canvas.rectangle(wall[:2], wall[:2] + wall[2:], BLACK)
        for centre in CENTRES:
            canvas.discs(np.tile(centre, (len(self.arms), 1)), RADIUS, RED)
        canvas.dots(between(self.arms, 6), BLUE)
        canvas.discs(self.arms[:, -1], 2 * canvas.pixel, BLUE)
        return canvas.views
