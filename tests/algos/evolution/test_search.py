"""Searches: what they count, what they keep, and how well they find."""

from typing import Any

import numpy as np
import pytest

from rlbench.algos.evolution.novelty_search import NoveltySearch
from rlbench.choices import Choices
from rlbench.conformance import loaded, same, saved
from tests.algos.evolution.searches import problem, search

EASY = {"radius": 0.5}  # a fifth of all policies is rewarded
SMALL: dict[str, Any] = {"population": 10, "chunk": 60, "emitter_population": 4, "bootstrap": 4}
LEARNED: dict[str, Any] = {"max_epochs": 2, "features": 3}
ALL = [n for n in Choices().options("algo") if Choices().about("algo", n)["family"] == "evolution"]


def counting(env: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many episodes each call for episodes plays."""
    played: list[int] = []
    plain = type(env).episodes

    def episodes(self: Any, genomes: np.ndarray, views: int) -> Any:
        played.append(len(genomes))
        return plain(self, genomes, views)

    monkeypatch.setattr(type(env), "episodes", episodes)
    return played


@pytest.mark.parametrize("name", ALL)
def test_every_episode_is_counted_and_none_beyond_a_generation(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name in ("cma_es", "cma_me"):
        pytest.importorskip("cmaes", reason="the extra evolution")
    env = problem("point2d_goals_final", **EASY)
    played = counting(env, monkeypatch)
    # An encoder is to look at every end, which takes its time.
    changes: dict[str, Any] = {"max_epochs": 0, "population": 20} if name in ("stax", "taxons") else {}
    asked = 400 if changes else 3000
    algorithm = search(name, env, **changes)
    algorithm.train(asked)
    (s,) = algorithm.searches
    assert s.evaluations == sum(played) == s.visits.sum()
    assert asked <= s.evaluations < asked + max(played)
    assert s.evaluations - played[-1] < asked
    found = algorithm.evaluate()
    assert found["eval/areas"] == len(s.best)
    assert found["eval/best_reward"] == pytest.approx(s.best.reward.sum() / 4)
    again = env.episodes(s.best.genome, 0)
    np.testing.assert_allclose(again.reward, s.best.reward, rtol=1e-9)
    assert again.area.tolist() == s.best.area.tolist()


def test_emitters_pay_for_their_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk of exploration is five generations of 200; a trial is 6 + 5 * 12 episodes, while a third is left."""
    env = problem("point2d_goals_final", **EASY)
    played = counting(env, monkeypatch)
    algorithm = search("serene", env)
    algorithm.train(1100)
    assert played == [100] + 5 * [200]
    (s,) = algorithm.searches
    candidates = len(s.candidates)
    assert candidates > 20
    assert not s.exploring
    algorithm.train(66)
    assert played[6:] == [6] + 5 * [12]
    assert len(s.candidates) == candidates - 1
    algorithm.train(1000 - 66)
    trials = played[6:].count(6)
    assert trials == -(-667 // 66)  # at 660 there are 340 left, more than a third; at 726 no more
    assert s.exploring
    assert 1000 <= sum(played[6:]) < 1012


def test_an_emitter_keeps_as_novel_who_is_more_novel_than_its_ancestor() -> None:
    algorithm = search("serene", problem("point2d_goals_final", **EASY))
    algorithm.train(1100)
    (s,) = algorithm.searches
    measured = dict(zip(s.offspring.id, s.offspring.novelty, strict=True))
    candidates = [each for each in s.candidates if each.ancestor.id[0] in measured]
    assert len(candidates) > 5
    for candidate in candidates:
        assert (
            candidate.most_novel.novelty[0] == candidate.ancestor.novelty[0] == measured[candidate.ancestor.id[0]] > 0
        )
    algorithm.train(6)
    (emitter,) = s.running
    more = emitter.population.novelty > emitter.ancestor.novelty
    assert emitter.novel.id.tolist() == emitter.population.id[more].tolist()
    assert not more.all()


def test_novelty_search_does_not_see_rewards() -> None:
    poor, rich = (search("ns", problem("point2d_goals_final", radius=r)) for r in (1e-9, 0.5))
    for algorithm in (poor, rich):
        algorithm.train(1500)
    assert rich.evaluate()["eval/areas"] > poor.evaluate()["eval/areas"] == 0
    np.testing.assert_array_equal(poor.searches[0].population.genome, rich.searches[0].population.genome)


def test_the_reward_archive_holds_everyone_once_and_nobody_without_reward() -> None:
    algorithm = search("serene", problem("point2d_goals_final", **EASY))
    algorithm.train(5000)
    (s,) = algorithm.searches
    assert len(s.rewarded) > 50
    assert len(np.unique(s.rewarded.id)) == len(s.rewarded)
    assert (s.rewarded.reward > 0).all()
    assert s.emitters
    assert all(emitter.improvement > 0 for emitter in s.emitters if emitter.generations == 5)


@pytest.mark.parametrize("name", ["serene", pytest.param("stax", marks=pytest.mark.slow)])
def test_a_search_that_was_cut_anywhere_goes_on_to_the_same_bits(name: str) -> None:
    changes = SMALL | (LEARNED if name == "stax" else {})
    env = problem("point2d_goals_final", **EASY)
    whole = search(name, env, **changes)
    whole.train(400)
    assert whole.searches[0].emitters or whole.searches[0].running
    for cut in (95, 333):  # while a candidate is tried; among emitters
        first = search(name, env, **changes)
        first.train(cut)
        second = search(name, env, **changes)
        second.load_state_dict(loaded(saved(first)))
        second.train(400 - cut)
        same(loaded(saved(second)), loaded(saved(whole)), f"states, cut at {cut}")


def test_exported_tables_hold_the_genomes() -> None:
    algorithm = search("serene", problem("point2d_goals_final", **EASY))
    algorithm.train(1500)
    files = algorithm.files(0)
    assert files.keys() == {"best.csv", "archive.csv", "rewarded.csv"}
    names, *rows = (line.split(",") for line in files["best.csv"].splitlines())
    assert names[:7] == ["id", "parent", "ancestor", "area", "reward", "x", "y"]
    genomes = np.array([[float(v) for v in row[names.index("gene0") :]] for row in rows])
    rewards = [float(row[names.index("reward")]) for row in rows]
    np.testing.assert_allclose(problem("point2d_goals_final", **EASY).episodes(genomes, 0).reward, rewards, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_a_table_of_nobody_has_the_header_of_any_other(name: str) -> None:
    if name in ("cma_es", "cma_me"):
        pytest.importorskip("cmaes", reason="the extra evolution")
    changes: dict[str, Any] = {"max_epochs": 0, "population": 4} if name in ("stax", "taxons") else {}
    algorithm = search(name, problem("point2d_goals_final", **EASY), **changes)
    empty = algorithm.files(0)
    algorithm.train(60)
    full = algorithm.files(0)
    assert len(full["best.csv"].splitlines()) > 1
    headers = {text.splitlines()[0] for text in full.values()}
    assert [text.splitlines() for text in empty.values()] == [[*headers]] * len(full)


@pytest.mark.slow
def test_emitters_find_more_than_novelty_and_novelty_more_than_chance() -> None:
    """At most 1 in each of four areas; measured for seeds 0 to 9, see results/stax."""
    found, coverage = {}, {}
    for name in ("serene", "ns", "random_search"):
        algorithm = search(name, problem("point2d_goals_final"), (0, 1, 2))
        algorithm.train(20_000)
        coverage[name] = algorithm.evaluate()["eval/coverage"].min()
        algorithm.train(20_000)
        metrics = algorithm.evaluate()
        found[name] = metrics["eval/best_reward"].mean()
        if name == "serene":
            assert (metrics["eval/areas"] == 4).all()
    assert found["serene"] >= 0.75
    assert found["serene"] > found["ns"] > found["random_search"]
    assert coverage["ns"] >= 0.97
    assert coverage["serene"] >= 0.95


@pytest.mark.slow
def test_novelty_is_what_covers_the_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutation with survivors by chance; measured .72, .63 and .35."""
    monkeypatch.setattr(NoveltySearch, "selection", lambda _, s, agents: s.rng.permutation(len(agents)))
    algorithm = search("ns", problem("point2d_goals_final"), (0, 1, 2))
    algorithm.train(20_000)
    assert (algorithm.evaluate()["eval/coverage"] < 0.85).all()


@pytest.mark.slow
def test_stax_finds_areas_and_no_reward_beyond_what_can_be_had() -> None:
    """The bounds are those of tests/envs/test_policy_search.py: 51 less the fewest steps to each area."""
    algorithm = search("stax", problem("point2d_goals"), (0, 1), max_epochs=2)
    algorithm.train(1500)  # an encoder is trained after 1,100, then emitters have a turn
    metrics = algorithm.evaluate()
    assert algorithm.space.trainings == [1, 1]
    assert all(len(s.rewarded) > 0 for s in algorithm.searches)
    assert (metrics["eval/areas"] >= 1).all()
    for area, bound in enumerate((36, 32, 37, 37)):
        assert (metrics[f"eval/best_reward_{area}"] <= bound).all()
