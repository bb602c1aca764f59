"""Problems for searches over policies: their rules, their pictures, and what no policy can exceed."""

from typing import Any

import mujoco
import numpy as np
import pytest
import torch
import yaml

from rlbench import config, paths
from rlbench.envs import redundant_arm
from rlbench.envs.ant_obstacles import arena
from rlbench.envs.drawing import PIXELS
from rlbench.envs.point2d_goals import AREAS, SPEED, STEPS, Point2DGoals
from rlbench.envs.policy_search import BINS, Controller, PolicySearch, nearness, seen_at
from rlbench.envs.redundant_arm import CENTRES, SEGMENT, START, RedundantArm, joints, legal

BOUNDS = [36, 32, 37, 37]
"""51 - ceil(d / 0.05), d the Chebyshev distance to an area: the most that `transit` can pay in each."""


def instance(name: str, **changes: Any) -> Any:
    """One of conf/env."""
    return config.instantiate(yaml.safe_load((paths.conf_root() / "env" / f"{name}.yaml").read_text()) | changes)


def genomes(env: PolicySearch, count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, env.controller.genes)).clip(-5, 5)


def test_the_controller_is_the_formula() -> None:
    controller = Controller((2, 5, 3))
    assert controller.genes == 2 * 5 + 1 + 5 * 3 + 1
    genome, x = np.random.default_rng(0).normal(size=controller.genes), np.array([0.3, -0.7])
    hidden = 2 / (1 + np.exp(-(genome[:10].reshape(5, 2) @ x + genome[10]))) - 1
    action = 2 / (1 + np.exp(-(genome[11:26].reshape(3, 5) @ hidden + genome[26]))) - 1
    two = np.stack([np.zeros_like(genome), genome])
    np.testing.assert_allclose(controller.policy(two)(np.stack([x, x])), [[0, 0, 0], action], rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "genes"), [("point2d_goals", 48), ("redundant_arm", 228), ("curling", 94), ("ant_obstacles", 574)]
)
def test_genomes_are_as_long_as_the_papers(name: str, genes: int) -> None:
    assert instance(name).controller.genes == genes


@pytest.mark.parametrize("name", ["point2d_goals", "point2d_goals_final", "redundant_arm"])
def test_an_episode_is_the_same_again_and_in_any_company(name: str) -> None:
    env = instance(name)
    both, alone = env.episodes(genomes(env, 20), 2), env.episodes(genomes(env, 20)[7:8], 2)
    assert both.views.shape == (20, 2, PIXELS, PIXELS, 3)
    np.testing.assert_allclose(alone.outcome[0], both.outcome[7], rtol=1e-9)
    np.testing.assert_array_equal(env.episodes(genomes(env, 20), 0).outcome, both.outcome)
    assert (both.outcome >= env.LOW).all()
    assert (both.outcome <= env.HIGH).all()


def test_views_are_equally_spaced_and_the_last_is_the_end() -> None:
    assert seen_at(50, 1) == {50: 0}
    assert list(seen_at(50, 5)) == [10, 20, 30, 40, 50]
    assert seen_at(50, 0) == {}


def test_nearness_by_hand() -> None:
    reward, area = nearness(np.array([[0.0, 0.03], [1.0, 1.0], [5.0, 5.0]]), np.array([[0, 0], [1, 1]]), 0.1)
    np.testing.assert_allclose(reward, [0.7, 1.0, 0.0])
    assert area.tolist() == [0, 1, -1]


# -- a point in a room


def bang_bang(env: Point2DGoals) -> tuple[np.ndarray, np.ndarray]:
    """Rewards and areas of going straight to the nearest point of each area, and staying: one episode an area."""
    target = np.clip(0.0, AREAS[:, 0], AREAS[:, 1])
    episodes = env.play(lambda pose: (target - pose) / SPEED, len(AREAS), 0)
    return episodes.reward, episodes.area


def test_a_script_attains_the_bound_of_every_area() -> None:
    distance = np.abs(np.clip(0.0, AREAS[:, 0], AREAS[:, 1])).max(1)
    assert (STEPS + 1 - np.ceil(distance / SPEED - 1e-9)).tolist() == BOUNDS
    reward, area = bang_bang(instance("point2d_goals"))
    assert area.tolist() == [0, 1, 2, 3]
    assert reward.tolist() == BOUNDS


def test_no_policy_exceeds_the_bound_of_its_area() -> None:
    env = instance("point2d_goals")
    episodes = env.episodes(genomes(env, 20_000), 0)
    rewarded = episodes.area >= 0
    assert rewarded.sum() > 100
    assert (episodes.reward[rewarded] <= np.array(BOUNDS)[episodes.area[rewarded]]).all()
    assert (episodes.reward[~rewarded] == 0).all()


def test_only_the_first_area_counts() -> None:
    path = [AREAS[2].mean(0)] * 16 + [AREAS[3].mean(0)] * 34  # 15 steps there; then on, and 16 more to the next
    steps = iter(path)
    episodes = instance("point2d_goals").play(lambda pose: (next(steps) - pose) / SPEED, 1, 0)
    assert episodes.area.tolist() == [2]
    assert 1 <= episodes.reward[0] <= 3


def test_only_the_end_counts() -> None:
    env = instance("point2d_goals_final")
    target = np.array([[0.025, -0.725], [0.025, -0.710], [0.0, 0.0]])
    episodes = env.play(lambda pose: (target - pose) / SPEED, 3, 0)
    np.testing.assert_allclose(episodes.reward, [1.0, 0.5, 0.0], atol=1e-9)
    assert episodes.area.tolist() == [2, 2, -1]


def test_the_picture_shows_where_the_point_is() -> None:
    env = instance("point2d_goals")
    target = np.array([[0.5, 0.25]])
    (view,) = env.play(lambda pose: (target - pose) / SPEED, 1, 1).views[0]
    row, column = np.nonzero((view == (0, 0, 255)).all(-1))
    assert 9 <= len(row) <= 16  # a disc of radius 2
    np.testing.assert_allclose([column.mean(), row.mean()], [47.5, 23.5], atol=0.51)
    assert (view == (255, 0, 0)).all(-1).sum() >= 4


def test_the_grid_covers_the_plane_and_nothing_is_lost() -> None:
    env = instance("point2d_goals")
    assert env.cells(np.array([[-1.0, -1.0], [1.0, 1.0], [-1.0, 1.0], [9.0, -9.0]])).tolist() == [
        0, BINS**2 - 1, BINS - 1, BINS**2 - BINS,
    ]  # fmt: skip


# -- an arm of twenty joints


def test_an_arm_at_rest_stays_and_is_legal() -> None:
    env = instance("redundant_arm")
    arm = joints(START[None])
    assert legal(arm, arm, np.zeros((1, 20))).all()
    np.testing.assert_allclose(np.linalg.norm(np.diff(arm[0], axis=0), axis=1), SEGMENT, rtol=1e-12)
    np.testing.assert_allclose(env.play(lambda angles: 0 * angles, 1, 0).outcome[0], arm[0, -1], rtol=1e-12)


def test_a_joint_is_accelerated_by_half_the_action() -> None:
    """angle' = angle + speed dt + a / 2 dt^2, speed = (angle' - angle) / dt: after n substeps n (n + 1) / 4 a dt^2."""
    seen: list[np.ndarray] = []

    def act(observation: np.ndarray) -> np.ndarray:
        seen.append(observation.copy())
        return np.eye(1, 20)

    RedundantArm("arm", 6).play(act, 1, 0)
    moved = [(angles[0, 0] * np.pi - START[0]) / 0.01**2 for angles in seen]
    np.testing.assert_allclose(moved, [n * (n + 1) / 4 for n in range(0, 12, 2)], atol=1e-9)


def test_what_an_arm_may_not_do() -> None:
    straight = joints(np.eye(1, 20) * 0.3)  # through the room's border? no: 1 long from the middle
    still = np.zeros((1, 20))
    assert not legal(straight, straight, still).any()
    arm = joints(START[None])
    assert not legal(arm, arm, still + 1.5).any()  # too fast
    folded = START.copy()
    folded[10] += np.pi  # back onto itself
    assert not legal(arm, joints(folded[None]), still).any()


def test_a_wall_is_in_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = np.zeros((1, 20))
    turns[0, [0, 7, 12]] = -np.pi / 2, np.pi / 2, np.pi / 2  # to the right into a wall, up, and back
    arm = joints(turns)
    assert not legal(arm, arm, np.zeros((1, 20))).any()
    monkeypatch.setattr(redundant_arm, "WALLS", np.zeros((0, 4)))
    assert legal(arm, arm, np.zeros((1, 20))).all()


def test_an_arm_that_ends_early_stays_where_it_was() -> None:
    env = instance("redundant_arm")
    longer = instance("redundant_arm", steps=250)
    curl = lambda angles: np.ones_like(angles)  # noqa: E731  it winds itself up until it touches itself
    one, other = env.play(curl, 1, 1), longer.play(curl, 1, 1)
    np.testing.assert_array_equal(one.outcome, other.outcome)
    np.testing.assert_array_equal(one.views, other.views)
    assert len(CENTRES) == 3


# -- simulators that know one episode at a time


def box2d() -> Any:
    pytest.importorskip("Box2D", reason="env=curling needs the extra box2d")
    return instance("curling", steps=120)


def test_a_ball_that_nobody_touches_stays() -> None:
    episodes = box2d().play(lambda _: np.zeros((1, 2)), 1, 0)
    np.testing.assert_allclose(episodes.outcome, [[-0.5, 0.2]], atol=1e-6)


def test_an_arm_pushes_the_ball_away() -> None:
    env = instance("curling") if box2d() else None
    assert env is not None
    seen: list[np.ndarray] = []

    def turn(observation: np.ndarray) -> np.ndarray:
        seen.append(observation[0].copy())
        return np.array([[1.0, 1.0]])

    episodes = env.play(turn, 1, 3)
    reward, area, outcome, views = (each[0] for each in vars(episodes).values())
    angles = np.array(seen)[:, 2:4]
    assert np.abs(angles[:, 0]).max() <= 0.4 * np.pi + 0.02
    assert np.abs(angles[:, 1]).max() <= 0.9 * np.pi + 0.02
    np.testing.assert_allclose(angles[30], [0.5, 0.5], atol=0.02)  # a radian a second, half a second
    assert np.linalg.norm(outcome - [-0.5, 0.2]) > 0.2
    assert (np.abs(outcome) <= 1.36).all()
    assert (area >= 0) == (reward > 0)
    assert views.shape == (3, PIXELS, PIXELS, 3)


def test_episodes_in_several_processes_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    env = box2d()
    one = env.episodes(genomes(env, 5), 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    two = env.episodes(genomes(env, 5), 1)
    for name in ("reward", "area", "outcome", "views"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_the_ant_stands_in_its_corner() -> None:
    env = instance("ant_obstacles", steps=20)
    episodes = env.play(lambda _: np.zeros((1, 8)), 1, 1)
    np.testing.assert_allclose(episodes.outcome, [[-25, -25]], atol=0.3)
    assert (episodes.reward[0], episodes.area[0]) == (0.0, -1)
    assert (episodes.views[0, 0] == 0).all(-1).sum() > 200  # walls


@pytest.mark.parametrize(
    ("start", "direction", "distance"),
    [
        ((-25.0, -25.0), (-1.0, 0.0), 4.7),  # the border
        ((-25.0, 20.0), (1.0, 0.0), 9.7),  # the inner walls, each from its side
        ((0.0, -25.0), (0.0, 1.0), 9.7),
        ((20.0, -15.0), (-1.0, 0.0), 9.7),
        ((-25.0, 38.0), (1.0, 0.0), 64.7),  # past the end of one
    ],
)
def test_walls_are_where_they_belong(
    start: tuple[float, float], direction: tuple[float, float], distance: float
) -> None:
    model = arena()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    hit = np.zeros(1, np.int32)
    found = mujoco.mj_ray(model, data, np.array([*start, 1.8]), np.array([*direction, 0.0]), None, 1, -1, hit)
    assert found == pytest.approx(distance)


def test_without_box2d_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlbench.envs.curling.find_spec", lambda _: None)
    with pytest.raises(Exception, match=r"env=curling needs Box2D: pip install 'rlbench\[box2d\]'"):
        instance("curling").require()
