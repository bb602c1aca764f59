"""The bound: against a linear program over the rates of pulls at every gap, which knows nothing of envelopes."""

from typing import Any

import numpy as np
import pytest

from rlbench.algos.planning.relaxation import Relaxation, bound, envelopes
from rlbench.envs.recovering_bandit import RecoveringBandit
from tests.algos.planning.bandits import E1, HAND, STEP, random

optimize: Any = pytest.importorskip("scipy.optimize")


def by_linear_program(R: np.ndarray, K: float) -> float:
    """Most reward of rates y_i(d) of pulls at gap d: an arm's gaps fill no more than the time."""
    N, D = R.shape
    time = np.kron(np.eye(N), np.arange(1, D + 1))
    solved = optimize.linprog(-R.ravel(), np.vstack([time, np.ones(N * D)]), np.append(np.ones(N), K))
    return float(-solved.fun)


@pytest.mark.parametrize("env", [E1, HAND, STEP, random(7, 2, 9, 0), random(20, 5, 30, 1), random(3, 3, 4, 2)])
def test_bound_is_the_linear_programs(env: RecoveringBandit) -> None:
    for capacity in (0.3, 1.0, env.K, env.K + 0.7):
        value = Relaxation(env.R[None]).value(capacity)[0]
        assert value == pytest.approx(by_linear_program(env.R, capacity), abs=1e-9)


def test_known_bounds() -> None:
    assert bound(HAND.R, 1) == pytest.approx(0.83, abs=1e-12)
    assert bound(E1.R, 1) == pytest.approx(0.5483, abs=5e-5)


def test_at_most_one_arm_ends_inside_a_segment() -> None:
    env = random(40, 6, 15, 3)
    x = Relaxation(env.R[None]).frequencies(6)[0]
    pulled = x[x > 0]
    assert x.sum() == pytest.approx(6)
    assert (np.abs(1 / pulled - np.round(1 / pulled)) > 1e-9).sum() <= 1


def test_envelopes_of_hopeless_arms_are_flat() -> None:
    slopes, lengths = envelopes(np.zeros((2, 3, 4)))
    assert not slopes.any()
    assert not lengths.any()
    assert bound(np.zeros((3, 4)), 2) == 0


def test_problems_are_solved_apart() -> None:
    R = np.stack([random(6, 2, 8, seed).R for seed in range(5)])
    together = Relaxation(R)
    for place in range(5):
        alone = Relaxation(R[place : place + 1])
        assert together.value(2)[place] == alone.value(2)[0]
        assert (together.frequencies(2)[place] == alone.frequencies(2)[0]).all()
