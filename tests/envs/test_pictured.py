"""Environments of pictures: the states behind them, what they show, and what they keep to themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rlbench import config
from rlbench.envs import drawing, point_maze
from rlbench.envs.drawing import Canvas, cannot_draw
from rlbench.envs.pictured import Pictured
from rlbench.errors import RunError

NAMES = ["pendulum_pixels", "pointmaze2d_sparse_pixels"]


def pictured(name: str, *words: str) -> Pictured:
    env = config.instantiate(config.compose(["algo=sac", f"env={name}", *words]).env)
    assert isinstance(env, Pictured)
    return env


@pytest.mark.parametrize("name", NAMES)
def test_what_happens_is_what_happens_to_the_states(name: str) -> None:
    env = pictured(name, "env.size=32")
    views, plain = env.make(), env.plain.make()
    assert views.observation_space.shape == (9, 32, 32)
    assert views.observation_space.dtype == np.uint8
    assert (env.dims()[0], env.row_dims()[0], env.time_limit()) == (9 * 32 * 32, 3, env.plain.time_limit())
    (first, _), (state, _) = views.reset(seed=3), plain.reset(seed=3)
    frames = [first[:3], first[:3], first[:3]]
    np.testing.assert_array_equal(first, np.concatenate(frames))
    rng = np.random.default_rng(0)
    for _ in range(10):
        action = rng.uniform(-1, 1, env.dims()[1]).astype(np.float32)
        seen, *rest = views.step(action)
        state, *expected = plain.step(action)
        assert rest == expected  # reward, ends and info, in which no state is
        assert views.observation_space.contains(seen)
        np.testing.assert_array_equal(views.state, state)  # type: ignore[attr-defined]
        frames.append(seen[-3:])
        np.testing.assert_array_equal(seen, np.concatenate(frames[-3:]))
    assert len({frame.tobytes() for frame in frames}) == 11


def test_the_pendulum_is_where_its_angle_says() -> None:
    """The centre of what is red, seen from the pivot, is half way to the tip."""
    views = pictured("pendulum_pixels").make()
    rng = np.random.default_rng(0)
    for seed in range(5):
        seen, _ = views.reset(seed=seed)
        for _ in range(20):
            seen = views.step(rng.uniform(-1, 1, 1).astype(np.float32))[0]
        weight = 255.0 - seen[-1]
        place = (np.arange(64) + 0.5) / 64 * 2.5 - 1.25
        centre = np.array([(weight * place).sum(), (weight.T * -place).sum()]) / weight.sum()
        cosine, sine, _ = views.state  # type: ignore[attr-defined]
        np.testing.assert_allclose(centre, [-sine / 2, cosine / 2], atol=0.01)


def test_a_bar_covers_what_it_should() -> None:
    """Its area, to a pixel's edge, wherever it lies between the pixels."""
    for shift in (0.0, 0.3, 0.77):
        canvas = Canvas((0.0, 0.0), (32.0, 32.0), 1, 32)
        start = np.array([[8.0 + shift, 9.0 - shift]])
        canvas.bars(start, start + np.array([12.0, 5.0]), 2.0, drawing.BLACK)
        covered = (1 - canvas.views[0, :, :, 0] / 255.0).sum()
        assert covered == pytest.approx(2 * 2.0 * 13 + np.pi * 4, rel=0.01)


def test_goal_wall_and_point_of_the_maze() -> None:
    views = pictured("pointmaze2d_sparse_pixels").make()
    seen, _ = views.reset(seed=0)
    picture = seen[-3:].transpose(1, 2, 0)

    def at(place: Any) -> tuple[int, ...]:
        x, y = place
        return tuple(picture[int((1 - y) * 32), int((x + 1) * 32)])

    assert at(point_maze.GOAL) == drawing.RED
    assert at((0.0, 0.5)) == at((0.0, -0.5)) == drawing.BLACK
    assert at((0.0, 0.7)) == at((0.2, 0.5)) == drawing.WHITE
    assert at(views.state) == drawing.BLUE  # type: ignore[attr-defined]


def test_networks_take_pictures_as_they_are() -> None:
    from rlbench.build import build

    task: Any = build(config.compose(["algo=sac", "env=pendulum_pixels", "env.size=15", "steps=10", "hardware=cpu"]))[1]
    seen, _ = pictured("pendulum_pixels", "env.size=15").make().reset(seed=0)
    given = task.features(torch.tensor(seen.reshape(1, 1, -1), dtype=torch.float32))
    assert given.dtype == torch.uint8
    np.testing.assert_array_equal(given[0, 0], seen.ravel())


def test_metaworld_is_seen_or_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("metaworld", reason="the extra metaworld is not installed")
    import mujoco

    env = pictured("mw_drawer_open_pixels")
    try:
        views, other = env.make(), env.make()
    except RunError as error:
        pytest.skip(str(error))
    first, _ = views.reset(seed=1)
    np.testing.assert_array_equal(other.reset(seed=1)[0], first)  # one renderer, each its own scene
    moved = [views.step(np.array([1, 1, 0, 0], dtype=np.float32))[0] for _ in range(4)][-1]
    assert (moved[-3:] != first[-3:]).mean() > 0.01
    np.testing.assert_array_equal(other.reset(seed=1)[0], first)
    assert (other.reset(seed=2)[0] != first).mean() > 0.01

    def fails(*_: Any) -> None:
        raise RuntimeError("no such\ndevice")

    monkeypatch.setattr(mujoco, "Renderer", fails)
    monkeypatch.setattr(drawing, "renderers", {})
    with pytest.raises(RunError, match=r"cannot be drawn here \(no such device.*MUJOCO_GL=osmesa") as raised:
        env.make()
    assert "\n" not in str(raised.value)
    assert cannot_draw(ValueError()).startswith("this environment cannot be drawn here (ValueError;")
