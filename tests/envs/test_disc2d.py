"""The point in the plane and its dataset."""

import numpy as np

from rlbench import config
from rlbench.envs.evaluate import rollout

CFG = config.compose(["algo=iql", "env=disc2d", "dataset=disc"])
ENV = config.instantiate(CFG.env)


def test_steps_rewards_and_starts() -> None:
    env = ENV.make()
    for seed in range(20):
        state, _ = env.reset(seed=seed)
        assert 1.2 <= np.linalg.norm(state) <= 1.4
    following, reward, terminated, truncated, _ = env.step(np.array([0.5, -3.0], dtype=np.float32))
    np.testing.assert_allclose(following, state + np.array([0.05, -0.1]), atol=1e-6)
    np.testing.assert_allclose(reward, -np.linalg.norm(following), atol=1e-6)
    assert not terminated
    assert not truncated


def test_episodes_have_fifty_steps() -> None:
    _, lengths, _ = rollout(ENV, lambda s: -s, (0,), 2)
    assert (lengths == 50).all()


def test_the_dataset_is_uniform_and_consistent() -> None:
    data = config.instantiate(CFG.dataset, env=ENV).load()
    assert len(data) == 20000
    radius = np.linalg.norm(data.next_observation, axis=1)
    assert radius.max() <= 1
    for r in (0.25, 0.5, 0.75):
        assert abs((radius < r).mean() - r**2) < 0.01
    assert np.abs(data.next_observation.mean(0)).max() < 0.02
    assert np.abs(data.action.mean(0)).max() < 0.02
    np.testing.assert_allclose(data.next_observation, data.observation + 0.1 * data.action, atol=1e-6)
    np.testing.assert_allclose(data.reward, -radius, atol=1e-6)
    assert not data.terminated.any()
    again = config.instantiate(CFG.dataset, env=ENV).load()
    assert again.fingerprint == data.fingerprint
