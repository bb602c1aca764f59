"""The canonical table."""

import numpy as np
import pytest

from rlbench.data.transitions import Transitions


def six_rows() -> Transitions:
    """Three episodes of rows: two that end, of 2 and 3 rows, and one row of an unfinished third."""
    observation = np.arange(12.0).reshape(6, 2)
    reward = np.array([1.0, 2, 3, 4, 5, 6])
    terminated, truncated = np.array([[0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 0]])
    return Transitions.of_columns(observation, -observation[:, :1], reward, observation + 1, terminated, truncated)


def test_columns_are_views_of_one_matrix() -> None:
    data = six_rows()
    assert data.table.shape == (6, 8)
    assert data.table.dtype == np.float32
    for column in (data.observation, data.action, data.reward, data.next_observation, data.terminated, data.truncated):
        assert np.shares_memory(column, data.table)
    np.testing.assert_array_equal(data.next_observation, data.observation + 1)
    np.testing.assert_array_equal(data.action[:, 0], -data.observation[:, 0])
    np.testing.assert_array_equal(data.terminated, [0, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(data.truncated, [0, 0, 0, 0, 1, 0])


def test_episodes_end_at_flags_and_the_last_may_be_unfinished() -> None:
    data = six_rows()
    np.testing.assert_array_equal(data.episode_starts, [0, 2, 5])
    assert data.episode_starts.dtype == np.int64
    np.testing.assert_array_equal(data.episode, [0, 0, 1, 1, 1, 2])
    np.testing.assert_array_equal(data.step, [0, 1, 0, 1, 2, 0])
    np.testing.assert_array_equal(data.episode_returns(), [3, 12, 6])
    np.testing.assert_array_equal(data.finished, [True, True, False])
    statistics = data.statistics()
    assert statistics["episodes"] == 3
    assert statistics["finished_episodes"] == 2
    assert statistics["return"]["mean"] == 7.5
    assert statistics["length"]["max"] == 3


def test_fingerprint_is_of_the_content() -> None:
    data, other = six_rows(), six_rows()
    assert data.fingerprint == other.fingerprint
    other.table[3, 2] += 1
    assert other.hash() != data.fingerprint
    split = Transitions(np.zeros((1, 8), np.float32), 2, 1).hash()
    assert split != Transitions(np.zeros((1, 8), np.float32), 1, 3).hash()


def test_a_table_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[N, 8\]"):
        Transitions(np.zeros((3, 7), np.float32), 2, 1)
