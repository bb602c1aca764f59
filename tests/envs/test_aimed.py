"""Problems of the searches that say which area is asked for, and what they say a goal is worth."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from rlbench.envs.aimed import Aimed, AimedEpisode, aimed
from rlbench.envs.point2d_goals import AREAS, SPEED, Point2DGoals
from rlbench.envs.policy_search import PolicySearch
from rlbench.errors import UsageError
from rlbench.task import Task
from tests.algos.evolution.searches import CPU, problem
from tests.envs.test_stepped import SHORT, given

EVERY = pytest.mark.parametrize("name", SHORT)


def acted(env: PolicySearch, seed: int) -> Any:
    """An episode of random actions, at its end; each action is held for a while, so that it leads somewhere."""
    rng, worlds = np.random.default_rng(seed), env.begin(1)
    for step in range(worlds.steps):
        if step % 10 == 0:
            action = rng.uniform(-1, 1, (1, env.dims()[1]))
        worlds.step(action)
        yield worlds
        if worlds.over.any():
            return


@EVERY
def test_an_observation_tells_the_outcome(name: str) -> None:
    env = given(name)
    for worlds in acted(env, 0):
        np.testing.assert_allclose(env.outcome(worlds.observation), worlds.end().outcome, rtol=0, atol=1e-9)


RADII = {"point2d_goals_final": 0.5, "redundant_arm": 0.05, "curling": 0.2, "ant_obstacles": 3.0}


@pytest.mark.parametrize("name", RADII)
def test_a_goal_is_worth_what_its_nearness_says(name: str) -> None:
    rng, radius = np.random.default_rng(0), RADII[name]
    goal = rng.uniform(-1, 1, (500, 2))
    outcome = goal + rng.uniform(-1, 1, (500, 2)) * 1.2 * radius
    expected = [max(0.0, 1 - float(np.hypot(*apart)) / radius) for apart in outcome - goal]
    found = given(name).goal_reward(outcome, goal)
    assert 50 < (found == 0).sum() < 450
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_at_an_area_a_goal_is_worth_what_the_area_pays() -> None:
    """For an end; and on the way, for every step in the first area that is entered."""
    rng = np.random.default_rng(0)
    final, transit = problem("point2d_goals_final", radius=0.1), problem("point2d_goals")
    for area, (low, high) in enumerate(AREAS):
        room, passed, paid, worth = final.begin(300), transit.begin(300), np.zeros(300), np.zeros(300)
        room.observation = (low + high) / 2 + rng.uniform(-0.15, 0.15, (300, 2))
        end, centres = room.end(), np.tile(final.centres[area], (300, 1))
        assert set(end.area) == {-1, area}
        np.testing.assert_allclose(final.goal_reward(end.outcome, centres), end.reward)
        passed.observation = (low + high) / 2 + rng.uniform(-0.06, 0.06, (300, 2))
        for _ in range(5):
            paid += passed.step(rng.uniform(-0.5, 0.5, (300, 2)))
            worth += transit.goal_reward(transit.outcome(passed.observation), centres)
        assert len(set(paid)) >= 4
        np.testing.assert_array_equal(worth, paid)


@pytest.mark.filterwarnings("ignore:.*A Box observation space")  # an observation has no bounds that were told
@EVERY
def test_it_is_the_same_episode_told_which_area_is_asked_for(name: str) -> None:
    env = given(name)
    told = Aimed(env)
    made = gymnasium.make(told.id, **told.kwargs)
    check_env(made.unwrapped, skip_render_check=True)
    assert told.dims() == (env.dims()[0] + 2, env.dims()[1])
    assert told.time_limit() == env.time_limit()
    plain, episode, rng = env.make(), told.make(), np.random.default_rng(0)
    observation, (seen, _) = plain.reset(seed=3)[0], episode.reset(seed=3)
    goal, over = seen[-2:], False
    assert any(np.allclose(goal, centre) for centre in env.centres)
    while not over:
        np.testing.assert_array_equal(seen, [*observation, *goal])
        action = rng.uniform(-1, 1, env.dims()[1]).astype(np.float32)
        observation, reward, over, _, info = plain.step(action)
        seen, again, *_, informed = episode.step(action)
        assert (again, "end" in informed, "success" in informed) == (reward, over, over)
    np.testing.assert_array_equal(informed["end"], info["end"])


def test_areas_are_drawn_alike_and_by_the_seed_alone() -> None:
    env, again = Aimed(problem("point2d_goals_final")), Aimed(problem("point2d_goals_final"))
    goals = np.array([env.make().reset(seed=seed)[0][2:] for seed in range(400)])
    _, counts = np.unique(goals, axis=0, return_counts=True)
    assert len(counts) == 4
    assert ((counts - 100) ** 2 / 100).sum() < 16.3  # the chi-square of 3 degrees of freedom, p = 0.001
    np.testing.assert_array_equal(again.make().reset(seed=7)[0][2:], goals[7])


@pytest.mark.parametrize("asked", [0, 2])
def test_success_is_an_end_in_the_area_that_was_asked_for(asked: int) -> None:
    """Whoever is sent to area 2 succeeds where that was asked for, and is paid in either case."""
    env = AimedEpisode(problem("point2d_goals_final", radius=0.1), area=asked)
    target, (seen, _), total, over = AREAS[2].mean(0), env.reset(), 0.0, False
    while not over:
        seen, reward, over, _, info = env.step((target - seen[:2]) / SPEED)
        total += reward
    assert total == pytest.approx(1, abs=1e-5)
    assert info["success"] == (asked == 2)


def test_a_policy_is_judged_by_where_it_is_told_to_go() -> None:
    """One seed goes where it is told, but a little to the side; the other to area 1 in any case."""
    env = problem("point2d_goals_final", radius=0.1)
    task = aimed(env.task(Task((0, 1), 10, CPU, env, None, 1, artefacts=None)))  # type: ignore[arg-type]  # no stages
    first = torch.tensor(AREAS[1].mean(0), dtype=torch.float32)

    def policy(seen: torch.Tensor) -> torch.Tensor:
        target = torch.stack([seen[0, :, 2:] + torch.tensor([0.03, 0.04]), first.expand(1, 2)])
        return ((target - seen[..., :2]) / SPEED).clamp(-1, 1)

    metrics = task.evaluate(policy)
    assert next(iter(metrics)) == "eval/best_reward"
    assert [metrics[f"eval/success_{area}"].tolist() for area in range(4)] == [[1, 0], [1, 1], [1, 0], [1, 0]]
    assert metrics["eval/success"].tolist() == [1, 0.25]
    assert metrics["eval/policy_reward"] == pytest.approx([0.5, 1.0], abs=1e-5)
    assert task.episodes["eval/success"].shape == (2, 4)


def test_a_problem_without_goals_says_what_it_lacks() -> None:
    class Areas(Point2DGoals):
        goal_reward = PolicySearch.goal_reward

    with pytest.raises(UsageError, match=r"env=mine has areas and no goals.*\n.*`outcome` and `goal_reward`"):
        Aimed(Areas("mine", "final", 0.1))
