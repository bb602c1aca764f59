"""OGBench's simulators: a seed determines an episode, whatever was played before, beside it, or drawn elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.random.mtrand import get_bit_generator

from rlbench import config
from rlbench.envs.control import Control
from rlbench.envs.evaluate import rollout
from rlbench.envs.record import Record
from rlbench.envs.training import TrainingEnvs

pytest.importorskip("ogbench", reason="the extra ogbench is not installed")
MAZE = "pointmaze-medium-singletask-v0"
SEEDS = range(6)


def control(id: str) -> Control:
    env: Control = config.instantiate(config.compose(["algo=sac", f"env=ogbench/{id}", "dataset=none"]).env)
    return env


def play(env: Any, seed: int | None, actions: np.ndarray) -> np.ndarray:
    first, _ = env.reset(seed=seed)
    return np.array([first, *(env.step(action)[0] for action in actions)])


@pytest.mark.parametrize("id", [MAZE, "antmaze-medium-singletask-v0", "cube-single-singletask-v0"])
@pytest.mark.parametrize("size", [0.0, 1.0])
def test_a_used_environment_plays_what_a_fresh_one_does(id: str, size: float) -> None:
    problem = control(id)
    used, fresh = problem.make(), problem.make()
    actions = np.random.default_rng(0).uniform(-size, size, (5, problem.dims()[1])).astype(np.float32)
    play(used, None, actions)
    played = [play(used, seed, actions) for seed in SEEDS]
    for seed in SEEDS:
        np.testing.assert_array_equal(play(fresh, seed, actions), played[seed])
    assert len({episode[0].tobytes() for episode in played}) == len(SEEDS)
    assert (play(used, None, actions)[0] != played[-1][0]).any()


def test_teleports_are_drawn_from_each_environment_s_own_stream() -> None:
    problem = control("pointmaze-teleport-singletask-v0")

    def exits(*envs: Any) -> np.ndarray:
        """Where each leaves the teleport that it is put in, time and again, all stepped in turn: `[E, 20, 2]`."""
        for seed, env in enumerate(envs):
            env.reset(seed=seed)
        found: list[list[np.ndarray]] = [[] for _ in envs]
        for _ in range(20):
            for env, left in zip(envs, found, strict=True):
                env.unwrapped.set_xy(np.array(env.unwrapped._teleport_info["teleport_in_xys"][0]))
                env.step(np.zeros(2, np.float32))
                left.append(env.unwrapped.get_xy())
        return np.array(found)

    pair = exits(problem.make(), problem.make())
    np.testing.assert_array_equal(exits(problem.make()), pair[:1])
    assert len(np.unique(pair[0], axis=0)) > 1
    assert (pair[0] != pair[1]).any()


def test_the_global_stream_goes_on_as_if_nothing_had_been_played() -> None:
    env, stream = control(MAZE).make(), get_bit_generator()
    before = stream.state
    play(env, 7, np.zeros((3, 2), np.float32))
    with pytest.raises(ValueError, match="broadcast"):
        env.step(np.zeros(3, np.float32))
    with pytest.raises(AssertionError, match="Task ID"):
        control("pointmaze-medium-v0").make().reset(options={"task_id": 99})
    assert get_bit_generator() is stream
    np.testing.assert_equal(stream.state, before)


def test_evaluations_are_repeated_to_the_bit() -> None:
    problem = control(MAZE)

    def seen() -> list[torch.Tensor]:
        found = []

        def act(observation: torch.Tensor) -> torch.Tensor:
            found.append(observation)
            return torch.full_like(observation, 0.3)

        rollout(problem, act, (0, 1), 2)
        return found

    first, second = seen(), seen()
    assert len(first[0].flatten(0, 1).unique(dim=0)) == 4
    torch.testing.assert_close(torch.stack(first), torch.stack(second), rtol=0, atol=0)


def test_training_goes_on_to_the_bit_where_it_was_saved() -> None:
    problem, actions = control(MAZE), np.random.default_rng(0).uniform(-1, 1, (40, 2, 2)).astype(np.float32)
    envs = TrainingEnvs(problem, (0, 1), Record())
    for action in actions[:20]:
        envs.step(action)
    resumed = TrainingEnvs(problem, (0, 1), Record())
    resumed.load_state_dict(envs.state_dict())
    np.testing.assert_array_equal(resumed.observation, envs.observation)
    for action in actions[20:]:
        np.testing.assert_array_equal(resumed.step(action).next_observation, envs.step(action).next_observation)
