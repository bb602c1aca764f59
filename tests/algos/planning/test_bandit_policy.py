"""Pulling and counting, and the policies that UCB-PPP is compared with."""

import numpy as np
import pytest

from rlbench.algos.planning.bandit_policy import highest
from rlbench.algos.planning.optimal_schedule import optimum
from rlbench.envs.recovering_bandit import RecoveringBandit
from tests.algos.planning.bandits import E1, HAND, STEP, policy, random

ALL = ["ppp", "ucb_ppp", "myopic_greedy", "ucb_greedy", "ucb1", "round_robin", "random_pulls", "optimal_schedule"]


@pytest.mark.parametrize("name", ALL)
def test_every_pull_is_credited_to_its_true_rest(name: str) -> None:
    """Against a loop over periods and arms that keeps idle times as the definition has them."""
    env = HAND if name == "optimal_schedule" else random(5, 2, 6, 1)
    subject = policy(name, env, 300, (3, 9))
    whole = policy(name, env, 300, (3, 9))
    whole.train(300)
    idle = np.full((2, env.N), env.D)
    count, wins = np.zeros((2, 2, env.N, env.D), dtype=int)
    for time in range(300):
        pulls = subject.pulls(1)
        assert pulls.shape == (2, 1, env.N)
        assert pulls.sum(-1).max() <= env.K
        luck = subject.luck.at(time, 1)
        for s, arm in zip(*np.nonzero(pulls[:, 0]), strict=True):
            count[s, arm, idle[s, arm] - 1] += 1
            wins[s, arm, idle[s, arm] - 1] += luck[s, 0, arm] < env.R[arm, idle[s, arm] - 1]
        idle = np.where(pulls[:, 0], 1, np.minimum(idle + 1, env.D))
        subject.pull(pulls)
        assert (subject.rested() == idle).all()
    assert (whole.count == count).all()
    assert (whole.wins == wins).all()
    metrics = whole.evaluate()
    np.testing.assert_allclose(metrics["eval/mean_reward"], wins.sum((1, 2)) / 300)
    np.testing.assert_allclose(metrics["eval/regret"], 300 * whole.reference - (count * env.R).sum((1, 2)))
    assert (metrics["eval/bound_regret"] >= metrics["eval/regret"]).all()


def test_the_first_pulls_find_all_arms_recovered() -> None:
    subject = policy("round_robin", HAND, 10, (0, 1))
    subject.train(3)
    assert subject.count[:, :, -1].tolist() == [[1, 1, 1], [1, 1, 1]]
    assert subject.count.sum() == 6


def test_rewards_are_bernoulli_with_the_means_of_the_curves() -> None:
    subject = policy("random_pulls", random(6, 3, 5, 0), 20000, (0, 1))
    subject.train(20000)
    n = np.maximum(subject.count, 1)
    error = (subject.wins / n - subject.R) / np.sqrt(np.maximum(subject.R * (1 - subject.R), 1e-3) / n)
    assert (subject.count[:, :, :4] > 200).all()
    assert np.abs(error[subject.count > 200]).max() < 4.5


def test_luck_depends_on_seed_period_and_arm_alone() -> None:
    one, other = policy("random_pulls", E1, 100, (4,)), policy("ppp", E1, 900, (1, 4))
    assert (one.luck.at(600, 30)[0] == other.luck.at(600, 30)[1]).all()
    assert (one.luck.at(600, 30)[0, 5] == one.luck.at(605, 1)[0, 0]).all()
    assert not (one.luck.at(0, 30) == one.luck.at(512, 30)).any()
    assert not (one.luck.at(0, 30) == one.choices.at(0, 30)).any()


def test_highest() -> None:
    scores = np.array([[0.1, 0.5, 0.5, 0.0], [0.0, 0.0, 0.2, 0.0]])
    assert highest(scores, 1)[:, 0].tolist() == [[False, True, False, False], [False, False, True, False]]
    assert highest(scores, 2)[:, 0].tolist() == [[False, True, True, False], [False, False, True, False]]


@pytest.mark.parametrize(("env", "K"), [(E1, 1), (random(7, 3, 9, 0), 3), (random(4, 4, 3, 0), 4)])
def test_round_robin_pulls_in_turn(env: RecoveringBandit, K: int) -> None:
    subject = policy("round_robin", env, 100)
    pulls = subject.due(np.arange(4 * env.N))
    assert (pulls.sum(1) == K).all()
    turns = pulls.cumsum(0)
    assert (turns.max(1) - turns.min(1)).max() <= 1
    subject.train(100 * subject.cycle)
    expected = (subject.count * env.R).sum() / (100 * subject.cycle)
    assert subject.long_run == pytest.approx(expected, abs=env.N / subject.cycle / 50)


def test_planner_on_e1_runs_as_planned() -> None:
    subject = policy("ppp", E1, 32000, (0, 1, 2, 3, 4))
    subject.train(32000)
    metrics = subject.evaluate()
    assert metrics["eval/long_run_reward"] == pytest.approx([subject.reference] * 5)
    assert metrics["eval/mean_reward"].mean() == pytest.approx(0.5377, abs=0.003)
    # All the luck aside: only the first pulls, from full recovery, are worth more than planned.
    assert (np.abs(metrics["eval/regret"]) < 3).all()


def test_myopic_greedy_fails_where_arms_pay_nothing_before_a_threshold() -> None:
    """It begins with what pays most, and from then on meets arms that have not recovered."""
    greedy, planner = (policy(name, STEP, 8000) for name in ("myopic_greedy", "ppp"))
    for each in (greedy, planner):
        each.train(8000)
    assert abs(planner.evaluate()["eval/bound_regret"][0]) < 5
    assert greedy.evaluate()["eval/bound_regret"][0] > 0.02 * 8000
    optimal = STEP.long_run(optimum(STEP)[1])
    assert optimal == pytest.approx(planner.bound, abs=1e-12)


def test_baselines_on_e1_stand_in_the_known_order() -> None:
    reward = {}
    for name in ("round_robin", "random_pulls", "ucb1", "ucb_greedy"):
        subject = policy(name, E1, 4000, tuple(range(5)))
        subject.train(4000)
        reward[name] = subject.evaluate()["eval/mean_reward"].mean()
    assert reward["round_robin"] == pytest.approx(0.463, abs=0.01)
    assert reward["ucb_greedy"] > reward["round_robin"]
    assert reward["round_robin"] > max(reward["random_pulls"], reward["ucb1"])


def test_ucb1_tries_every_arm_first_and_then_follows_its_index() -> None:
    subject = policy("ucb1", E1, 100, (0,))
    subject.train(6)
    assert subject.count.sum(-1).tolist() == [[1] * 6]
    subject.train(40)
    n, wins = subject.count.sum(-1)[0], subject.wins.sum(-1)[0]
    index = wins / n + np.sqrt(2 * np.log(46) / n)
    assert subject.pulls(1)[0, 0].tolist() == (np.arange(6) == index.argmax()).tolist()
