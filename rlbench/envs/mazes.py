"""D4RL's mazes, built with MuJoCo alone: the same walls, coordinates, bodies, motors, starts and goals.

`Maze2D-v0` is a ball that is pushed through a maze (D4RL's maze2d), `AntMaze-v0` an ant that walks through one four
times as wide (D4RL's antmaze). Other packages' versions of them differ: gymnasium-robotics puts the origin into the
middle of the maze, turns the y axis and has an ant with motors five times as strong.

Source: Fu et al., 2020, D4RL: Datasets for Deep Data-Driven Reinforcement Learning.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import gymnasium
import mujoco
import numpy as np
from gymnasium.envs.mujoco.mujoco_rendering import MujocoRenderer

from rlbench.errors import UsageError

LAYOUTS = {
    "open": ["#######", "#     #", "#     #", "#     #", "#######"],
    "umaze": ["#####", "#   #", "### #", "#   #", "#####"],
    "medium": ["########", "#  ##  #", "#  #   #", "##   ###", "#  #   #", "# #  # #", "#   #  #", "########"],
    "large": [
        "############",
        "#    #     #",
        "# ## # # # #",
        "#      #   #",
        "# #### ### #",
        "#  # #     #",
        "## # # # ###",
        "#  #   #   #",
        "############",
    ],
}
"""Rows of cells; # is a wall."""


def cells(layout: str, kind: str) -> list[tuple[int, int]]:
    """(row, column) of the walls (`#`) or the free cells (a space) of a layout."""
    rows = LAYOUTS[layout]
    return [(i, j) for i, row in enumerate(rows) for j, cell in enumerate(row) if cell == kind]


class Maze(gymnasium.Env[np.ndarray, np.ndarray]):
    """A body in a maze: what both mazes share. Observations are positions, then velocities, `qpos` and `qvel`.

    Args:
        layout: which of `GOALS`' mazes.
        frame_skip: simulator steps in a step.
        render_mode: rgb_array, or None.

    Raises:
        UsageError: there is no such layout.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}  # noqa: RUF012  gymnasium's name and kind for it

    GOALS: ClassVar[dict[str, tuple[int, int]]]
    """Row and column of the goal's cell in each layout that there is."""

    def __init__(self, layout: str, frame_skip: int, render_mode: str | None) -> None:
        if layout not in self.GOALS:
            raise UsageError(f"layout={layout}: there is no such maze; there are {', '.join(self.GOALS)}")
        spec = self.spec_of(layout)
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)
        self.frame_skip = frame_skip
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "render_fps": round(1 / (self.model.opt.timestep * frame_skip))}
        width = self.model.nq + self.model.nv
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (width,), np.float64)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (self.model.nu,), np.float32)
        self.goal = np.zeros(2)
        self.renderer: MujocoRenderer | None = None

    @classmethod
    def spec_of(cls, layout: str) -> mujoco.MjSpec:
        """Body and walls."""
        raise NotImplementedError

    def observation(self) -> np.ndarray:
        return np.concatenate([self.data.qpos, self.data.qvel])

    def set_state(self, qpos: np.ndarray, qvel: np.ndarray) -> None:
        """Put the body somewhere, `[nq]` and `[nv]`."""
        self.data.qpos[:], self.data.qvel[:] = qpos, qvel
        mujoco.mj_forward(self.model, self.data)

    def advance(self, action: np.ndarray) -> float:
        """Take a step; returns the distance to the goal after it."""
        self.data.ctrl[:] = np.clip(action, -1.0, 1.0)
        mujoco.mj_step(self.model, self.data, nstep=self.frame_skip)
        return float(np.linalg.norm(self.data.qpos[:2] - self.goal))

    def render(self) -> Any:
        if self.renderer is None:
            camera = {"lookat": self.model.stat.center, "distance": 1.5 * self.model.stat.extent, "elevation": -90.0}
            self.renderer = MujocoRenderer(self.model, self.data, camera, width=480, height=480)
        return self.renderer.render(self.render_mode)

    def close(self) -> None:
        if self.renderer is not None:
            self.renderer.close()  # type: ignore[no-untyped-call]


class Maze2D(Maze):
    """A ball in a maze of unit cells, pushed along x and y; the episode goes on at the goal.

    Observations `[4]`: x, y, their velocities; the middle of the cell in row i and column j is (i, j). Reward, of where
    the step ended: 1 within 0.5 of the goal, else 0 (sparse), or exp(-distance) (dense). Starts: a random free cell.

    Args:
        layout: open, umaze, medium or large.
        reward: sparse or dense.
        render_mode: rgb_array, or None.
    """

    GOALS: ClassVar = {"open": (2, 3), "umaze": (1, 1), "medium": (6, 6), "large": (7, 9)}
    OFFSET = 0.2
    """The ball's joints stand at 0 so far from the middle of a wall cell's neighbour: D4RL's own asymmetry."""
    MAX_SPEED = 5.0

    def __init__(
        self, layout: str, reward: Literal["sparse", "dense"] = "sparse", render_mode: str | None = None
    ) -> None:
        super().__init__(layout, frame_skip=1, render_mode=render_mode)
        self.free = np.array(cells(layout, " "), dtype=np.float64)
        self.goal = np.array(self.GOALS[layout], dtype=np.float64)
        self.dense = reward == "dense"

    @classmethod
    def spec_of(cls, layout: str) -> mujoco.MjSpec:
        spec = mujoco.MjSpec()
        spec.option.timestep = 0.01
        spec.option.gravity = [0, 0, 0]
        spec.option.iterations = 20
        spec.option.solver = mujoco.mjtSolver.mjSOL_NEWTON
        contact = {"margin": 0.002, "condim": 1, "friction": [0.5, 0.1, 0.1]}
        world = spec.worldbody
        world.add_light(pos=[0, 0, 10], type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL)
        ball = world.add_body(name="ball", pos=[1 + cls.OFFSET, 1 + cls.OFFSET, 0])
        ball.add_geom(
            name="ball", type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[0.1, 0, 0], density=1000, rgba=[0, 0, 1, 1], **contact
        )
        for axis, name in enumerate(("x", "y")):
            joint = ball.add_joint(name=name, type=mujoco.mjtJoint.mjJNT_SLIDE, axis=np.eye(3)[axis], damping=1.0)
            motor = spec.add_actuator(name=name, target=joint.name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
            motor.gear[0] = 100
            motor.ctrllimited, motor.ctrlrange = True, [-1, 1]
        for i, j in cells(layout, "#"):
            world.add_geom(
                type=mujoco.mjtGeom.mjGEOM_BOX, size=[0.5, 0.5, 0.2], pos=[i + 1, j + 1, 0],
                contype=2, rgba=[0.7, 0.5, 0.3, 1], **contact,
            )  # fmt: skip
        i, j = cls.GOALS[layout]
        world.add_site(name="goal", pos=[i + 1 + cls.OFFSET, j + 1 + cls.OFFSET, 0], size=[0.2] * 3, rgba=[1, 0, 0, 1])
        return spec

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        mujoco.mj_resetData(self.model, self.data)
        start = self.free[self.np_random.integers(len(self.free))] + self.np_random.uniform(-0.1, 0.1, 2)
        self.set_state(start, 0.1 * self.np_random.standard_normal(2))
        return self.observation(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.set_state(self.data.qpos, np.clip(self.data.qvel, -self.MAX_SPEED, self.MAX_SPEED))
        distance = self.advance(action)
        near = distance <= 0.5
        return self.observation(), float(np.exp(-distance)) if self.dense else float(near), False, False, {}


class AntMaze(Maze):
    """An ant in a maze of cells 4 wide; the episode ends at the goal, with a reward of 1, the only one.

    Observations `[29]`: 15 positions (x and y first), 14 velocities; the goal is not among them. The middle of the cell
    in row i and column j is x = 4 j - 4, y = 4 i - 4: the ant starts at the origin. The goal lies in one cell, at a
    place drawn anew for each episode (as in D4RL's v2), up to 1.5 beyond the middle; it counts as reached within 0.5.

    Args:
        layout: umaze, medium or large.
        render_mode: rgb_array, or None.
    """

    GOALS: ClassVar = {"umaze": (3, 1), "medium": (6, 6), "large": (7, 9)}
    UNIT = 4.0

    def __init__(self, layout: str, render_mode: str | None = None) -> None:
        super().__init__(layout, frame_skip=5, render_mode=render_mode)
        i, j = self.GOALS[layout]
        self.goal_cell = np.array([j - 1, i - 1]) * self.UNIT

    @classmethod
    def spec_of(cls, layout: str) -> mujoco.MjSpec:
        """Gymnasium's ant as D4RL has it: half as many and weaker motor steps, softer contacts; and walls."""
        spec = mujoco.MjSpec.from_file(str(Path(gymnasium.__file__).parent / "envs/mujoco/assets/ant.xml"))
        spec.option.timestep = 0.02
        for motor in spec.actuators:
            motor.gear[0] = 30
        half, height = cls.UNIT / 2, cls.UNIT / 4
        for i, j in cells(layout, "#"):
            spec.worldbody.add_geom(
                type=mujoco.mjtGeom.mjGEOM_BOX, size=[half, half, height],
                pos=[(j - 1) * cls.UNIT, (i - 1) * cls.UNIT, height],
                conaffinity=1, condim=3, margin=0.01, friction=[1, 0.5, 0.5], rgba=[0.7, 0.5, 0.3, 1],
            )  # fmt: skip
        for geom in spec.geoms:
            geom.solimp[:3] = 0.8, 0.8, 0.01
        return spec

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        mujoco.mj_resetData(self.model, self.data)
        self.goal = self.goal_cell + self.np_random.uniform(0, 1, 2) + self.np_random.uniform(0, 0.5, 2)
        qpos = self.model.qpos0 + self.np_random.uniform(-0.1, 0.1, self.model.nq)
        self.set_state(qpos, 0.1 * self.np_random.standard_normal(self.model.nv))
        return self.observation(), {"goal": self.goal}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        reached = self.advance(action) <= 0.5
        return self.observation(), float(reached), reached, False, {}


gymnasium.register("Maze2D-v0", entry_point="rlbench.envs.mazes:Maze2D")
gymnasium.register("AntMaze-v0", entry_point="rlbench.envs.mazes:AntMaze")
