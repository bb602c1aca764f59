"""The DeepMind Control Suite as V-D4RL has it, held against dm_control itself."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from rlbench import config
from rlbench.envs.drawing import draw_without_a_screen
from rlbench.envs.pictured import Pictured
from rlbench.errors import RunError

draw_without_a_screen()
pytest.importorskip("dm_control", reason="the extra dm_control is not installed")
SIZES = {"walker_walk": (24, 6), "cheetah_run": (17, 6), "humanoid_walk": (67, 21)}
"""Widths of state and action in the suite's paper."""


def pictured(task: str, *words: str) -> Pictured:
    env = config.instantiate(config.compose(["algo=sac", f"env=dmc_{task}_pixels", *words]).env)
    assert isinstance(env, Pictured)
    return env


def made(env: Pictured) -> Any:
    try:
        return env.make()
    except RunError as error:
        pytest.skip(str(error))


def state(found: Any) -> np.ndarray:
    return np.concatenate([np.ravel(part) for part in found.observation.values()]).astype(np.float32)


@pytest.mark.parametrize("task", SIZES)
def test_steps_rewards_and_pictures_are_those_of_dm_control(task: str) -> None:
    """The suite's own environment, begun from the same draws, stepped twice and drawn by its own renderer."""
    from dm_control import suite

    env = pictured(task)
    views = made(env)
    assert (env.plain.dims(), env.time_limit(), env.frame_shape) == (SIZES[task], 500, (3, 84, 84))
    low, high = env.action_bounds()
    assert set(low) == {-1.0}
    assert set(high) == {1.0}
    seen, _ = views.reset(seed=7)
    seed = int(np.random.default_rng(np.random.PCG64(7)).integers(1 << 32))
    theirs = suite.load(*task.split("_"), task_kwargs={"random": seed})
    np.testing.assert_array_equal(views.state, state(theirs.reset()))
    frames = [theirs.physics.render(84, 84, camera_id=0).transpose(2, 0, 1)] * 3
    np.testing.assert_array_equal(seen, np.concatenate(frames))
    rng = np.random.default_rng(0)
    for _ in range(8):
        action = rng.uniform(-1, 1, SIZES[task][1]).astype(np.float32)
        seen, reward, *ends = views.step(action)
        both = [theirs.step(action) for _ in range(2)]
        assert reward == both[0].reward + both[1].reward
        assert ends == [False, False, {}]
        np.testing.assert_array_equal(views.state, state(both[1]))
        frames.append(theirs.physics.render(84, 84, camera_id=0).transpose(2, 0, 1))
        np.testing.assert_array_equal(seen, np.concatenate(frames[-3:]))
    assert len({frame.tobytes() for frame in frames}) == 9
    assert env.score(500.0) == 50.0
    assert env.simulator().startswith("DMControl-v0, MuJoCo 3.")


def test_an_episode_is_cut_after_1000_steps_of_the_simulator() -> None:
    views = pictured("cheetah_run").plain.make()
    views.reset(seed=0)
    still = np.zeros(6, dtype=np.float32)
    played = [views.step(still)[1:4] for _ in range(500)]
    assert {ends[1:] for ends in played[:-1]} == {(False, False)}
    assert played[-1][1:] == (False, True)
    assert 0 <= sum(float(reward) for reward, _, _ in played) < 10
    core: Any = views.unwrapped
    assert core.env.physics.time() == pytest.approx(1000 * core.env.control_timestep())


def test_episodes_begin_anew_and_can_be_repeated() -> None:
    views = pictured("walker_walk").plain.make()
    first = [views.reset(seed=seed)[0] for seed in (0, 1, None, 0)]
    np.testing.assert_array_equal(first[0], first[3])
    assert len({each.tobytes() for each in first}) == 3


def test_one_renderer_draws_environments_of_their_own() -> None:
    env = pictured("cheetah_run", "env.size=32")
    views, other = made(env), made(env)
    seen, _ = views.reset(seed=0)
    assert (other.reset(seed=1)[0] != seen).any()
    moved = [views.step(np.ones(6, dtype=np.float32))[0] for _ in range(3)][-1]
    assert (moved != seen).any()
    np.testing.assert_array_equal(other.reset(seed=0)[0], seen)


def test_what_is_missing_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import dm_control

    env = pictured("walker_walk")
    with monkeypatch.context() as absent:
        absent.setitem(sys.modules, "dm_control", None)
        with pytest.raises(RunError, match=r"is not installed: pip install 'rlbench\[dm_control\]'$"):
            env.make()
    monkeypatch.setitem(sys.modules, "dm_control.suite", None)
    monkeypatch.delattr(dm_control, "suite", raising=False)
    with pytest.raises(RunError, match=r"cannot be drawn here .*set MUJOCO_GL=egl") as raised:
        env.make()
    assert "\n" not in str(raised.value)
