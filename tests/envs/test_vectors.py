"""Vectors in place of dictionaries and choices."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Text

from rlbench.envs.control import Control
from rlbench.envs.vectors import as_vectors


class Told(gymnasium.Env[dict[str, Any], Any]):
    """Shows a nested dictionary, takes one of three choices, 5 to 7, and shows which one it took."""

    observation_space = Dict(
        {
            "b": Box(-1, 1, (2, 2)),
            "a": Dict({"z": Box(0, 9, (1,)), "y": Box(0, 7, (3,))}),
            "text": Text(5),
            "c": Discrete(4),
        }
    )
    action_space = Discrete(3, start=5)

    def __init__(self) -> None:
        self.taken = 0

    def shown(self) -> dict[str, Any]:
        inner = {"z": np.full(1, 9.0), "y": np.arange(3.0)}
        return {"b": np.full((2, 2), self.taken / 10), "a": inner, "text": "abc", "c": 2}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.shown(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.taken = action
        return self.shown(), 0.0, False, False, {}


def test_boxes_are_joined_in_gymnasiums_order_and_choices_are_the_largest_entry() -> None:
    env: Any = as_vectors(Told())
    assert env.observation_space.shape == (8,)
    assert env.action_space == Box(-1.0, 1.0, (3,), np.float32)
    observation, _ = env.reset()
    boxes = Dict({name: Told.observation_space[name] for name in ("a", "b")})
    wanted: Any = gymnasium.spaces.flatten(boxes, {name: Told().shown()[name] for name in ("a", "b")})
    np.testing.assert_array_equal(observation, np.float32(wanted))
    np.testing.assert_array_equal(env.observation_space.high, [7, 7, 7, 9, 1, 1, 1, 1])
    for choice in range(3):
        observation, *_ = env.step(np.array([-0.5, -0.5, -0.5]) + 0.1 * (np.arange(3) == choice))
        np.testing.assert_allclose(observation[-4:], (5 + choice) / 10)


def test_boxes_stay_as_they_are() -> None:
    env = gymnasium.make("Hopper-v5")
    assert as_vectors(env) is env
    env.close()


def test_a_control_problem_may_have_either() -> None:
    assert Control("cartpole", "CartPole-v1").dims() == (4, 2)
    pytest.importorskip("gymnasium_robotics")
    kitchen = Control("franka", "gymnasium_robotics:FrankaKitchen-v1")
    assert kitchen.dims() == (59 + 2 * 17, 9)
