"""Emitters' formulas on numbers that can be checked by hand."""

import numpy as np
import pytest

from rlbench.algos.evolution.emitters import improvement, spread, stagnant


def test_spread_is_a_third_of_the_way_to_the_nearest_other() -> None:
    genomes = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 12.0], [3.0, 4.0]])
    assert spread(0, genomes, 0.05) == pytest.approx(5 / 3)
    assert spread(2, genomes, 0.05) == pytest.approx(np.sqrt(9 + 64) / 3)
    assert spread(1, genomes, 0.05) == 0.05  # its twin is at distance 0


def test_improvement_is_between_the_first_and_the_last_three_populations() -> None:
    rewards = np.array([[0.0, 0.0], [0.0, 0.6], [0.0, 0.0], [0.5, 0.5], [0.6, 0.6], [1.0, 1.0]])
    assert improvement(rewards) == pytest.approx((0.5 + 0.6 + 1.0) / 3 - 0.1)
    assert improvement(rewards[::-1]) == 0.0
    assert improvement(np.full((6, 2), 0.3)) == 0.0


@pytest.mark.parametrize(("genes", "size", "window"), [(48, 6, 280), (6, 6, 140), (3, 4, 135)])
def test_stagnation_is_seen_when_the_window_is_full(genes: int, size: int, window: int) -> None:
    flat = np.ones((window + 1, size))
    assert not stagnant(flat, genes)  # `window` generations after the first population
    assert stagnant(np.ones((window + 2, size)), genes)


def test_who_rises_in_median_and_best_is_not_stagnant() -> None:
    rising = np.repeat(np.linspace(0, 1, 300)[:, None], 6, axis=1)
    assert not stagnant(rising, 48)
    best_stays = rising.copy()
    best_stays[25, 0] = 1.0  # 25 = 300 - 280 + 5: among the first twenty of the window
    assert stagnant(best_stays, 48)
    median_stays = np.concatenate([np.full((300, 5), 0.4), rising[:, :1]], axis=1)
    assert stagnant(median_stays, 48)
    before_the_window = rising.copy()
    before_the_window[19, 0] = 1.0
    assert not stagnant(before_the_window, 48)
