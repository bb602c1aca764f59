"""UCB-PPP learns the planner's schedule at the rate that it should, and what it is made of."""

import numpy as np
import pytest

from rlbench.algos.planning.periodic import plan
from tests.algos.planning.bandits import E1, PATIENCE, STEP, policy

SEEDS = tuple(range(5))


def test_regret_follows_the_square_root_law() -> None:
    """c = 2: the gap to the planner falls by 1.6 to 2.6 when T is four times as long (2 but for logarithms)."""
    gaps = []
    for T in (2000, 8000, 32000):
        subject = policy("ucb_ppp", E1, T, SEEDS, c=2.0, phase=48)
        subject.train(T)
        gaps.append(subject.evaluate()["eval/regret"].mean() / T)
    factors = np.divide(gaps[:-1], gaps[1:])
    assert (factors > 1.6).all()
    assert (factors < 2.6).all()


def test_in_the_long_run_it_beats_round_robin_and_nears_the_planner() -> None:
    subject, simple = (policy(name, E1, 32000, SEEDS) for name in ("ucb_ppp", "round_robin"))
    for each in (subject, simple):
        each.train(32000)
    reward = subject.evaluate()["eval/mean_reward"]
    assert reward.mean() > simple.evaluate()["eval/mean_reward"].mean() + 0.04
    assert reward.mean() > 0.5377 - 0.02


def test_it_finds_the_schedule_of_blocking_arms() -> None:
    subject = policy("ucb_ppp", STEP, 20000, SEEDS)
    subject.train(20000)
    truth = plan(STEP.R[None], 1, [1, 3, 5, 7], 3, 100_000)
    assert (subject.plan.period == truth.period).all()


def test_it_waits_where_greed_never_does() -> None:
    reward = {}
    for name in ("ppp", "ucb_ppp", "ucb_greedy", "myopic_greedy"):
        subject = policy(name, PATIENCE, 6000, SEEDS)
        subject.train(6000)
        reward[name] = subject.evaluate()["eval/mean_reward"].mean()
    assert reward["ppp"] == pytest.approx(0.45, abs=0.005)
    assert reward["ucb_ppp"] > 0.42
    assert max(reward["ucb_greedy"], reward["myopic_greedy"]) < 0.3


def test_bounds_agree_with_recovery_from_above() -> None:
    subject = policy("ucb_ppp", E1, 1000, (0,))
    seen: list[np.ndarray] = []
    subject.count[0, 0], subject.wins[0, 0] = 10**9, 2 * 10**8  # a known arm that pays .2 after any rest
    subject.count[0, 0, 4:], subject.wins[0, 0, 4:] = 0, 0  # but for rests that were never tried
    subject.count[0, 1], subject.wins[0, 1] = 10**9, (np.arange(12) == 0) * 10**9  # contradicts recovery at d = 1
    subject.count[0, 1, 5], subject.wins[0, 1, 5] = 10**9, 3 * 10**8

    def spy(R: np.ndarray, *_: object, **__: object) -> object:
        seen.append(R)
        return subject.plan

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rlbench.algos.planning.ucb_ppp.plan", spy)
        subject.plan_again()
    (upper,) = seen
    assert (np.diff(upper) >= 0).all()
    np.testing.assert_allclose(upper[0, 0], [0.2] * 4 + [1.0] * 8, atol=1e-4)
    np.testing.assert_allclose(upper[0, 1], 0.0, atol=1e-4)


def test_confidence_bounds() -> None:
    subject = policy("ucb_ppp", E1, 1000, (0,))
    subject.count[0, 0, 0], subject.wins[0, 0, 0] = 100, 30
    bounds = subject.optimism(0.1)[0, 0]
    assert bounds[0] == pytest.approx(0.3 + np.sqrt(0.1 * np.log(1000) / 100))
    assert (bounds[1:] == 1).all()


def test_it_plans_once_a_phase_and_goes_on_in_the_middle_of_one() -> None:
    subject = policy("ucb_ppp", E1, 1000, (0, 1))
    made = 0
    again = subject.plan_again

    def counted() -> object:
        nonlocal made
        made += 1
        return again()

    subject.plan_again = counted
    for n in (1, 46, 1, 1, 95):
        subject.train(n)
    assert (subject.time, made) == (144, 3)
    assert policy("ucb_ppp", E1, 250_000).phase == 159
    assert policy("ucb_ppp", E1, 1000).phase == 48
