"""Gymnasium's pendulum, whose torque in [-2, 2] is given as an action in [-1, 1]."""

import gymnasium
import numpy as np
from gymnasium.wrappers import RescaleAction

gymnasium.register(
    "UnitPendulum-v1",
    entry_point="gymnasium.envs.classic_control:PendulumEnv",
    max_episode_steps=200,
    additional_wrappers=(RescaleAction.wrapper_spec(min_action=np.float32(-1.0), max_action=np.float32(1.0)),),
)
