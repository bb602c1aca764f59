"""Rows as training draws them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rlbench import config
from rlbench.build import build
from rlbench.data.export import to_d4rl
from rlbench.data.sampling import LINE, Minibatches
from rlbench.data.transitions import Transitions
from rlbench.rng import SeedStreams

ROWS = 3000
ALGORITHMS = ("bc", "td3_bc", "iql", "cql", "sac_n", "edac", "rebrac")


@pytest.fixture
def recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Hopper rows without a meaning, each an episode of its own that terminated."""
    monkeypatch.setenv("RLBENCH_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    states = rng.normal(size=(ROWS, 11))
    columns = states, rng.uniform(-1, 1, (ROWS, 3)), rng.normal(size=ROWS), states, np.ones(ROWS), np.zeros(ROWS)
    to_d4rl(Transitions.of_columns(*columns), tmp_path / "x.hdf5")
    return tmp_path / "x.hdf5"


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_data_reach_the_device_once_however_many_seeds(name: str, recording: Path) -> None:
    words = [f"algo={name}", "env=hopper", f"dataset=file:{recording}", "seeds=8", "algo.batch_size=4"]
    algorithm, task = build(config.compose(words))
    held = algorithm.minibatches.rows  # type: ignore[attr-defined]
    assert held.shape[0] == ROWS
    np.testing.assert_array_equal(held[:, 11:14], task.data.action)


def test_minibatches_are_rows_of_the_matrix_itself_drawn_anew_for_each_seed() -> None:
    rows = torch.arange(200.0).reshape(100, 2)
    batches = Minibatches(rows, 50, SeedStreams([0, 1, 2], "test", "cpu"), ahead=4)
    drawn = torch.stack([batches.next().clone() for _ in range(40)])
    np.testing.assert_array_equal(drawn[..., 0] % 2, torch.zeros(40, 3, 50))
    np.testing.assert_array_equal(drawn[..., 1], drawn[..., 0] + 1)
    counts = torch.stack(
        [torch.bincount((drawn[:, seed, :, 0] / 2).long().flatten(), minlength=100) for seed in range(3)]
    )
    assert counts.sum() == 3 * 40 * 50
    # Each row is expected 20 times in a seed; the chi-square of 99 degrees of freedom is within 5 standard deviations.
    chi = ((counts - 20.0) ** 2 / 20).sum(1)
    assert ((chi - 99).abs() < 5 * np.sqrt(2 * 99)).all()
    assert len({tuple(each.tolist()) for each in counts}) == 3


def test_rows_begin_with_a_line_of_the_cache() -> None:
    streams = SeedStreams([0], "test", "cpu")
    rows = torch.randn(100, 27)
    held = Minibatches(rows, 50, streams).rows
    assert held.stride() == (LINE * 2, 1)
    torch.testing.assert_close(held[:, :27], rows, rtol=0, atol=0)
    assert Minibatches(held, 50, streams).rows.data_ptr() == held.data_ptr()  # these do: not copied again


def test_each_seeds_own_rows_stay_its_own() -> None:
    rows = torch.stack([torch.full((10, 1), float(seed)) for seed in range(3)])
    batches = Minibatches(rows, 5, SeedStreams([0, 1, 2], "test", "cpu"))
    np.testing.assert_array_equal(batches.next()[..., 0], torch.arange(3.0)[:, None].expand(3, 5))
