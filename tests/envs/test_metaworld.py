"""Meta-World as CPL's authors set it up: what is observed, where episodes begin, what counts as success."""

from typing import Any

import numpy as np
import pytest

from rlbench import config
from rlbench.choices import Choices
from rlbench.envs.control import Control

pytest.importorskip("metaworld", reason="the extra metaworld is not installed")
TASKS = [name for name in Choices().options("env") if name.startswith("mw_") and "pixels" not in name]


def made(name: str, **kwargs: Any) -> Any:
    env: Control = config.instantiate(config.compose(["algo=sac", f"env={name}"]).env)
    return env.make(**kwargs)


@pytest.mark.parametrize("name", TASKS)
def test_episodes_begin_anew_and_can_be_repeated(name: str) -> None:
    env = made(name)
    assert (env.observation_space.shape, env.action_space.shape) == ((35,), (4,))
    assert env.spec.max_episode_steps == 250
    actions = np.random.default_rng(0).uniform(-1, 1, (5, 4)).astype(np.float32)
    played = []
    for seed in (0, 1, None, 0):
        first, _ = env.reset(seed=seed)
        played.append(np.array([first, *(env.step(action)[0] for action in actions)]))
    assert played[0].dtype == np.float32
    np.testing.assert_array_equal(played[0], played[3])
    for one, other in ((0, 1), (1, 2)):
        assert np.abs(played[one][0, :3] - played[other][0, :3]).max() > 0.01  # the hand
        assert np.abs(played[one][0, 4:] - played[other][0, 4:]).max() > 0.001  # objects or goal
    np.testing.assert_array_equal(played[0][1:-1, 4:18], played[0][2:, 18:32])  # objects, one step ago
    full = env.unwrapped.env._get_obs()
    np.testing.assert_array_equal(played[-1][-1, 4:18], full[22:36].astype(np.float32))
    assert np.abs(played[-1][-1, 32:]).max() > 0  # the goal is shown


def test_success_is_remembered_and_may_end_the_episode() -> None:
    from metaworld.policies import SawyerDrawerOpenV3Policy

    rewards: dict[bool, list[float]] = {}
    for sparse in (False, True):
        env, policy = made("mw_drawer_open", sparse=sparse, stop_after_success=5), SawyerDrawerOpenV3Policy()
        env.reset(seed=0)
        rewards[sparse], successes = [], []
        for _ in range(250):
            action = policy.get_action(env.unwrapped.env._get_obs())
            _, reward, terminated, truncated, info = env.step(np.clip(action, -1, 1).astype(np.float32))
            rewards[sparse].append(reward)
            successes.append(info["success"])
            if terminated or truncated:
                break
        assert not terminated
        assert successes.count(True) == 6
        assert successes == sorted(successes)
        assert len(successes) < 250
    assert set(rewards[True]) == {0.0, 1.0}
    assert 0 < max(rewards[False]) <= 1
