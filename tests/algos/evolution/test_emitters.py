"""Emitters' formulas, and what they keep, on numbers that can be checked by hand."""

import copy
from typing import Any

import numpy as np
import pytest

from rlbench.algos.evolution.agents import Agents
from rlbench.algos.evolution.emitters import Emitter, improvement, spread, stagnant
from rlbench.conformance import loaded, same, saved
from tests.algos.evolution.searches import agents, problem, search


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


def on_a_line(places: list[float], rewards: list[float], first: int) -> Agents:
    """Agents that behave like numbers; their ids count from `first`."""
    found = agents(np.array(places, dtype=float)[:, None], first)
    found.reward = np.array(rewards)
    return found


@pytest.mark.parametrize(
    ("kind", "survivors"),
    [("fitness", [5, 9]), ("novelty", [6, 7])],  # novelty is 1, 5 and, of the tried, 4, 2, 0.5, 1
)
def test_who_survives_in_an_emitter(kind: str, survivors: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    algorithm = search("serene", problem("point2d_goals"), emitter=kind, emitter_population=2, neighbours=1)
    (s,) = algorithm.searches
    s.population = on_a_line([0, 10], [0, 0], 0)
    ancestor = on_a_line([3], [0.2], 3)
    ancestor.novelty[:] = 1.8
    population = on_a_line([1, 5], [0.9, 0.1], 5)
    tried = on_a_line([4, 2, 0.5, 9], [0.2, 0.3, 0.8, 0], 7)
    s.running = [Emitter(ancestor, 0.1, population, population.reward[None], 0.25, ancestor[:], s.offspring, None)]
    given: list[Any] = []

    def mutants(*arguments: Any) -> Agents:
        given.extend(arguments[2:])
        return tried

    monkeypatch.setattr(algorithm, "mutants", mutants)
    algorithm.follow(s)
    (emitter,) = s.running
    assert given == [2, 0.1, 3]  # mutants of each, with its spread, for its ancestor
    assert emitter.population.id.tolist() == survivors
    assert emitter.rewards[-1].tolist() == emitter.population.reward.tolist()
    assert s.rewarded.id.tolist() == [8, 9]  # each earns more than 0.25
    assert emitter.best == 0.8
    assert emitter.novel.id.tolist() == [7]  # 2 from 8, which is in the reward archive by now
    assert emitter.most_novel.id.tolist() == [7]


def test_an_emitter_may_be_the_packages_cma_es() -> None:
    cmaes = pytest.importorskip("cmaes", reason="the extra evolution")
    env = problem("point2d_goals_final", radius=0.5)
    small: dict[str, Any] = {"emitter": "cma_es", "population": 10, "chunk": 60}
    algorithm, again = (search("serene", env, **small) for _ in range(2))
    (s,) = algorithm.searches
    algorithm.train(70)
    first = max(s.candidates, key=lambda each: algorithm.rarity(s, [each])[0])
    seed, limits = int(copy.deepcopy(s.rng).integers(2**31)), np.tile([-5.0, 5.0], (env.controller.genes, 1))
    reference = cmaes.CMA(first.ancestor.genome[0], first.sigma, limits, seed=seed, population_size=6)
    for generation in range(4):
        algorithm.train(6)
        (emitter,) = s.running
        tried = emitter.population
        assert emitter.generations == generation
        assert tried.id.tolist() == [*range(70 + 6 * generation, 76 + 6 * generation)]
        assert set(tried.parent) == set(tried.ancestor) == {first.ancestor.id[0]}
        genomes = np.stack([reference.ask() for _ in range(6)])
        np.testing.assert_array_equal(tried.genome, genomes)
        reference.tell([(genome, -reward) for genome, reward in zip(genomes, tried.reward, strict=True)])
        if generation == 1:
            again.load_state_dict(loaded(saved(algorithm)))
    again.train(12)
    same(loaded(saved(again)), loaded(saved(algorithm)), "states")


def test_the_best_offspring_may_join_the_archive() -> None:
    for archiving in ("best", "random"):
        algorithm = search("serene", problem("point2d_goals"), archiving=archiving, additions=3)
        algorithm.train(300)
        (s,) = algorithm.searches
        best = s.offspring.id[np.argsort(-s.offspring.novelty, kind="stable")[:3]]
        assert (s.archive.id.tolist() == best.tolist()) == (archiving == "best")
