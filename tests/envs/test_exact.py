"""The solved problems: closed forms against simulation, known values, and arrays of them against gymnasium's way."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from rlbench import config
from rlbench.envs.chain3 import best_return, expected_return
from rlbench.envs.evaluate import rollout
from rlbench.envs.exact import Exact
from rlbench.envs.lqr1d import System
from rlbench.envs.simulators import Simulators


def environment(name: str) -> Any:
    return config.instantiate(config.compose([f"env={name}", "algo=vanilla_pg"]).env)


def test_lqr_values() -> None:
    system = System()
    best = system.best_gain(0.9)
    assert best == pytest.approx(1.324624, abs=1e-6)
    for sigma, highest, idle in ((0.3, -1.690674, -4.859373), (0.5, -2.296509, -6.347786)):
        assert system.expected_return(best, sigma, 0.9) == pytest.approx(highest, abs=1e-6)
        assert system.expected_return(0.0, sigma, 0.9) == pytest.approx(idle, abs=1e-6)
        around = [system.expected_return(best + d, sigma, 0.9) for d in (-1e-3, 1e-3)]
        assert max(around) < system.expected_return(best, sigma, 0.9)


def test_lqr_is_known_of_linear_policies_alone() -> None:
    env = environment("lqr1d")

    def noisy(sigma: Any) -> Any:
        return lambda s: torch.cat([-0.8 * s, sigma(s)], -1)

    value, gap = env.exact(noisy(lambda s: torch.full_like(s, 0.5)), 0.9)
    assert value.item() == pytest.approx(System().expected_return(0.8, 0.5, 0.9))
    assert (value + gap).item() == pytest.approx(-2.296509, abs=1e-6)
    assert env.exact(noisy(torch.abs), 0.9) is None
    assert env.exact(lambda s: torch.cat([torch.tanh(s), torch.ones_like(s)], -1), 0.9) is None
    unstable, _ = env.exact(lambda s: torch.cat([5 * s, torch.ones_like(s)], -1), 0.9)
    assert unstable.item() == -np.inf


def test_chain_values() -> None:
    uniform = torch.full((3, 2), 0.5, dtype=torch.float64)
    assert expected_return(uniform, 0.9, 8).item() == pytest.approx(0.767338, abs=1e-6)
    deterministic = [torch.eye(2, dtype=torch.float64)[list(choice)] for choice in product((0, 1), repeat=3)]
    assert max(expected_return(each, 0.9, 8).item() for each in deterministic) == pytest.approx(2.676601, abs=1e-6)
    assert best_return(0.9, 8) == pytest.approx(2.690142, abs=1e-6)
    value, gap = environment("chain3").exact(lambda s: uniform.expand(2, *s.shape[1:2], 2), 0.9)
    assert value.tolist() == pytest.approx([0.767338] * 2, abs=1e-6)
    assert (value + gap).tolist() == pytest.approx([2.690142] * 2, abs=1e-6)


@pytest.mark.parametrize("name", ["lqr1d", "chain3"])
def test_episodes_are_the_same_as_one_by_one(name: str) -> None:
    env = environment(name)
    assert isinstance(env, Exact)
    together, apart = env.simulators(), Simulators(env.make)
    seeds, rng = [3, 14, 15, 92], np.random.default_rng(0)
    for simulators in (together, apart):
        simulators.begin(seeds)
    for _ in range(env.time_limit() or 0):
        actions = rng.normal(size=(4, env.dims()[1])).astype(np.float32)
        np.testing.assert_array_equal(together.observation, apart.observation)
        assert together.running.all()
        for a, b in zip(together.step(actions), apart.step(actions), strict=True):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(together.observation, apart.observation)
    assert not (together.running | apart.running).any()


def test_simulated_returns_are_the_expected_ones() -> None:
    """Undiscounted returns of 2,000 episodes of the best deterministic policies, to four standard errors."""
    chain = environment("chain3")
    returns = rollout(chain, lambda s: torch.tensor([0.0, 1.0]).expand(*s.shape[:-1], 2), (0,), 2000)[0]
    always_right = torch.tensor([[0.0, 1.0]], dtype=torch.float64).expand(3, 2)
    error = abs(returns.mean() - expected_return(always_right, 1.0, 8).item())
    assert error < 4 * returns.std() / 2000**0.5
    lqr, system, k = environment("lqr1d"), System(), 1.3
    returns = rollout(lqr, lambda s: -k * s, (0,), 2000)[0]
    square, total = 1.0, 0.0
    for _ in range(40):
        total -= (system.q + system.r * k**2) * square
        square = (system.A - system.B * k) ** 2 * square + system.W
    assert abs(returns.mean() - total) < 4 * returns.std() / 2000**0.5


def test_constants_can_be_set() -> None:
    cfg = config.compose(["algo=vanilla_pg", "env=lqr1d", "env.kwargs.A=1.1", "env.kwargs.max_episode_steps=7"])
    env = config.instantiate(cfg.env)
    assert env.system.A == 1.1
    assert env.time_limit() == 7
