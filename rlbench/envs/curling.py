"""A ball that an arm of two links pushes over a table, and two reward areas: `env=curling`.

The environment of Paolo et al., "Sparse Reward Exploration via Novelty Search and Emitters" (GECCO 2021), in Box2D.
Lengths are in metres, the origin is the middle of the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np

from rlbench.envs.drawing import BLACK, BLUE, RED, Canvas, between
from rlbench.envs.policy_search import End, Worlds, nearness
from rlbench.envs.side_by_side import OneByOne
from rlbench.errors import RunError
from rlbench.types import Count

HALF = 1.5
"""Of the table's side."""
WALL = 0.1
BALL = 0.15
BALL_START = (-0.5, 0.2)
LINK, WIDTH, OVERLAP = 1.0, 0.1, 0.1
BASE = (0.0, -HALF)
UP = np.array([0.0, 1.0])
LIMITS = 0.4 * np.pi, 0.9 * np.pi
DENSITIES = 5.0, 1.0
TORQUE = 100.0
HERTZ, ITERATIONS = 60, 100
CENTRES = np.array([[0.8, 0.8], [0.8, -0.8]])
RADII = np.array([0.4, 0.2])


class Table(Worlds):
    """One episode, from its beginning on."""

    def __init__(self, steps: int) -> None:
        from Box2D import b2World  # type: ignore[import-untyped]

        self.world: Any = b2World(gravity=(0, 0), doSleep=False)
        surface = {"restitution": 0.95, "friction": 0.9}
        self.frame = self.world.CreateStaticBody()
        middle, half = HALF + WALL / 2, HALF + WALL
        for x, y in ((0, middle), (0, -middle), (middle, 0), (-middle, 0)):
            size = (WALL / 2, half) if x else (half, WALL / 2)
            self.frame.CreatePolygonFixture(box=(*size, (x, y), 0), **surface)
        self.ball = self.world.CreateDynamicBody(position=BALL_START, linearDamping=1.1, angularDamping=2)
        self.ball.CreateCircleFixture(radius=BALL, density=1, restitution=0.9, friction=0.9)
        self.joints: list[Any] = []
        self.links: list[Any] = []
        below, anchor = self.frame, np.array(BASE)
        for density, limit in zip(DENSITIES, LIMITS, strict=True):
            middle_of_link = anchor + UP * (LINK - (OVERLAP if self.links else 0.0)) / 2
            link = self.world.CreateDynamicBody(position=tuple(middle_of_link))
            link.CreatePolygonFixture(box=(WIDTH / 2, LINK / 2), density=density)
            joint = self.world.CreateRevoluteJoint(
                bodyA=below, bodyB=link, anchor=tuple(anchor), lowerAngle=-limit, upperAngle=limit, enableLimit=True,
                motorSpeed=0.0, maxMotorTorque=TORQUE, enableMotor=True,
            )  # fmt: skip
            self.links.append(link)
            self.joints.append(joint)
            below, anchor = link, middle_of_link + UP * (LINK - OVERLAP) / 2
        super().__init__(steps, self.seen())

    def seen(self) -> np.ndarray:
        """Position of the ball, angles and speeds of the joints: `[1, 6]`."""
        angles, speeds = [joint.angle for joint in self.joints], [joint.speed for joint in self.joints]
        return np.array([[*self.ball.position, *angles, *speeds]])

    def step(self, action: np.ndarray) -> np.ndarray:
        for joint, speed in zip(self.joints, action[0].tolist(), strict=True):
            joint.motorSpeed = speed
        self.world.Step(1 / HERTZ, ITERATIONS, ITERATIONS)
        self.world.ClearForces()
        self.observation = self.seen()
        return np.zeros(1)

    def end(self) -> End:
        outcome = np.array([self.ball.position])
        return End(*nearness(outcome, CENTRES, RADII), outcome)

    def drawn(self) -> np.ndarray:
        canvas = Canvas((-HALF, -HALF), (HALF, HALF), 1)
        for centre, radius in zip(CENTRES, RADII, strict=True):
            canvas.discs(centre[None], radius, RED)
        for link in self.links:
            ends = np.array([link.GetWorldPoint((0, -LINK / 2)), link.GetWorldPoint((0, LINK / 2))])
            canvas.dots(between(ends[None], 64), BLACK)
        canvas.discs(np.array([self.ball.position]), BALL, BLUE)
        return canvas.views


@dataclass(frozen=True)
class Curling(OneByOne):
    """A ball that is to come to rest near a place; (R - d) / R for an end within R of it.

    Args:
        name: the word after `env=`.
        steps: of an episode.
    """

    SIZES = (6, 5, 5, 5, 2)
    LOW, HIGH = (-HALF + BALL, -HALF + BALL), (HALF - BALL, HALF - BALL)

    name: str
    steps: Count

    def require(self) -> None:
        if find_spec("Box2D") is None:
            raise RunError(f"env={self.name} needs Box2D: pip install 'rlbench[box2d]'")

    def simulator(self) -> str:
        return f"{self.name}, Box2D {version('box2d')}"

    @property
    def centres(self) -> np.ndarray:
        return CENTRES

    def outcome(self, observation: np.ndarray) -> np.ndarray:
        return observation[:, :2]

    def goal_reward(self, outcome: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """With the smaller of the radii: an area anywhere has none of its own."""
        return nearness(outcome, goal[:, None], RADII.min())[0]

    def alone(self) -> Table:
        return Table(self.steps)
