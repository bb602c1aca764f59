"""Franka Kitchen with D4RL's observation, over gymnasium-robotics' simulator (the extra `robotics`)."""

from __future__ import annotations

from typing import Any

import gymnasium
import gymnasium_robotics
import numpy as np
from gymnasium_robotics.envs.franka_kitchen.kitchen_env import OBS_ELEMENT_GOALS

gymnasium.register_envs(gymnasium_robotics)

GOAL_INDICES = {
    "bottom burner": slice(11, 13),
    "top burner": slice(15, 17),
    "light switch": slice(17, 19),
    "slide cabinet": slice(19, 20),
    "hinge cabinet": slice(20, 22),
    "microwave": slice(22, 23),
    "kettle": slice(23, 30),
}
"""Where the goal of a task stands in the positions of robot and objects."""


class Kitchen(gymnasium.ObservationWrapper[np.ndarray, np.ndarray, dict[str, Any]]):
    """Observations `[60]` as in D4RL's kitchen data: 9 positions of the robot, 21 of the objects, and their goal
    `[30]`, zero but for the tasks. Reward 1 for each task when it is done first; the episode ends when all are.

    Source: Fu et al., 2020, D4RL; Gupta et al., 2019, Relay Policy Learning. D4RL's simulator had another robot
    controller, so that scores do not compare with its tables.

    Args:
        tasks: what is to be done.
        render_mode: as FrankaKitchen-v1 takes it.
    """

    def __init__(self, tasks: list[str], render_mode: str | None = None) -> None:
        super().__init__(gymnasium.make("FrankaKitchen-v1", tasks_to_complete=list(tasks), render_mode=render_mode))
        self.goal = np.zeros(30)
        for task in tasks:
            self.goal[GOAL_INDICES[task]] = OBS_ELEMENT_GOALS[task]
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (60,), np.float64)

    def observation(self, observation: dict[str, Any]) -> np.ndarray:
        state = observation["observation"]  # positions and velocities of the robot (9, 9) and the objects (21, 20)
        return np.concatenate([state[:9], state[18:39], self.goal])


gymnasium.register("D4RLKitchen-v0", entry_point="rlbench.envs.kitchen:Kitchen")
