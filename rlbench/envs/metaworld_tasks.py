"""Meta-World's tasks as CPL's authors set them up, over Meta-World's simulator (the extra `metaworld`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from metaworld.env_dict import ALL_V3_ENVIRONMENTS

from rlbench.envs.drawing import rendering

HAND_OFFSET = np.array([0.25, 0.15, 0.2])
"""Largest distance of the hand from its usual first place, on each axis."""
SETTLING = 50
"""Steps of the simulator in which the hand goes to its first place."""
HORIZON = 250
"""Steps of an episode."""
CAMERA, CAMERA_PLACE = "corner2", (0.75, 0.075, 0.7)
"""What pictures are taken with, and from where (ours)."""


class MetaWorld(gymnasium.Env[np.ndarray, np.ndarray]):
    """One task of Yu et al., "Meta-World" (CoRL 2019), as in Hejna et al. (ICLR 2024).

    Observed are hand, gripper and objects, the objects one step ago, and the goal: `[35]`, Meta-World's own observation
    without the second copy of the hand. Objects, goal and hand begin elsewhere in every episode. `info["success"]` says
    whether the task was done at any time since the beginning.

    Args:
        task: Meta-World's name without its version, e.g. `drawer-open`.
        sparse: whether the reward is 1 for success, else 0; otherwise it is Meta-World's, divided by 10.
        stop_after_success: steps after the first success at which the episode ends, so that segments cut from it do not
            all sit at the goal; None: it goes on.
        render_mode: as Meta-World takes it.
    """

    def __init__(
        self, task: str, sparse: bool = False, stop_after_success: int | None = None, render_mode: str | None = None
    ) -> None:
        make: Any = ALL_V3_ENVIRONMENTS[f"{task}-v3"]
        self.env = make(render_mode=render_mode)
        self.env._partially_observable = False  # the goal is shown
        self.env.__dict__.pop("sawyer_observation_space", None)  # computed while it was hidden, would clip it to 0
        self.env._freeze_rand_vec, self.env.seeded_rand_vec = False, True  # a new place in every episode
        self.env._set_task_called = True
        self.sparse, self.stop_after_success, self.render_mode = sparse, stop_after_success, render_mode
        self.metadata = self.env.metadata
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (35,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (4,), np.float32)
        self.since_success: int | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.env.seed(seed)
        self.env.reset()
        offset = self.np_random.uniform(-HAND_OFFSET, HAND_OFFSET)
        hand = np.clip(self.env.hand_init_pos + offset, self.env.mocap_low, self.env.mocap_high)
        mocap = self.env.model.body_mocapid[self.env.data.body("mocap").id]
        for _ in range(SETTLING):
            self.env.data.mocap_pos[mocap] = hand
            self.env.data.mocap_quat[mocap] = [1, 0, 1, 0]
            self.env.do_simulation([-1, 1], self.env.frame_skip)
        self.env._get_obs()  # it remembers the objects for the next one
        self.since_success = None
        return shown(self.env._get_obs()), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        observation, reward, _, truncated, info = self.env.step(action)
        if self.since_success is not None:
            self.since_success += 1
        elif info["success"]:
            self.since_success = 0
        over = self.since_success is not None and self.since_success == self.stop_after_success
        earned = float(info["success"]) if self.sparse else float(reward) / 10
        return shown(observation), earned, False, truncated or over, {"success": self.since_success is not None}

    def render(self) -> Any:
        return self.env.render()

    def close(self) -> None:
        self.env.close()


def shown(observation: np.ndarray) -> np.ndarray:
    """Meta-World's `[39]` without the entries that show the hand and the gripper once more: float32 `[35]`."""
    return np.concatenate([observation[:18], observation[22:]]).astype(np.float32)


def drawing(env: MetaWorld, size: int) -> Callable[[], np.ndarray]:
    """Draws what a camera at a corner of the table sees, moved to where it shows hand and objects larger.

    Raises:
        RunError: MuJoCo cannot draw on this machine.
    """
    simulator = env.env
    simulator.model.camera(CAMERA).pos[:] = CAMERA_PLACE
    renderer = rendering(simulator.model_name, simulator.model, size)

    def draw() -> np.ndarray:
        renderer.update_scene(simulator.data, camera=CAMERA)
        return np.asarray(renderer.render())

    return draw


gymnasium.register("MetaWorld-v0", entry_point="rlbench.envs.metaworld_tasks:MetaWorld", max_episode_steps=HORIZON)
