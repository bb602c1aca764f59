"""The pendulum is gymnasium's, with actions in [-1, 1]."""

import gymnasium
import numpy as np

from rlbench import config


def test_is_gymnasiums() -> None:
    env = config.instantiate(config.compose(["algo=sac", "env=pendulum"]).env)
    low, high = env.action_bounds()
    assert (low, high, env.dims(), env.time_limit()) == (-1.0, 1.0, (3, 1), 200)
    ours, theirs = env.make(), gymnasium.make("Pendulum-v1")
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(ours.reset(seed=3)[0], theirs.reset(seed=3)[0])
    for _ in range(200):
        action = rng.uniform(-1, 1, 1).astype(np.float32)
        mine, other = ours.step(action), theirs.step(2 * action)
        np.testing.assert_allclose(mine[0], other[0], atol=1e-5)
        assert abs(mine[1] - other[1]) < 1e-5
    assert mine[2:4] == other[2:4] == (False, True)
