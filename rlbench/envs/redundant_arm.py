"""An arm of twenty joints in a room with four walls that reach in, and three reward areas: `env=redundant_arm`.

The environment of Paolo et al. (arXiv 2111.01919): the action accelerates the joints, and an episode ends before
anything that the arm may not do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rlbench.envs.policy_search import (
    BLACK,
    BLUE,
    RED,
    Act,
    Canvas,
    Episodes,
    PolicySearch,
    between,
    nearness,
    seen_at,
    stacked,
)  # fmt: skip
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

    def play(self, act: Act, count: int, views: int) -> Episodes:
        angles, speed = np.tile(START, (count, 1)), np.zeros((count, JOINTS))
        arms, running = joints(angles), np.ones(count, dtype=bool)
        times, seen = seen_at(self.steps, views), []
        for step in range(1, self.steps + 1):
            action = act(angles / np.pi).clip(-1.0, 1.0)
            for _ in range(SUBSTEPS):
                moved = angles + speed * DT + action / 2 * DT**2
                faster, there = (moved - angles) / DT, joints(moved)
                running = running & legal(arms, there, faster)
                for now, then in ((angles, moved), (speed, faster), (arms, there)):
                    now[running] = then[running]
            if step in times:
                seen.append(self.drawn(arms))
        reward, area = nearness(arms[:, -1], CENTRES, RADIUS)
        return Episodes(reward, area, arms[:, -1].copy(), stacked(seen, count))

    def drawn(self, arms: np.ndarray) -> np.ndarray:
        canvas = Canvas(self.LOW, self.HIGH, len(arms))
        for wall in WALLS:
            canvas.rectangle(wall[:2], wall[:2] + wall[2:], BLACK)
        for centre in CENTRES:
            canvas.discs(np.tile(centre, (len(arms), 1)), RADIUS, RED)
        canvas.dots(between(arms, 6), BLUE)
        canvas.discs(arms[:, -1], 2 * canvas.pixel, BLUE)
        return canvas.views
