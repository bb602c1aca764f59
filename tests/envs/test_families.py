"""The environments of D4RL's families: sizes, limits, scores, starts, rewards and ends."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from rlbench import config
from rlbench.envs.control import Control
from rlbench.envs.mazes import LAYOUTS, AntMaze, Maze2D, cells
from rlbench.errors import UsageError

SIZES = {
    "hopper": (11, 3, 1000),
    "halfcheetah": (17, 6, 1000),
    "walker2d": (17, 6, 1000),
    "ant": (111, 8, 1000),
    "antmaze_umaze": (29, 8, 700),
    "antmaze_medium": (29, 8, 1000),
    "antmaze_large": (29, 8, 1000),
    "maze2d_open": (4, 2, 150),
    "maze2d_umaze": (4, 2, 300),
    "maze2d_medium": (4, 2, 600),
    "maze2d_large": (4, 2, 800),
    "maze2d_umaze_dense": (4, 2, 300),
    "pen": (45, 24, 100),
    "hammer": (46, 26, 200),
    "relocate": (39, 30, 200),
    "door": (39, 28, 200),
    "kitchen": (60, 9, 280),
    "kitchen_mixed": (60, 9, 280),
    "minigrid_fourrooms": (147, 7, 50),
}
"""Widths of D4RL's files, and the limits its environments had."""


def control(name: str) -> Control:
    env: Control = config.instantiate(config.compose([f"env={name}", "algo=td3"]).env)
    if not env.installed:
        pytest.skip(f"{env.install} is not installed")
    return env


@pytest.mark.parametrize("name", SIZES)
def test_sizes_and_limits_are_those_of_d4rl(name: str) -> None:
    env = control(name)
    assert (*env.dims(), env.time_limit()) == SIZES[name]
    low, high = env.action_bounds()
    np.testing.assert_array_equal(np.stack([low, high]), np.stack([-np.ones_like(low), np.ones_like(high)]))


@pytest.mark.parametrize("name", ["ant", "antmaze_medium", "maze2d_large", "pen", "kitchen", "minigrid_fourrooms"])
def test_a_seed_gives_the_same_episode(name: str) -> None:
    def episode(seed: int) -> np.ndarray:
        env = control(name).make()
        env.action_space.seed(seed)
        rows = [env.reset(seed=seed)[0]]
        rows += [env.step(env.action_space.sample())[0] for _ in range(10)]
        env.close()
        return np.array(rows)

    np.testing.assert_array_equal(episode(3), episode(3))
    assert np.abs(episode(3) - episode(4)).max() > 1e-3


def test_a_maze_that_there_is_not_is_refused() -> None:
    with pytest.raises(UsageError, match="layout=open: there is no such maze; there are umaze, medium, large"):
        AntMaze("open")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_free_cell_is_reached_from_every_other(layout: str) -> None:
    free = set(cells(layout, " "))
    reached: set[tuple[int, int]] = set()
    ahead = [next(iter(free))]
    while ahead:
        i, j = ahead.pop()
        if (i, j) in free - reached:
            reached.add((i, j))
            ahead += [(i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)]
    assert reached == free
    rows = LAYOUTS[layout]
    border = {(i, j) for i, j in product(range(len(rows)), range(len(rows[0]))) if i in (0, len(rows) - 1) or not j}
    assert border <= set(cells(layout, "#"))


def test_goals_are_free() -> None:
    for kind in (Maze2D, AntMaze):
        for layout, goal in kind.GOALS.items():
            assert goal in cells(layout, " ")


@pytest.mark.parametrize(("distance", "reached"), [(0.45, True), (0.55, False)])
def test_an_ant_within_half_a_unit_of_its_goal_is_done(distance: float, reached: bool) -> None:
    env: Any = control("antmaze_umaze").make().unwrapped
    env.reset(seed=0)
    env.set_state(np.append(np.add(env.goal, [distance, 0]), env.data.qpos[2:]), 0 * env.data.qvel)
    _, reward, terminated, truncated, _ = env.step(np.zeros(8))
    assert (reward, terminated, truncated) == (float(reached), reached, False)


def test_an_ants_goal_is_drawn_anew_in_its_cell() -> None:
    env: Any = control("antmaze_large").make().unwrapped
    goals = []
    for seed in range(200):
        env.reset(seed=seed)
        goals.append(env.goal - env.goal_cell)
    spread = np.array(goals)
    assert spread.min() >= 0
    assert spread.max() <= 1.5
    # The sum of a uniform variable in [0, 1] and one in [0, 0.5]: mean 0.75, variance 1.25 / 12.
    np.testing.assert_allclose(spread.mean(axis=0), 0.75, atol=4 * np.sqrt(1.25 / 12 / 200))
    np.testing.assert_allclose(spread.std(axis=0), np.sqrt(1.25 / 12), rtol=0.15)


@pytest.mark.parametrize("dense", [False, True])
def test_a_ball_is_paid_for_its_place_and_goes_on(dense: bool) -> None:
    env: Any = control("maze2d_umaze_dense" if dense else "maze2d_umaze").make().unwrapped
    env.reset(seed=0)
    for offset in (0.0, 0.45, 0.7):
        env.set_state(np.add(env.goal, [0, offset]), np.zeros(2))
        _, reward, terminated, truncated, _ = env.step(np.zeros(2))
        assert reward == pytest.approx(np.exp(-offset) if dense else float(offset <= 0.5), abs=1e-9)
        assert not terminated
        assert not truncated


def test_a_ball_does_not_pass_a_wall() -> None:
    env: Any = control("maze2d_umaze").make().unwrapped
    env.reset(seed=0)
    env.set_state(np.array([1.0, 1.0]), np.zeros(2))  # the wall of the U lies below
    for _ in range(300):
        observation = env.step(np.array([1.0, 0.0]))[0]
    assert observation[0] < 1.6
    assert np.abs(observation[2:]).max() <= Maze2D.MAX_SPEED + 1.0


def test_kitchens_observation_is_the_simulators_positions_and_the_goal() -> None:
    env: Any = control("kitchen").make()
    observation, _ = env.reset(seed=0)
    simulator = env.unwrapped.data if hasattr(env.unwrapped, "data") else env.unwrapped.robot_env.data
    # Noise of the sensors is at most a tenth of a joint's range.
    np.testing.assert_allclose(observation[:30], simulator.qpos, atol=0.15)
    goal = observation[30:]
    for task, place in (("microwave", 22), ("light switch", 17), ("slide cabinet", 19)):
        assert goal[place] != 0, task
    assert not np.concatenate([goal[:11], goal[11:17], goal[20:22]]).any()
    env.close()


def test_the_two_kitchens_differ_in_one_task() -> None:
    goals = [control(name).make().reset(seed=0)[0][30:] for name in ("kitchen", "kitchen_mixed")]
    assert set(np.flatnonzero(goals[0] != goals[1])) <= {11, 12, 19}
    assert (goals[0] != goals[1]).any()


@pytest.mark.parametrize("name", SIZES)
def test_the_reference_returns_score_0_and_100(name: str) -> None:
    env = control(name)
    if env.reference_min is not None:
        ends = (env.score(env.reference_min), env.score(env.reference_max))
        assert ends == pytest.approx((0.0, 100.0), abs=1e-9)


def test_the_goal_of_the_four_rooms_is_d4rls_and_pays_for_speed() -> None:
    """The largest of seven numbers is the action: 0 turns left, 1 right, 2 goes forward."""
    env = control("minigrid_fourrooms").make()
    env.reset(seed=0)
    grid: Any = env.unwrapped
    assert grid.grid.get(12, 12).type == "goal"
    grid.agent_pos, grid.agent_dir = (10, 12), 0  # two cells west of it, looking east
    one_hot = np.eye(7, dtype=np.float32)
    for action in (0, 1, 2):
        assert env.step(one_hot[action])[1:4] == (0, False, False)
    _, reward, terminated, truncated, _ = env.step(one_hot[2])
    assert reward == pytest.approx(1 - 0.9 * 4 / 100)
    assert (terminated, truncated) == (True, False)
    env.close()
