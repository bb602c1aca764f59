"""A point in a square room with four reward areas, from the middle on, 50 steps: `env=point2d_goals`.

The environment of Paolo et al., "Sparse Reward Exploration via Novelty Search and Emitters" (GECCO 2021), with their
reward for every step inside an area, and with one for where the episode ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from rlbench.envs.policy_search import BLUE, RED, Act, Canvas, Episodes, PolicySearch, nearness, seen_at, stacked
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

    def play(self, act: Act, count: int, views: int) -> Episodes:
        pose, each = np.zeros((count, 2)), np.arange(count)
        reward, area = np.zeros(count), np.full(count, -1)
        times, seen = seen_at(STEPS, views), []
        for step in range(1, STEPS + 1):
            pose = (pose + SPEED * act(pose).clip(-1.0, 1.0)).clip(-1.0, 1.0)
            if self.reward == "transit":
                here = pose[:, None]
                inside = np.all((here >= AREAS[:, 0]) & (here <= AREAS[:, 1]), axis=-1)
                area = np.where((area < 0) & inside.any(1), inside.argmax(1), area)
                reward += inside[each, area] & (area >= 0)
            if step in times:
                seen.append(self.drawn(pose))
        if self.reward == "final":
            reward, area = nearness(pose, self.centres, self.radius)
        return Episodes(reward, area, pose, stacked(seen, count))

    def drawn(self, pose: np.ndarray) -> np.ndarray:
        canvas = Canvas(self.LOW, self.HIGH, len(pose))
        for low, high in AREAS:
            canvas.rectangle(low, high, RED)
        canvas.discs(pose, 2 * canvas.pixel, BLUE)
        return canvas.views
