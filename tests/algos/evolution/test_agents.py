"""Novelty, local competition, Pareto fronts and crowding against what their definitions say, one by one."""

import numpy as np
import pytest

from rlbench.algos.evolution.agents import Agents, crowding, fronts, local_competition, nobody, novelty
from tests.algos.evolution.searches import agents, problem, search


def brute_force(of: Agents, reference: Agents, k: int) -> list[float]:
    found = []
    for number, place in zip(of.id, of.behaviour, strict=True):
        others = {int(i): b for i, b in zip(reference.id, reference.behaviour, strict=True) if i != number}
        nearest = sorted(float(np.sqrt(((place - other) ** 2).sum())) for other in others.values())[:k]
        found.append(sum(nearest) / len(nearest) if nearest else 0.0)
    return found


@pytest.mark.parametrize("k", [1, 15, 500])
@pytest.mark.parametrize("width", [2, 10])
def test_novelty_is_what_a_loop_says(k: int, width: int) -> None:
    rng = np.random.default_rng(0)
    population, archive = agents(rng.normal(size=(60, width))), agents(rng.normal(size=(40, width)), 60)
    reference = Agents.joined(population, archive)
    np.testing.assert_allclose(novelty(population, reference, k), brute_force(population, reference, k), rtol=1e-12)


def test_who_is_in_the_archive_too_is_nobodys_neighbour_twice_nor_its_own() -> None:
    population = agents(np.array([[0.0, 0.0], [1.0, 0.0], [5.0, 0.0]]))
    reference = Agents.joined(population, population[:1], population[:1])
    assert novelty(population, reference, 1).tolist() == [1.0, 1.0, 4.0]
    assert novelty(population, reference, 2).tolist() == [3.0, 2.5, 4.5]


def test_a_stranger_to_the_reference_is_measured_against_all_of_it() -> None:
    reference, stranger = agents(np.array([[0.0, 0.0], [1.0, 0.0]])), agents(np.array([[0.0, 0.0]]), 7)
    assert novelty(stranger, reference, 1).tolist() == [0.0]
    assert novelty(stranger, reference, 2).tolist() == [0.5]


def test_without_others_nothing_is_novel() -> None:
    alone = agents(np.zeros((1, 2)))
    assert novelty(alone, alone, 15).tolist() == [0.0]
    assert novelty(alone, nobody(3), 15).tolist() == [0.0]


def test_fronts_are_what_peeling_says() -> None:
    rng = np.random.default_rng(1)
    scores = np.concatenate([rng.normal(size=(20, 2)), rng.integers(0, 3, (20, 2))])
    left, expected, number = set(range(len(scores))), np.full(len(scores), -1), 0
    while left:
        front = [i for i in left if not any(dominates(scores[j], scores[i]) for j in left)]
        expected[front], number = number, number + 1
        left -= set(front)
    assert fronts(scores).tolist() == expected.tolist()


def dominates(a: np.ndarray, b: np.ndarray) -> bool:
    return all(x >= y for x, y in zip(a, b, strict=True)) and any(x > y for x, y in zip(a, b, strict=True))


def test_crowding_by_hand() -> None:
    scores = np.array([[0.0, 4.0], [1.0, 3.0], [4.0, 0.0], [2.0, 1.0]])
    assert crowding(scores).tolist() == [np.inf, 2 / 4 + 3 / 4, np.inf, 3 / 4 + 3 / 4]


def rich_and_poor() -> Agents:
    """Three agents that earn much, and far from them three that earn little, on a line."""
    both = agents(np.array([[0.0], [1.0], [3.0], [20.0], [22.0], [26.0]]))
    both.reward = np.array([0.9, 0.8, 0.7, 0.1, 0.2, 0.3])
    return both


def test_local_competition_by_hand() -> None:
    both = rich_and_poor()
    assert local_competition(both, both, 2).tolist() == [2, 1, 0, 0, 1, 2]
    assert local_competition(both, both, 3).tolist() == [3, 2, 1, 0, 1, 2]
    assert local_competition(both, both, 15).tolist() == [5, 4, 3, 0, 1, 2]
    again = Agents.joined(both, both[4:], both[:1])
    assert local_competition(both, again, 2).tolist() == [2, 1, 0, 0, 1, 2]


def test_who_earns_as_much_is_not_beaten_and_of_equally_near_ones_the_oldest_competes() -> None:
    four = agents(np.array([[0.0], [1.0], [-1.0], [1.0]]))
    four.reward = np.array([0.5, 0.5, 0.1, 0.2])
    assert local_competition(four, four, 1).tolist() == [0, 1, 0, 0]
    assert local_competition(four, four, 2).tolist() == [1, 1, 0, 0]
    assert local_competition(four[:1], four[::-1], 1).tolist() == [0]


@pytest.mark.parametrize(
    ("name", "order"),
    [
        # Novelty is 2, 1.5, 2.5, 4, 3, 5; with local competition the fronts are 5; 0, 3, 4; 1, 2.
        ("nslc", [5, 0, 3, 4, 1, 2]),
        # With rewards themselves they are 0, 2, 5; 1, 3, 4.
        ("nsga2_ns", [0, 5, 2, 1, 3, 4]),
    ],
)
def test_who_survives_by_hand(name: str, order: list[int]) -> None:
    algorithm = search(name, problem("point2d_goals"), neighbours=2)
    (s,) = algorithm.searches
    both = rich_and_poor()
    both.novelty = novelty(both, both, 2)
    s.population, s.offspring = both[:2], both[2:]
    assert algorithm.selection(s, both).tolist() == order


def test_stax_may_trade_novelty_against_surprise() -> None:
    algorithm = search("stax", problem("point2d_goals"), survival="pareto")
    (s,) = algorithm.searches
    five = agents(np.zeros((5, 1)))
    five.novelty, five.surprise = np.array([1.0, 3.0, 5.0, 3.5, 0.0]), np.array([6.0, 2.0, 0.5, 1.5, 5.0])
    assert algorithm.selection(s, five).tolist() == [0, 2, 1, 3, 4]  # only 0 dominates: 4; 1 has more room than 3
