"""MOPO: penalised rollouts in a model written by hand, and the bookkeeping of model data."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rlbench.envs.control import Control
from rlbench.errors import UsageError
from tests.algos.modelled import ROLLOUTS, TINY, build, composed, linear_model


def mopo(cache: Path, seeds: tuple[int, ...] = (0,), *words: str, env: Control | None = None, steps: int = 1000) -> Any:
    options = [f"algo.{word}" for word in ROLLOUTS]
    return build(composed("algo=mopo", *TINY, *options, *words), cache, seeds, steps, env)


def everything(algorithm: Any) -> list[Tensor]:
    return [value for params in algorithm.params.values() for value in params.values()]


def test_rewards_are_lowered_by_the_largest_norm_of_all_members_standard_deviations(tmp_path: Path) -> None:
    algorithm = mopo(tmp_path, (0, 1), "algo.penalty=2.0")
    mean = torch.tensor([[0.1, 0.2, 7.0]] * 3)
    std = torch.tensor([[1e-4, 1e-4, 1e-4], [3.0, 0.0001, 4.0], [1e-4, 2e-4, 1e-4]])
    # The most uncertain member is no elite; its reward's deviation counts.
    algorithm.rollouts.model = linear_model(mean, std, inputs=4, elites=[0, 2], seeds=2)
    algorithm.rollouts.add()
    rows = algorithm.rollouts.rows[:, : 24 * 3]
    torch.testing.assert_close(rows[..., 4], torch.full((2, 72), 7.0 - 2.0 * 5.0), atol=3e-3, rtol=0)
    torch.testing.assert_close(rows[..., 5:7] - rows[..., :2], mean[0, :2].expand(2, 72, 2), atol=2e-3, rtol=0)
    torch.testing.assert_close(rows[:, 24:48, :2], rows[:, :24, 5:7])  # a step starts where the one before it ended
    assert algorithm.rollouts.mean_reward.tolist() == pytest.approx([-3.0, -3.0], abs=3e-3)


def test_rollouts_end_where_the_environment_would(tmp_path: Path) -> None:
    env = Control("far", "rlbench.envs.disc2d:Disc2D-v0", termination="halfcheetah")  # ends at |s| >= 100
    algorithm = mopo(tmp_path, (0, 1), env=env)
    step = torch.tensor([[60.0, 0.0, 1.0]] * 3)
    algorithm.rollouts.model = linear_model(step, torch.full((3, 3), 1e-4), inputs=4, elites=[0, 1], seeds=2)
    algorithm.rollouts.add()
    assert algorithm.rollouts.filled[:, 0].tolist() == [48, 48]  # of 72: the third step is never taken
    rows = algorithm.rollouts.rows[:, :48]
    assert rows[:, :24, -1].eq(0).all()
    assert rows[:, 24:, -1].eq(1).all()
    assert algorithm.rollouts.sample(500)[..., 5].gt(50).all()  # none of the buffer's empty rows


def test_an_environment_without_a_known_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="env=far does not say when its episodes end"):
        mopo(tmp_path, env=Control("far", "rlbench.envs.disc2d:Disc2D-v0"))


def test_the_newest_sets_are_kept_and_sampled_evenly(tmp_path: Path) -> None:
    algorithm = mopo(tmp_path, (0,))
    for reward in (1.0, 2.0, 3.0):
        mean = torch.tensor([[0.0, 0.0, reward]] * 3)
        algorithm.rollouts.model = linear_model(mean, torch.full((3, 3), 1e-6), inputs=4, elites=[0, 1])
        algorithm.rollouts.penalty = 0.0
        algorithm.rollouts.add()
    rewards = algorithm.rollouts.sample(4000)[0, :, 4].round()
    assert set(rewards.tolist()) == {2.0, 3.0}
    assert 0.46 < rewards.eq(2).float().mean() < 0.54


def test_minibatches_hold_five_percent_real_rows(tmp_path: Path) -> None:
    algorithm = mopo(tmp_path)
    assert (algorithm.real, algorithm.imagined) == (12, 244)


def test_the_actor_s_step_size_falls_along_a_cosine(tmp_path: Path) -> None:
    algorithm = mopo(tmp_path, steps=8)
    rates = []
    for _ in range(8):
        algorithm.train(1)
        rates.append(float(algorithm.actor_optimizer.rate))
    assert rates[0] == pytest.approx(1e-4)
    assert rates[4] == pytest.approx(0.5e-4)
    assert rates[7] < 0.05e-4


def test_chunks_and_a_reload_change_no_bit(tmp_path: Path) -> None:
    whole, parts = mopo(tmp_path, (0, 1)), mopo(tmp_path, (0, 1))
    metrics = whole.train(15)
    parts.train(11)
    resumed = mopo(tmp_path, (0, 1))
    resumed.load_state_dict(deepcopy(parts.state_dict()))
    for other in (parts, resumed):
        again = other.train(4)
        assert all(torch.equal(again[key], value) for key, value in metrics.items())
        assert all(torch.equal(a, b) for a, b in zip(everything(whole), everything(other), strict=True))
    size = sum(v.numel() for r in whole.state_dict()["parts"]["rollouts"]["recipes"] for v in r["actor"].values())
    assert size < whole.rollouts.rows.numel()  # recipes are saved, not rows


def test_a_seed_does_not_depend_on_the_seeds_beside_it(tmp_path: Path) -> None:
    both, alone = mopo(tmp_path, (3, 7)), mopo(tmp_path, (7,))
    both.train(12)
    alone.train(12)
    for group, params in alone.params.items():
        for name, value in params.items():
            torch.testing.assert_close(both.params[group][name][-len(value) :], value, rtol=1e-3, atol=1e-4)
