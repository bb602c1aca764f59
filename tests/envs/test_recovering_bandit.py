"""Recovering bandits: curves, what is refused, and the gymnasium environments."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from rlbench import config
from rlbench.algos.planning.periodic import STANDARD, plan
from rlbench.envs.recovering_bandit import (
    BanditEnv,
    Chosen,
    Exponential,
    Logged,
    Random,
    Scored,
    Step,
    Table,
    make,
)
from rlbench.errors import UsageError

E1 = config.instantiate(config.compose(["algo=ucb_ppp"]).env)


def test_the_natural_environment_is_e1() -> None:
    assert (E1.N, E1.K, E1.D) == (6, 1, 12)
    b, r = [0.95, 0.9, 0.5, 0.3, 0.25, 0.2], [0.35, 0.9, 0.5, 0.4, 0.3, 0.8]
    for i, d in ((0, 1), (1, 2), (4, 12), (5, 7)):
        assert E1.R[i, d - 1] == pytest.approx(b[i] * (1 - np.exp(-r[i] * (d - 1))))


def test_curves_of_every_kind() -> None:
    step = Step("x", 1, 4, [2, 4], [0.5, 1.0])
    assert step.R.tolist() == [[0, 0.5, 0.5, 0.5], [0, 0, 0, 1]]
    random = Random("x", 2, 5, 3, 7)
    assert (np.sort(np.random.default_rng(7).random((3, 5)), axis=1) == random.R).all()
    assert Table("x", 1, 2, [[0.1, 0.1], [0, 1]]).R.tolist() == [[0.1, 0.1], [0, 1]]
    assert E1.simulator() == "recovering_bandit, N=6, K=1, D=12"


@pytest.mark.parametrize(
    ("env", "said"),
    [
        (Table("x", 1, 3, [[0.1, 0.5, 0.4]]), "env=x: the curve of arm 0 falls from 0.5 at d=2 to 0.4\narms recover"),
        (Table("x", 1, 2, [[0, 1], [0, 1.5]]), "arm 1 leaves [0, 1]"),
        (Table("x", 1, 2, [[0, float("nan")]]), "arm 0 leaves [0, 1]"),
        (Table("x", 1, 3, [[0, 1]]), "arm 0 has 2 values, and D=3"),
        (Table("x", 2, 2, [[0, 1]]), "K=2 arms a period, and there are only 1"),
        (Exponential("x", 1, 3, [1.0], [1.0, 2.0]), "b has 1, r has 2"),
        (Step("x", 1, 3, [4], [1.0]), "thresholds=[4] leave 1 to D=3"),
    ],
)
def test_what_is_no_recovering_bandit_is_refused(env: Any, said: str) -> None:
    with pytest.raises(UsageError) as error:
        env.require()
    assert said in str(error.value)


def test_a_logged_bandit_is_known_from_its_log_alone() -> None:
    env = Logged("x", 1, 2)
    env.require()
    with pytest.raises(UsageError, match="gets its curves from a log"):
        _ = env.R
    assert env.informed_by({"curves": [[0.0, 0.5]]}).R.tolist() == [[0.0, 0.5]]


def test_long_run_of_a_cycle() -> None:
    env = Table("x", 1, 3, [[0.1, 0.2, 0.4], [0.0, 1.0, 1.0]])
    assert env.long_run(np.array([[1, 0], [1, 0], [0, 1], [0, 0]])) == pytest.approx((0.1 + 0.4 + 1.0) / 4)
    assert env.long_run(np.array([[1, 0]])) == pytest.approx(0.1)
    assert env.long_run(np.zeros((3, 2))) == 0


@pytest.mark.filterwarnings("ignore::UserWarning")  # the checker's remarks on whole-numbered boxes and on wrappers
@pytest.mark.parametrize("actions", [{}, {"scored": True}, {"chosen": True}], ids=["marks", "scores", "sets"])
def test_gymnasium_finds_no_fault(actions: dict[str, Any]) -> None:
    settings: dict[str, Any] = {"curves": "random", "K": 2, "D": 4, "arms": 5, "seed": 0, **actions}
    env = gymnasium.make("RecoveringBandit-v0", **settings)
    check_env(make(**settings), skip_render_check=True)
    assert env.spec is not None
    assert env.spec.max_episode_steps == 1000


def test_rests_rewards_and_the_lowest_indices() -> None:
    env = BanditEnv(Table("x", 2, 3, [[0, 0, 1], [1, 1, 1], [0, 1, 1], [0, 0, 0]]))
    idle, _ = env.reset(seed=0)
    assert idle.tolist() == [3, 3, 3, 3]
    idle, reward, terminated, truncated, info = env.step(np.array([1, 0, 1, 1]))
    assert (idle.tolist(), reward, terminated, truncated) == ([1, 3, 1, 3], 2.0, False, False)
    assert info["overfull"]
    assert info["pulled"].tolist() == [True, False, True, False]
    assert info["rewards"].tolist() == [1, 0, 1, 0]
    idle, reward, *_, info = env.step(np.array([1, 0, 0, 1]))
    assert (idle.tolist(), reward, info["overfull"]) == ([1, 3, 2, 1], 0.0, False)
    idle, reward, *_ = env.step(np.array([0, 0, 1, 0]))
    assert (idle.tolist(), reward) == ([2, 3, 1, 2], 1.0)
    assert env.step(np.zeros(4, dtype=int))[1] == 0.0


def test_scores_pull_the_best_of_the_positive() -> None:
    env = Scored(BanditEnv(Table("x", 2, 4, [[0, 0, 0, 1]] * 4)))
    rested, _ = env.reset(seed=0)
    assert rested.tolist() == [1, 1, 1, 1]
    assert env.step(np.array([0.2, -0.5, 0.9, 0.3]))[0].tolist() == [1, 1, 0.25, 0.25]
    assert env.step(np.array([0.2, -0.5, -0.9, -0.3]))[0].tolist() == [0.25, 1, 0.5, 0.5]


def test_a_choice_is_a_set_of_arms() -> None:
    env = Chosen(BanditEnv(Table("x", 2, 4, [[0, 0, 0, 1]] * 4)))
    pairs = [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]
    assert [np.flatnonzero(marks).tolist() for marks in env.sets] == [[0], [1], [2], [3], *pairs, []]
    assert env.action_space == gymnasium.spaces.Discrete(11)
    rested, _ = env.reset(seed=0)
    assert rested.tolist() == [1, 1, 1, 1]
    rested, reward, *_, info = env.step(8)
    assert (rested.tolist(), reward, info["overfull"]) == ([1, 0.25, 1, 0.25], 2.0, False)
    assert env.step(10)[0].tolist() == [1, 0.5, 1, 0.5]


def test_too_many_sets_and_two_kinds_of_actions_are_refused() -> None:
    settings: dict[str, Any] = {"curves": "random", "K": 5, "D": 4, "arms": 20, "seed": 0}
    with pytest.raises(UsageError, match=r"at most 5 of 20 arms are 21,700 sets: too many .* 4,096 at most\nlower K"):
        make(chosen=True, **settings)
    assert make(chosen=True, **settings | {"K": 3}).action_space.n == 1351  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="scored=true and chosen=true"):
        make(chosen=True, scored=True, **settings)


def test_the_planners_schedule_earns_its_value_in_gymnasium() -> None:
    found = plan(E1.R[None], E1.K, **STANDARD)
    env = E1.make()
    env.reset(seed=0)
    rewards = [env.step(pulls)[1] for pulls in found.pulls(np.arange(12000))[0]]
    assert np.mean(rewards) == pytest.approx(found.value[0], abs=4 * 0.5 / np.sqrt(12000))


@pytest.mark.parametrize(
    ("algo", "form", "actions"), [("sac", "control", 6), ("dqn", "discrete", 7), ("ppo", "discrete", 7)]
)
def test_other_algorithms_get_scores_and_choices(algo: str, form: str, actions: int) -> None:
    env = config.instantiate(config.compose([f"algo={algo}", f"env=recovering_bandit_{form}"]).env)
    assert env.dims() == (6, actions)
    assert env.discrete() == (form == "discrete")
    made = env.make().unwrapped
    assert isinstance(made, BanditEnv)
    np.testing.assert_array_equal(made.problem.R, E1.R)


def test_an_instance_of_ones_own_is_a_file() -> None:
    words = ["algo=ppp", "env=recovering_bandit_hand", "env.K=2", "env.D=2", "env.curves=[[0.1,0.2],[0,1],[0.5,0.5]]"]
    env = config.instantiate(config.compose(words).env)
    assert (env.N, env.K, env.D, env.R[2].tolist()) == (3, 2, 2, [0.5, 0.5])


def test_what_fits_is_said() -> None:
    with pytest.raises(UsageError) as error:
        config.compose(["algo=ucb_ppp", "env=hopper"])
    assert "algo=ucb_ppp needs recovering bandit, and env=hopper is control" in str(error.value)
    assert "these fit: env=recovering_bandit," in str(error.value)
    with pytest.raises(UsageError, match="env=recovering_bandit_control"):
        config.compose(["algo=sac", "env=recovering_bandit"])
