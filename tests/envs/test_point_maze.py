"""The maze: its wall against dense sampling, its shortest ways, its reward out of reach of luck, and its data."""

from itertools import product

import numpy as np
import pytest

from rlbench import config
from rlbench.data.detours import Detours
from rlbench.envs import point_maze
from rlbench.envs.point_maze import STEP, TIME_LIMIT, arrived, blocked, move, shortest, start

RNG = np.random.default_rng(0)


def test_the_wall_stops_what_would_cross_it() -> None:
    """`blocked` against 2,001 points on each of 5,000 lines, short and long."""
    a = RNG.uniform(-1, 1, (5000, 2)) * [0.3, 1]
    b = np.where(np.arange(5000)[:, None] % 2, a + RNG.uniform(-0.1, 0.1, (5000, 2)), RNG.uniform(-1, 1, (5000, 2)))
    a[::10, 0], b[::10, 0] = 0.02, 0.02  # upright
    a[5::10, 1], b[5::10, 1] = 0.3, 0.3  # level
    along = a[:, None] + np.linspace(0, 1, 2001)[:, None] * (b - a)[:, None]
    inside = np.any(np.all(np.abs(along) <= point_maze.WALL, axis=-1), axis=1)
    found = blocked(a, b)
    assert (found >= inside).all()
    assert (found != inside).mean() < 0.002  # a corner may be cut between two points
    assert 0.2 < inside.mean() < 0.8


def test_moves() -> None:
    states = np.array([[-0.9, 0.0], [0.95, -0.95], [-0.1, 0.0], [-0.1, 0.65], [-0.2, 0.5]])
    actions = np.array([[0.5, -2.0], [1.0, -1.0], [1.0, 0.0], [1.0, 0.5], [0.5, 1.0]])
    following = [[-0.85, -0.1], [1.0, -1.0], [-0.1, 0.0], [0.0, 0.7], [-0.15, 0.6]]
    np.testing.assert_allclose(move(states, actions), following, atol=1e-12)


def test_episodes() -> None:
    env = config.instantiate(config.compose(["algo=sac", "env=pointmaze2d_sparse"]).env).make()
    assert env.reset(seed=1)[0][0] < -0.8
    env.unwrapped.state = np.array([[0.75, 0.05]])
    _, reward, terminated, truncated, info = env.step(np.array([1.0, -0.5]))
    assert (reward, terminated, truncated, info) == (1.0, True, False, {"success": True})
    env.reset(seed=1)
    *_, last = (env.step(np.zeros(2)) for _ in range(TIME_LIMIT))
    assert last[1:] == (0.0, False, True, {"success": False})


def test_shortest_ways() -> None:
    """Greedy along the search's lengths, the environment arrives in just as many steps; the wall costs some."""
    lengths = shortest()
    for first in [(-10, -10), (-9, 0), (-8, 6), (-2, -5), (-2, 0)]:
        point, steps = first, 0
        while lengths[point]:
            state = STEP * np.array([point], float)
            for way in product((-1.0, 0.0, 1.0), repeat=2):
                there = tuple(np.rint(move(state, np.array([way]))[0] / STEP).astype(int).tolist())
                if lengths[there] == lengths[point] - 1:
                    break
            point, steps = there, steps + 1
        assert steps == lengths[first]
    assert lengths[-9, 0] == 17  # all of them forward: the way up and down costs nothing
    assert lengths[-2, 0] == 15  # here it does: 10 forward, and 5 up before


def test_random_actions_hardly_arrive() -> None:
    """A walk of independent steps: a few episodes of 100,000; here 20,000 of them."""
    states, running = start(RNG, 20_000), np.ones(20_000, dtype=bool)
    for _ in range(TIME_LIMIT):
        states = move(states, RNG.uniform(-1, 1, states.shape))
        running &= ~arrived(states)
    assert (~running).sum() <= 6  # 1 is expected; 7 or more have a chance of 1 in 10,000


@pytest.mark.parametrize("seed", [0, 1])
def test_detours(seed: int) -> None:
    """The rows are what the environment does; only detours get to the goal, all over the top of the wall."""
    data = Detours(None, rows=20_000, detours=0.1, noise=0.3, seed=seed).load()  # type: ignore[arg-type]
    assert len(data) == 20_000
    assert Detours(None, rows=20_000, detours=0.1, noise=0.3, seed=seed).load().fingerprint == data.fingerprint  # type: ignore[arg-type]
    np.testing.assert_allclose(
        move(data.observation.astype(float), data.action.astype(float)), data.next_observation, atol=2e-7
    )
    np.testing.assert_array_equal(data.reward, data.terminated)
    at_goal = arrived(data.next_observation.astype(float))
    assert (at_goal == (data.terminated == 1)).mean() > 0.9999  # rounded to single precision
    assert data.finished.all()
    lengths = data.episode_ends - data.episode_starts
    assert (lengths <= TIME_LIMIT).all()
    inner = np.setdiff1d(np.arange(len(data) - 1), data.episode_ends - 1)
    np.testing.assert_array_equal(data.next_observation[inner], data.observation[inner + 1])
    walks = data.episode_starts < 18_000
    assert data.episode_returns()[walks].sum() == 0
    assert data.episode_returns()[~walks].mean() > 0.95
    crossing = (data.observation[18_000:, 0] < 0) & (data.next_observation[18_000:, 0] >= 0)
    assert (data.observation[18_000:][crossing, 1] > 0.6).all()
