"""MOBILE: its inconsistency in a model written by hand, and where it enters the target."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch

from rlbench.data.sampling import Batch
from rlbench.errors import UsageError
from tests.algos.modelled import ROLLOUTS, TINY, build, composed, linear_model


def mobile(cache: Path, seeds: tuple[int, ...] = (0,), *words: str) -> Any:
    options = [f"algo.{word}" for word in ROLLOUTS]
    return build(composed("algo=mobile", *TINY, *options, *words), cache, seeds)


def written_by_hand(algorithm: Any, seeds: int) -> None:
    """Elite members 0 and 2 lead to s + (1, 0) and s + (3, 0); both target critics become Q = 10 s_0 and 10 s_0 + 1."""
    step = torch.tensor([[1.0, 0.0, 0.0], [50.0, 0.0, 0.0], [3.0, 0.0, 0.0]])
    algorithm.model = linear_model(step, torch.full((3, 3), 1e-6), inputs=4, elites=[0, 2], seeds=seeds)
    target = algorithm.params["target"]
    for value in target.values():
        value.zero_()
    for layer, scale in (("0", 1.0), ("1", 1.0), ("2", 10.0)):  # ReLU networks: positive inputs pass
        target[f"{layer}.weight"][:, 0, 0] = scale
    target["2.bias"][1::2] = 1.0


def batch(algorithm: Any, seeds: int) -> Batch:
    rows = algorithm.real + algorithm.imagined
    state = torch.rand(seeds, rows, 2) + 1
    zeros = torch.zeros(seeds, rows, 1)
    return Batch(state, torch.rand(seeds, rows, 2), zeros, state, zeros)


def test_inconsistency_is_the_deviation_of_the_elites_values(tmp_path: Path) -> None:
    algorithm = mobile(tmp_path, (0, 1))
    written_by_hand(algorithm, 2)
    given = batch(algorithm, 2)
    b = algorithm.inconsistency(given.observation, given.action)
    # values 10 (s_0 + 1) and 10 (s_0 + 3): standard deviation (n - 1) 20 / sqrt(2)
    torch.testing.assert_close(b, torch.full_like(b, 20 / 2**0.5), rtol=1e-3, atol=0)


def test_the_target_is_lowered_on_model_rows_alone_and_clipped(tmp_path: Path) -> None:
    for minimum in ("null", "0.0"):
        algorithm = mobile(tmp_path, (0,), "algo.penalty=2.0", f"algo.target_min={minimum}", "algo.gamma=0.5")
        written_by_hand(algorithm, 1)
        given = batch(algorithm, 1)
        plain = 0.5 * 10 * given.next_observation[..., :1]  # no entropy, the lesser critic
        y = algorithm.target(given)
        torch.testing.assert_close(y[:, :12], plain[:, :12])
        lowered = plain[:, 12:] - 2.0 * 20 / 2**0.5
        assert (lowered < 0).all()
        expected = lowered if minimum == "null" else torch.zeros_like(lowered)
        torch.testing.assert_close(y[:, 12:], expected, rtol=1e-3, atol=1e-3)


def test_published_settings_by_dataset() -> None:
    assert composed("algo=mobile").algo.target_min is None  # disc2d: rewards are negative
    assert composed("algo=mobile").algo.alpha is None


def test_chunks_and_a_reload_change_no_bit(tmp_path: Path) -> None:
    whole, parts = mobile(tmp_path, (0, 1)), mobile(tmp_path, (0, 1))
    metrics = whole.train(10)
    parts.train(6)
    resumed = mobile(tmp_path, (0, 1))
    resumed.load_state_dict(deepcopy(parts.state_dict()))
    for other in (parts, resumed):
        again = other.train(4)
        assert all(torch.equal(again[key], value) for key, value in metrics.items())


def test_a_seed_does_not_depend_on_the_seeds_beside_it(tmp_path: Path) -> None:
    both, alone = mobile(tmp_path, (3, 7)), mobile(tmp_path, (7,))
    both.train(8)
    alone.train(8)
    for group, params in alone.params.items():
        for name, value in params.items():
            torch.testing.assert_close(both.params[group][name][-len(value) :], value, rtol=1e-3, atol=1e-4)


def test_one_model_disagrees_with_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"algo\.dynamics\.elites=1"):
        mobile(tmp_path, (0,), "algo.dynamics.elites=1")


@pytest.mark.parametrize("alpha", [2.0, 0.3])
def test_a_fixed_temperature_is_what_it_is_fixed_to(tmp_path: Path, alpha: float) -> None:
    """A learned one is at most 1."""
    fixed = mobile(tmp_path, (0,), f"algo.alpha={alpha}")
    assert float(fixed.alpha) == pytest.approx(alpha)
    learned = mobile(tmp_path)
    learned.params["alpha"]["log_alpha"].fill_(1.0)
    assert float(learned.alpha) == 1
