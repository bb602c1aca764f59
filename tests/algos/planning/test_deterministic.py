"""Howard's policy iteration: against Karp's minimum mean cycle, and value iteration on the bandit itself."""

import numpy as np
import pytest

from rlbench.algos.planning.deterministic import best_average, evaluated
from rlbench.algos.planning.optimal_schedule import optimum
from rlbench.envs.recovering_bandit import RecoveringBandit
from rlbench.errors import UsageError
from tests.algos.planning.bandits import HAND, policy, random


def karp(following: np.ndarray, reward: np.ndarray) -> float:
    """The largest mean of a cycle that can be reached from state 0."""
    n = following.shape[1]
    best = np.full((n + 1, n), -np.inf)
    best[0, 0] = 0
    for k in range(n):
        for state, action in zip(*np.nonzero(np.ones((n, len(following)))), strict=True):
            to = following[action, state]
            best[k + 1, to] = max(best[k + 1, to], best[k, state] + reward[action, state])
    means = [
        min((best[n, v] - best[k, v]) / (n - k) for k in range(n) if np.isfinite(best[k, v]))
        for v in range(n)
        if np.isfinite(best[n, v])
    ]
    return float(max(means))


@pytest.mark.parametrize("seed", range(12))
def test_gain_is_karps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    following, reward = rng.integers(0, 12, (2, 12)), rng.normal(size=(2, 12)).round(2)
    solution = best_average(following, reward)
    assert solution.gain[0] == pytest.approx(karp(following, reward), abs=1e-10)


def test_values_solve_the_equation_of_a_policy() -> None:
    rng = np.random.default_rng(0)
    following, reward = rng.integers(0, 50, 50), rng.normal(size=50)
    gain, value = evaluated(following, reward)
    np.testing.assert_allclose(gain + value, reward + value[following], atol=1e-10)
    np.testing.assert_array_equal(gain, gain[following])


def test_actions_that_are_not_allowed_are_not_taken() -> None:
    following, reward = np.array([[0, 1], [1, 0]]), np.array([[1.0, 0.0], [-np.inf, 0.5]])
    assert best_average(following, reward).action.tolist() == [0, 1]
    assert best_average(following, reward).gain.tolist() == [1.0, 1.0]


def by_value_iteration(env: RecoveringBandit) -> float:
    """(V_480 - V_240) / 240 from full recovery, by recursion over rests, one arm or none at a time (K = 1)."""
    N, D = env.R.shape
    V = np.zeros((D,) * N)
    values = []
    for step in range(481):
        if step in (240, 480):
            values.append(V[(D - 1,) * N])
        longer = np.ix_(*[np.minimum(np.arange(D) + 1, D - 1)] * N)
        best = V[longer]
        for arm in range(N):
            rests = [np.minimum(np.arange(D) + 1, D - 1)] * N
            rests[arm] = np.zeros(D, dtype=int)
            gain = env.R[arm].reshape([D if axis == arm else 1 for axis in range(N)])
            best = np.maximum(best, V[np.ix_(*rests)] + gain)
        V = best
    return float((values[1] - values[0]) / 240)


@pytest.mark.parametrize("env", [HAND, random(3, 1, 7, 0), random(3, 1, 7, 1), random(4, 1, 5, 2)])
def test_optimum_is_that_of_value_iteration(env: RecoveringBandit) -> None:
    assert env.long_run(optimum(env)[1]) == pytest.approx(by_value_iteration(env), abs=5e-3)
    if env is HAND:
        assert env.long_run(optimum(env)[1]) == pytest.approx(0.825, abs=1e-12)


def test_what_is_too_large_is_refused_before_it_is_enumerated() -> None:
    """Seventy million million sets of arms would not fit."""
    with pytest.raises(UsageError, match="algo=ppp plans without them"):
        optimum(random(60, 15, 30, 0))


def test_optimal_schedule_runs_as_computed() -> None:
    optimal = policy("optimal_schedule", random(4, 2, 5, 3), 4000, (0, 1, 2))
    assert optimal.due(np.arange(200)).sum(1).max() <= 2
    optimal.train(4000)
    value = optimal.evaluate()["eval/long_run_reward"]
    expected = (optimal.count * optimal.R).sum((1, 2)) / 4000
    np.testing.assert_allclose(expected, value, atol=5 * 2 / 4000)  # but for the first pulls and the last cycle


def test_too_large_a_model_is_refused_with_what_would_do() -> None:
    with pytest.raises(UsageError, match=r"D\^N = 10,000,000,000 states .*\nalgo=ppp"):
        policy("optimal_schedule", random(10, 1, 10, 0), 100)
