"""The humanoid with scaled actions is MuJoCo's."""

import gymnasium
import numpy as np
import pytest

from rlbench import config


def test_actions_are_scaled() -> None:
    env = config.instantiate(config.compose(["algo=vanilla_pg", "env=humanoid"]).env)
    low, high = env.action_bounds()
    assert (low == -1).all()
    assert (high == 1).all()
    assert env.time_limit() == 1000
    assert env.simulator().startswith("UnitHumanoid-v4, MuJoCo ")
    ours, original = env.make(), gymnasium.make("Humanoid-v4")
    np.testing.assert_array_equal(ours.reset(seed=3)[0], original.reset(seed=3)[0])
    rng = np.random.default_rng(0)
    for _ in range(5):
        action = rng.uniform(-1, 1, 17).astype(np.float32)
        here, there = ours.step(action), original.step(np.float32(0.4) * action)
        np.testing.assert_allclose(here[0], there[0], rtol=0, atol=1e-4)
        assert float(here[1]) == pytest.approx(float(there[1]), rel=1e-4)
