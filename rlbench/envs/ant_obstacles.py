"""MuJoCo's ant in an arena with inner walls, and two reward areas behind them: `env=ant_obstacles`.

The environment of Paolo et al. (arXiv 2111.01919) with gymnasium's model of the ant, whose joints and motors are the
same; the time step is theirs. It starts in the lower left corner.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from rlbench.envs.drawing import BLACK, BLUE, RED, Canvas
from rlbench.envs.policy_search import End, Worlds, nearness
from rlbench.envs.side_by_side import OneByOne
from rlbench.types import Count

LOW, HIGH = -30.0, 40.0
MIDDLE, WIDTH = (LOW + HIGH) / 2, HIGH - LOW
START = (-25.0, -25.0, 0.6)
TIMESTEP, FRAME_SKIP = 0.005, 5
THICK = 0.3
"""Half of the walls' thickness."""
HEIGHT = 1.0
"""Half of the walls'."""
INNER = [((-15.0, 3.0), (-15.0, 37.0)), ((-16.0, -15.0), (10.0, -15.0)), ((10.0, -30.0), (10.0, 0.0))]
BORDER = [
    ((LOW, LOW), (LOW, HIGH)),
    ((HIGH, LOW), (HIGH, HIGH)),
    ((LOW, LOW), (HIGH, LOW)),
    ((LOW, HIGH), (HIGH, HIGH)),
]
WALLS = np.array(INNER + BORDER)
"""Their ends, `[W, 2, 2]`; each runs along an axis."""
CENTRES = np.array([[35.0, -25.0], [-25.0, 35.0]])
RADIUS = 3.0


@cache
def arena() -> Any:
    """The ant's model among the walls, compiled."""
    import mujoco

    spec = mujoco.MjSpec.from_file(str(Path(gymnasium.__file__).parent / "envs/mujoco/assets/ant.xml"))
    spec.option.timestep = TIMESTEP
    for start, end in WALLS:
        half = (np.abs(end - start) / 2 + THICK).tolist()
        spec.worldbody.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX, size=[*half, HEIGHT], pos=[*((start + end) / 2), HEIGHT],
            conaffinity=1, condim=3, margin=0.01, friction=[1, 0.5, 0.5],
        )  # fmt: skip
    return spec.compile()


@dataclass(frozen=True)
class AntObstacles(OneByOne):
    """An ant that is to come near to a place; (R - d) / R for an end within R = 3 of it.

    Args:
        name: the word after `env=`.
        steps: of an episode.
    """

    SIZES = (29, 10, 10, 10, 8)
    LOW, HIGH = (LOW, LOW), (HIGH, HIGH)

    name: str
    steps: Count

    def simulator(self) -> str:
        return f"{self.name}, MuJoCo {version('mujoco')}"

    @property
    def centres(self) -> np.ndarray:
        return CENTRES

    def outcome(self, observation: np.ndarray) -> np.ndarray:
        return observation[:, :2] * WIDTH + MIDDLE

    def goal_reward(self, outcome: np.ndarray, goal: np.ndarray) -> np.ndarray:
        return nearness(outcome, goal[:, None], RADIUS)[0]

    def alone(self) -> Arena:
        return Arena(self.steps)


class Arena(Worlds):
    """One episode, from its beginning on."""

    def __init__(self, steps: int) -> None:
        import mujoco

        self.model = arena()
        self.data: Any = mujoco.MjData(self.model)
        self.data.qpos[:] = self.model.numeric("init_qpos").data
        self.data.qpos[:3] = START
        super().__init__(steps, self.seen())

    def seen(self) -> np.ndarray:
        """Positions, those of the body scaled, and velocities: `[1, 29]`."""
        qpos = self.data.qpos.copy()
        qpos[:2] = (qpos[:2] - MIDDLE) / WIDTH
        return np.concatenate([qpos, self.data.qvel])[None]

    def step(self, action: np.ndarray) -> np.ndarray:
        import mujoco

        self.data.ctrl[:] = action[0]
        mujoco.mj_step(self.model, self.data, nstep=FRAME_SKIP)
        self.observation = self.seen()
        return np.zeros(1)

    def end(self) -> End:
        outcome = self.data.qpos[None, :2].copy()
        return End(*nearness(outcome, CENTRES, RADIUS), outcome)

    def drawn(self) -> np.ndarray:
        """The arena from above, the ant a disc."""
        canvas = Canvas(AntObstacles.LOW, AntObstacles.HIGH, 1)
        for start, end in WALLS:
            canvas.rectangle(start - THICK, end + THICK, BLACK)
        for centre in CENTRES:
            canvas.discs(centre[None], RADIUS, RED)
        canvas.discs(self.data.qpos[None, :2], 2 * canvas.pixel, BLUE)
        return canvas.views
