"""TD3: against a torch.nn reference that plays its own episodes; the best policy of a known problem."""

from typing import Any

import pytest
import torch

from tests.algos.delayed import PlainTD3
from tests.algos.helpers import build, exact_and_independent
from tests.algos.point import POINT

SMALL: dict[str, Any] = {"hidden_dims": [32, 16], "batch_size": 16, "start_steps": 20}


def test_matches_reference() -> None:
    td3 = build("td3", POINT, (0, 5), exploration_noise=0.3, **SMALL)
    plains = [PlainTD3(td3, k, seed) for k, seed in enumerate((0, 5))]
    metrics = td3.train(60)
    for k, plain in enumerate(plains):
        plain.train(60, lambda episodes: episodes.minibatch(16))
        plain.check(metrics, td3.params)
        assert metrics["train/return"][k].item() == pytest.approx(plain.episodes.last_return, rel=1e-5)


def test_actor_waits_for_its_turn_whatever_the_chunks() -> None:
    td3 = build("td3", POINT, policy_freq=3, **SMALL)
    td3.train(20)
    moved = []
    for _ in range(9):
        before = td3.params["actor"]["0.weight"].clone()
        td3.train(1)
        moved.append(not torch.equal(before, td3.params["actor"]["0.weight"]))
    assert [20 + i for i, change in enumerate(moved, start=1) if change] == [21, 24, 27]


def test_learns_the_best_policy() -> None:
    """Each of three seeds loses less than a tenth of what doing nothing loses."""
    rates: dict[str, Any] = dict.fromkeys(("actor_learning_rate", "critic_learning_rate"), 1e-3)
    small: dict[str, Any] = {"hidden_dims": [32, 32], "batch_size": 64, "start_steps": 200, "tau": 0.02}
    td3 = build("td3", POINT, (0, 1, 2), steps=2000, **small, **rates)
    td3.train(2000)
    best = td3.task.evaluate(lambda state: (-2 * state).clamp(-1, 1))["eval/return"]
    idle = td3.task.evaluate(torch.zeros_like)["eval/return"]
    reached = td3.evaluate()["eval/return"]
    assert (best - idle > 1.0).all()
    assert (best - reached < 0.1 * (best - idle)).all(), (best, reached)


def test_exact_and_independent() -> None:
    exact_and_independent("td3", POINT, (23, 18), hidden_dims=[16], batch_size=8, start_steps=15)
