"""What is remembered of training is what a search would have found in the same episodes."""

from typing import Any

import numpy as np
import pytest
import torch

from rlbench.envs.point2d_goals import AREAS, SPEED
from rlbench.envs.policy_search import Episodes
from rlbench.envs.record import Findings, Record, uniformity
from rlbench.envs.training import TrainingEnvs
from tests.algos.evolution.searches import problem, search
from tests.envs.test_policy_search import BOUNDS


def test_findings_are_those_of_a_search_with_the_same_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    env = problem("point2d_goals_final", radius=0.2)
    played: list[Episodes] = []
    plain = type(env).episodes

    def episodes(self: Any, genomes: np.ndarray, views: int) -> Episodes:
        played.append(plain(self, genomes, views))
        return played[-1]

    monkeypatch.setattr(type(env), "episodes", episodes)
    algorithm = search("random_search", env, (0,), batch=150)
    algorithm.train(3000)
    record = Findings(env, 2)
    for each in played:
        record.add(1, each.reward, np.column_stack([each.area, each.outcome]))
    found, expected = record.metrics(), algorithm.evaluate()
    assert list(found) == list(expected)
    assert expected["eval/areas"][0] >= 3
    assert expected["eval/episodes"][0] == 3000
    for name, values in found.items():
        assert values[1] == pytest.approx(expected[name][0]), name
        assert values[0] == 0, name  # the other seed has found nothing


def test_what_did_not_end_is_no_episode() -> None:
    record = Findings(problem("point2d_goals"), 1)
    record.add(0, np.array([9.0, 3.0]), np.array([[np.nan] * 3, [2.0, 0.0, -0.7]]))
    found = record.metrics()
    assert (found["eval/episodes"][0], found["eval/best_reward_2"][0], found["eval/areas"][0]) == (1, 3, 1)


def test_a_script_attains_the_bound_step_by_step_and_is_remembered_over_a_break() -> None:
    """One seed goes to area 0 and then to area 2, a little beyond the border; cut in the second episode."""
    env = problem("point2d_goals")
    targets = [np.clip(0.0, AREAS[area, 0] + 1e-3, AREAS[area, 1] - 1e-3) for area in (0, 2)]

    def lived(envs: TrainingEnvs, first: int, last: int) -> None:
        for step in range(first, last):
            envs.step((targets[step // 50] - envs.observation) / SPEED)

    whole, before, after = (TrainingEnvs(env, [0], Findings(env, 1)) for _ in range(3))
    lived(whole, 0, 100)
    lived(before, 0, 70)
    after.load_state_dict(before.state_dict())
    lived(after, 70, 100)
    found = whole.record.metrics()
    assert [found[f"eval/best_reward_{area}"][0] for area in (0, 2)] == [BOUNDS[0], BOUNDS[2]]
    assert (found["eval/areas"][0], found["eval/episodes"][0]) == (2, 2)
    for name, value in after.record.tensors.items():
        assert torch.equal(value, whole.record.tensors[name])


def test_most_problems_remember_nothing() -> None:
    assert Record().metrics() == {}
    assert Record().tensors == {}


def test_uniformity_of_nothing_one_cell_and_all() -> None:
    assert uniformity(np.zeros(100)) == 0
    assert uniformity(np.full(100, 7)) == pytest.approx(1)
    one = uniformity(np.eye(1, 2)[0] * 9)  # p = (1, 0) and q = (1/2, 1/2)
    divergence = (np.log2(4 / 3) + 0.5 * np.log2(2 / 3) + 0.5 * np.log2(2)) / 2
    assert one == pytest.approx(1 - np.sqrt(divergence))
