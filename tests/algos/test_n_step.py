"""Rows over n steps against plain sums, from a dataset and from a ring that has gone round."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rlbench.algos.n_step import StepsReplay, over_steps
from rlbench.rng import SeedStreams

DIMS = (2, 1)
GAMMA = 0.9


def table(rows: int, seed: int) -> np.ndarray:
    """Observation, action, reward, next observation, terminated, over: episodes of one to seven rows; each state is the
    number of its row, each next state that number and a half."""
    rng = np.random.default_rng(seed)
    found = np.zeros((rows, 8))
    found[:, :2] = np.arange(rows)[:, None]
    found[:, 2], found[:, 3] = rng.uniform(-1, 1, rows), rng.normal(size=rows)
    found[:, 4:6] = np.arange(rows)[:, None] + 0.5
    ends = np.cumsum(rng.integers(1, 8, rows)) - 1
    ends = ends[ends < rows - 1]
    found[ends, 7] = 1
    found[ends[::2], 6] = 1  # the others are cut
    return found


def expected(rows: np.ndarray, first: int, n: int) -> np.ndarray:
    """By hand."""
    row, reward, discount, last = rows[first].copy(), 0.0, 1.0, first
    for step in range(n):
        last = first + step
        reward += GAMMA**step * rows[last, 3]
        discount = GAMMA ** (step + 1)
        if rows[last, 7] or last == len(rows) - 1:
            break
    row[3], row[4:6] = reward, rows[last, 4:6]
    # gamma (1 - d) is to be what the value of the next state is multiplied by
    row[6] = 1 - discount * (1 - rows[last, 6]) / GAMMA
    return row[:7]


@pytest.mark.parametrize("n", [1, 3, 5])
def test_rows_of_a_dataset(n: int) -> None:
    rows = table(60, n)
    given = torch.from_numpy(rows)
    found = over_steps(lambda place: given[place], torch.arange(60), 59, n, GAMMA, DIMS)
    np.testing.assert_allclose(found, [expected(rows, first, n) for first in range(60)], atol=1e-12)
    if n == 1:
        np.testing.assert_array_equal(found, rows[:, :7])


@pytest.mark.parametrize("added", [9, 47])
def test_rows_of_a_ring(added: int) -> None:
    tables = [table(added, seed) for seed in (1, 2)]
    replay = StepsReplay(2, 20, 7, n=3, gamma=GAMMA, dims=DIMS)
    for step in range(added):
        replay.add(torch.from_numpy(np.stack([each[step : step + 1] for each in tables])).float())
    found = replay.sample(500, SeedStreams((0, 1), "draws"))
    assert found.shape == (2, 500, 7)
    for rows, drawn in zip(tables, found.numpy(), strict=True):
        firsts = drawn[:, 0].astype(int)
        assert set(firsts) == set(range(max(0, added - 20), added))
        np.testing.assert_allclose(drawn, [expected(rows, first, 3) for first in firsts], atol=1e-5)
