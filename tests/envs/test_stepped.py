"""Problems of the searches, stepped: the same episodes, whoever plays them."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from rlbench.envs.point2d_goals import AREAS, SPEED, STEPS
from rlbench.envs.policy_search import PolicySearch
from rlbench.envs.simulators import Simulators
from tests.algos.evolution.searches import problem

SHORT: dict[str, dict[str, Any]] = {
    "point2d_goals": {},
    "point2d_goals_final": {"radius": 0.5},
    "redundant_arm": {},
    "curling": {"steps": 40},
    "ant_obstacles": {"steps": 10},
}


def given(name: str) -> PolicySearch:
    if name == "curling":
        pytest.importorskip("Box2D", reason="env=curling needs the extra box2d")
    env: PolicySearch = problem(name, **SHORT[name])
    return env


def stepped(env: PolicySearch, simulators: Simulators, genomes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns and ends of the policies of genomes."""
    act, returns = env.controller.policy(genomes), np.zeros(len(genomes))
    simulators.begin(range(len(genomes)))
    while simulators.running.any():
        reward, ended = simulators.step(act(simulators.observation.astype(np.float64)))
        assert (ended <= ~simulators.running).all()
        returns += reward
    return returns, simulators.ends


@pytest.mark.parametrize("name", SHORT)
def test_steps_add_up_to_the_episodes_of_the_searches(name: str) -> None:
    """Up to the rounding of observations to float32."""
    env = given(name)
    count = 300 if name.startswith("point") else 3
    genomes = np.random.default_rng(0).normal(size=(count, env.controller.genes)).clip(-5, 5)
    episodes = env.episodes(genomes, 0)
    for simulators in (env.simulators(), Simulators(env.make)):
        returns, ends = stepped(env, simulators, genomes)
        np.testing.assert_allclose(ends[:, 1:], episodes.outcome, atol=1e-4)
        same = ends[:, 0] == episodes.area  # an end at the very border of an area may fall to either side
        assert same.mean() > 0.99
        np.testing.assert_allclose(returns[same], episodes.reward[same], atol=1e-3)
    if name.startswith("point"):
        assert len(np.unique(episodes.area)) >= 3


@pytest.mark.filterwarnings("ignore:.*A Box observation space")  # an observation has no bounds that were told
@pytest.mark.parametrize("name", SHORT)
def test_gymnasium_finds_nothing_to_complain_of(name: str) -> None:
    env = given(name)
    made = gymnasium.make(env.id, **env.kwargs)
    check_env(made.unwrapped, skip_render_check=True)
    assert (made.observation_space.shape, made.action_space.shape) == tuple((width,) for width in env.dims())


def test_an_end_is_paid_for_with_the_last_step_which_terminates() -> None:
    env = problem("point2d_goals_final", radius=0.1).make()
    target, (pose, _), rewards = AREAS[2].mean(0), env.reset(), []
    for step in range(1, STEPS + 1):
        pose, reward, terminated, truncated, info = env.step((target - pose) / SPEED)
        rewards.append(reward)
        assert (terminated, truncated, "end" in info) == (step == STEPS, False, step == STEPS)
    assert rewards[:-1] == [0.0] * (STEPS - 1)
    assert rewards[-1] == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_allclose(info["end"], [2, *target], atol=1e-6)


def test_an_arm_that_does_what_it_may_not_ends_at_once() -> None:
    env = problem("redundant_arm")
    simulators = env.simulators()
    simulators.begin([0, 0])
    actions, steps = np.stack([np.ones(20), np.zeros(20)]), np.zeros(2)
    while simulators.running.any():
        steps += simulators.running
        last = simulators.observation[0].copy()
        simulators.step(actions)
    assert steps[0] < steps[1] == env.time_limit() == 100
    np.testing.assert_array_equal(simulators.observation[0], last)  # it stays where it was
    assert np.isfinite(simulators.ends).all()


def test_it_draws_itself() -> None:
    made = problem("point2d_goals").make(render_mode="rgb_array")
    made.reset()
    view = made.render()
    assert view.shape == (64, 64, 3)
    assert (view[32, 32] == (0, 0, 255)).all()
