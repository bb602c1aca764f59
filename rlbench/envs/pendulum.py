"""Gymnasium's pendulum, whose torque in [-2, 2] is given as an action in [-1, 1], and how it looks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import RescaleAction

from rlbench.envs.drawing import BLACK, RED, Canvas

gymnasium.register(
    "UnitPendulum-v1",
    entry_point="gymnasium.envs.classic_control:PendulumEnv",
    max_episode_steps=200,
    additional_wrappers=(RescaleAction.wrapper_spec(min_action=np.float32(-1.0), max_action=np.float32(1.0)),),
)


def drawing(env: Any, size: int) -> Callable[[], np.ndarray]:
    """Draws the rod, from its pivot in the middle of the view."""

    def draw() -> np.ndarray:
        canvas = Canvas((-1.25, -1.25), (1.25, 1.25), 1, size)
        angle, pivot = env.state[0], np.zeros((1, 2))
        canvas.bars(pivot, np.array([[-np.sin(angle), np.cos(angle)]]), 0.15, RED)
        canvas.bars(pivot, pivot, 0.07, BLACK)
        return canvas.views[0]

    return draw
