"""Comparisons: the right runs in the right cells, their numbers, and the words that are drawn from them."""

import csv
import io
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from rlbench.analysis import arms, statistics
from rlbench.analysis.compare import Comparison, Pair, compare, evaluated
from rlbench.analysis.curves import curves
from rlbench.analysis.protocols import Protocol
from rlbench.analysis.results import Results
from rlbench.analysis.statistics import Interval
from rlbench.cli import main
from rlbench.errors import RunError, UsageError
from tests.analysis import synthetic
from tests.pace import budget

SHORT = ("steps=1000", "eval.every=50")
METRIC = "eval/normalized_score"


def of(root: Path, *words: str, protocol: str = "last", **how: Any) -> Comparison:
    results = Results(root, words)
    results.refresh()
    return compare(results, Protocol.of(protocol), **how)


def written(root: Path, algo: str, *words: str, level: float = 50.0, seeds: int = 4, **how: Any) -> None:
    synthetic.write_many(root, {(f"algo={algo}", *SHORT, *words): level}, range(seeds), **how)


def recorded(root: Path, algo: str, problem: str) -> dict[int, list[float]]:
    """Every evaluation of every seed, as the files have them."""
    found: dict[int, list[float]] = {}
    for path in sorted(root.glob(f"runs/{algo}/{problem}/*/metrics.jsonl")):
        for row in map(json.loads, path.read_text().splitlines()):
            found.setdefault(row["seed"], []).append(row[METRIC])
    return dict(sorted(found.items()))


# -- protocols ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "expected"),
    [("last", 9.0), ("last3", 8.0), ("best", 10.0), ("tail20%", 8.5), ("tail100%", 6.0), ("last11", None)],
)
def test_protocols_by_hand(word: str, expected: float | None) -> None:
    values = [1.0, 10.0, 3.0, 4.0, 5.0, 6.0, 6.0, 7.0, 8.0, 9.0]
    other = [2.0 * value for value in values]
    rows = [(7, seed, 100 * (k + 1), each[k]) for k in range(10) for seed, each in enumerate((values, other))]
    table = pl.DataFrame(rows, ["run", "seed", "step", "value"], orient="row")
    scores = Protocol.of(word).scores(table, pl.DataFrame({"run": [7], "steps": [1000]}))
    expected = sum(values) / 10 if word == "tail100%" else expected
    assert scores.rows() == [(7, 0, expected), (7, 1, expected and 2 * expected)]


@pytest.mark.parametrize("steps", [100, 100_000])
def test_a_tail_has_its_share_of_the_evaluations(steps: int) -> None:
    """Of 100 at equal distances, P for every P."""
    every = steps // 100
    table = pl.DataFrame({"run": 7, "seed": 0, "step": range(every, steps + 1, every), "value": np.arange(100.0)})
    for share in range(1, 101):
        scores = Protocol.of(f"tail{share}%").scores(table, pl.DataFrame({"run": [7], "steps": [steps]}))
        assert scores["score"].item() == np.arange(100.0)[-share:].mean()


@pytest.mark.parametrize("word", ["last", "last10", "tail5%", "best", "bandit50"])
def test_a_protocol_is_called_by_its_word(word: str) -> None:
    assert str(Protocol.of(word)) == word
    assert Protocol.of(word).title


@pytest.mark.parametrize("word", ["", "mean", "last0", "last10%", "tail10", "tail0%", "tail101%", "best3", "final"])
def test_no_protocol(word: str) -> None:
    with pytest.raises(UsageError, match="no protocol"):
        Protocol.of(word)


# -- cells -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["last", "last5", "best", "tail25%"])
def test_cells_are_what_the_runs_recorded(tmp_path: Path, protocol: str) -> None:
    written(tmp_path, "iql", level=60)
    synthetic.write(tmp_path, ["algo=bc", *SHORT, "seeds=3"], level=20)
    found = of(tmp_path, protocol=protocol)
    rules: dict[str, Callable[[list[float]], Any]] = {
        "last": lambda values: values[-1],
        "last5": lambda values: np.mean(values[-5:]),
        "best": max,
        "tail25%": lambda values: np.mean(values[-5:]),  # of 20
    }
    assert (found.metric, found.arms, found.tasks) == (METRIC, ["iql", "bc"], ["hopper-medium"])
    for algo in ("iql", "bc"):
        expected = {seed: rules[protocol](v) for seed, v in recorded(tmp_path, algo, "hopper-medium").items()}
        cell = found.cells[algo, "hopper-medium"]
        assert cell.seeds == pytest.approx(expected)
        assert cell.mean == statistics.interval(statistics.mean, [np.array(list(cell.seeds.values()))])
        assert (cell.median, cell.spread) == pytest.approx(
            (np.median(list(expected.values())), np.std(list(expected.values()), ddof=1))
        )


def test_a_seed_that_ran_twice_counts_once(tmp_path: Path) -> None:
    """Alone, and packed with others: the same experiment, the same seed, the same result up to rounding."""
    written(tmp_path, "iql", seeds=3)
    synthetic.write(tmp_path, ["algo=iql", *SHORT, "seed=1", "seeds=4"])
    found = of(tmp_path)
    assert list(found.cells["iql", "hopper-medium"].seeds) == [0, 1, 2, 3, 4]
    assert any("stand in two runs of an experiment, and count once: 2" in note for note in found.notes)


def test_what_is_unfinished_damaged_or_short_is_left_out_and_named(tmp_path: Path) -> None:
    written(tmp_path, "iql", seeds=3)
    broken = synthetic.write(tmp_path, ["algo=iql", *SHORT, "seed=7"])
    broken.metrics.write_text('{"step"\n' + broken.metrics.read_text())
    synthetic.write(tmp_path, ["algo=iql", *SHORT, "seed=8"], done=0.5)
    synthetic.write(tmp_path, ["algo=iql", *SHORT, "seed=9"], points=3)
    found = of(tmp_path, protocol="last5")
    assert list(found.cells["iql", "hopper-medium"].seeds) == [0, 1, 2]
    notes = "\n".join(found.notes)
    assert f"damaged, left out: {broken.path}: {broken.metrics}: line 1 is damaged" in notes
    assert "left out, not finished: 1 interrupted" in notes
    assert "fewer evaluations than last5 asks for: 1" in notes


def test_a_run_that_was_never_evaluated_has_no_say_in_the_metric(tmp_path: Path) -> None:
    written(tmp_path, "iql", seeds=2)
    silent = synthetic.write(tmp_path, ["algo=bc", *SHORT])
    silent.write_status(**{**silent.raw_status(), "score": None})
    silent.truncate(0)
    found = of(tmp_path)
    assert (found.metric, found.arms) == (METRIC, ["iql"])
    assert f"seeds left out, for they have no {METRIC}: 1" in found.notes
    assert "left out, without a score: bc on hopper-medium" in found.notes


def test_a_value_that_no_run_has_is_told_before_anything_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path))
    written(tmp_path, "td3_bc", seeds=2)
    written(tmp_path, "bc", seeds=2)
    for command in (["compare"], ["pack", str(tmp_path / "some.zip")]):
        assert main([*command, "hopper", "algo=bc,td3bc"]) == 2
        assert "algo=td3bc fits no run; did you mean td3_bc?" in capsys.readouterr().err
    assert not (tmp_path / "some.zip").exists()


def test_runs_can_be_looked_at_as_they_were(tmp_path: Path) -> None:
    written(tmp_path, "iql")
    synthetic.write(tmp_path, ["algo=iql", *SHORT, "seed=8"], done=0.5)
    synthetic.write(tmp_path, ["algo=iql", *SHORT, "seed=9"], done=0.2)
    found = of(tmp_path, at=500)
    everything = recorded(tmp_path, "iql", "hopper-medium")
    assert found.cells["iql", "hopper-medium"].seeds == {seed: everything[seed][9] for seed in (0, 1, 2, 3, 8)}
    tail = of(tmp_path, at=500, protocol="tail20%").cells["iql", "hopper-medium"]
    assert tail.seeds[8] == pytest.approx(np.mean(everything[8][8:10]))


def test_an_arm_without_a_score_is_left_out_of_everything_and_named(tmp_path: Path) -> None:
    written(tmp_path, "iql")
    written(tmp_path, "bc", points=5)
    synthetic.write(tmp_path, ["algo=cql", *SHORT, "seeds=2"], points=5)
    for how, missing in (
        ({"protocol": "last10"}, "fewer evaluations than last10 asks for: 6"),
        ({"at": 150}, f"no {METRIC} by step 150: 6"),
    ):
        found = of(tmp_path, **how)
        assert (found.arms, [*found.cells]) == (["iql"], [("iql", "hopper-medium")])
        assert {place.arm for place in found.where.values()} == {"iql"}
        assert set(found.runs["algo"]) == {"iql"}
        assert set(found.evaluations["run"]) == set(found.runs["run"]) == set(found.where)
        notes = "\n".join(found.notes)
        assert f"seeds left out, for they have {missing}" in notes
        assert "left out, without a score: bc on hopper-medium, cql on hopper-medium" in notes
    assert not [note for note in of(tmp_path).notes if "left out" in note]


def test_where_no_score_is_left_the_message_says_what_would_give_one(tmp_path: Path) -> None:
    written(tmp_path, "iql")
    with pytest.raises(
        UsageError, match=rf"no run has {METRIC} by step 49\nthe first evaluation is at step 50: --at 50"
    ):
        of(tmp_path, at=49)
    with pytest.raises(UsageError, match=r"as last30 asks for: the most is 20\nchoose another: --protocol last20"):
        of(tmp_path, protocol="last30")
    with pytest.raises(UsageError, match=r"evaluations by step 500 as last30 asks for: the most is 10"):
        of(tmp_path, protocol="last30", at=500)
    run = synthetic.write(tmp_path, ["algo=bc", *SHORT], done=0.5)
    run.append([{"step": 501, "seed": 0, "eval/success": 1.0}])  # of a run that is not compared
    with pytest.raises(UsageError, match=r"none of these runs has eval/success\nleave --metric out"):
        of(tmp_path, metric="eval/success")


def test_nothing_to_compare_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no finished run"):
        of(tmp_path)
    synthetic.write(tmp_path, ["algo=iql", *SHORT], done=0.5)
    with pytest.raises(UsageError, match="left out, not finished: 1 interrupted"):
        of(tmp_path)
    with pytest.raises(UsageError, match="no run has come to step 900"):
        of(tmp_path, at=900)


# -- arms and tasks ----------------------------------------------------------------------------------------------------


def test_settings_that_differ_make_arms(tmp_path: Path) -> None:
    for value in (0.7, 0.9):
        written(tmp_path, "iql", f"algo.expectile={value}", level=50 + 10 * value)
    written(tmp_path, "bc", level=20)
    found = of(tmp_path)
    assert found.arms == ["iql expectile=0.9", "iql expectile=0.7", "bc"]
    assert of(tmp_path, "algo=iql", by=["algo.expectile"]).arms == ["expectile=0.9", "expectile=0.7"]
    with pytest.raises(UsageError, match=r"would mix runs of iql .* differ in algo.expectile \(0.7, 0.9\)\nkeep one"):
        of(tmp_path, by=["algo"])
    with pytest.raises(UsageError, match=r"differ in algo \(bc, iql\).*\nkeep one, algo=bc, or add"):
        of(tmp_path, by=["steps"])
    with pytest.raises(UsageError, match=r"no run has this key\ndid you mean algo.expectile"):
        of(tmp_path, by=["algo.expectil"])


def test_names_say_no_more_than_tells_apart(tmp_path: Path) -> None:
    written(tmp_path, "iql", "steps=2000", "eval.every=100")
    written(tmp_path, "iql", "steps=1000", "eval.every=50")
    found = of(tmp_path)
    assert set(found.arms) == {"iql steps=1000", "iql steps=2000"}
    assert any("also differ in eval.every" in note for note in found.notes)
    written(tmp_path, "iql", "steps=2000", "eval.every=50")  # the length alone tells no longer
    assert "iql steps=2000 eval.every=50" in of(tmp_path).arms


def test_what_changes_no_result_makes_no_arm(tmp_path: Path) -> None:
    written(tmp_path, "iql", seeds=2)
    synthetic.write(tmp_path, ["algo=iql", *SHORT, "seed=2", "hardware.threads=2", "log.every=7", "tracking=disabled"])
    assert len(of(tmp_path).cells["iql", "hopper-medium"].seeds) == 3


def test_settings_tuned_to_a_task_make_no_arm_and_are_told(tmp_path: Path) -> None:
    written(tmp_path, "rebrac", "dataset=medium")
    written(tmp_path, "rebrac", "dataset=medium_replay")
    found = of(tmp_path)
    assert found.arms == ["rebrac"]
    assert "rebrac: actor_bc_coef, critic_bc_coef differ between tasks" in found.notes


def test_a_simulator_that_settings_tell_is_not_named_beside_them(tmp_path: Path) -> None:
    written(tmp_path, "iql", "env.id=Hopper-v5", meta={"simulator": "Hopper-v5, MuJoCo 3.4.0"})
    written(tmp_path, "iql", "env.id=Hopper-v4")
    assert of(tmp_path).tasks == ["hopper-medium env.id=Hopper-v4", "hopper-medium env.id=Hopper-v5"]
    written(tmp_path, "iql", "env.id=Hopper-v5", seeds=5, meta={"simulator": "Hopper-v5, MuJoCo 3.5.0"})
    assert len(of(tmp_path).tasks) == 3


@pytest.mark.parametrize(
    ("meta", "label"),
    [
        ({"simulator": "Hopper-v4, MuJoCo 3.5.0"}, "simulator=Hopper-v4,MuJoCo 3.5.0"),
        ({"dataset": {"fingerprint": "0123456789abcdef"}}, "fingerprint=01234567"),
    ],
)
def test_another_simulator_or_data_set_is_another_row(tmp_path: Path, meta: dict[str, Any], label: str) -> None:
    written(tmp_path, "iql", seeds=3)
    synthetic.write(tmp_path, ["algo=iql", *SHORT, "seed=7"], meta=meta)
    found = of(tmp_path)
    assert len(found.tasks) == 2
    assert [task for task in found.tasks if label in task]
    assert found.cells["iql", next(task for task in found.tasks if label in task)].seeds.keys() == {7}
    assert any("hopper-medium is more than one task, kept apart" in note for note in found.notes)


@pytest.mark.parametrize(("words", "key"), [(["dataset.size=1000"], "dataset.size"), (["env.id=Hopper-v5"], "env.id")])
def test_other_settings_of_data_or_environment_are_another_row(tmp_path: Path, words: list[str], key: str) -> None:
    written(tmp_path, "iql", seeds=3)
    synthetic.write(tmp_path, ["algo=iql", *SHORT, "seed=7", *words])
    assert [task for task in of(tmp_path).tasks if f"{key}={words[0].partition('=')[2]}" in task]


def test_arms_may_be_data_sets(tmp_path: Path) -> None:
    written(tmp_path, "iql", "dataset=medium", level=40)
    written(tmp_path, "iql", "dataset=expert", level=80, meta={"dataset": {"fingerprint": "e" * 16}})
    found = of(tmp_path, by=["dataset"])
    assert found.arms == ["dataset=expert", "dataset=medium"]
    assert found.pairs[0].enough


SMALL = ("dataset.size=1000",)
OTHER = {"dataset": {"fingerprint": "0123456789abcdef"}}
NEWER = {"simulator": "Hopper-v4, MuJoCo 3.5.0"}


@pytest.mark.parametrize("protocol", ["last", "bandit40"])
@pytest.mark.parametrize(
    ("by", "words", "meta", "key", "advice"),
    [
        ("dataset", SMALL, OTHER, "dataset.size", "keep one, dataset.size=1000, or add it: "),
        ("dataset", (), OTHER, "fingerprint", "keep one, fingerprint=0123456789abcdef, or add it: "),
        ("dataset.size", (), OTHER, "fingerprint", "keep one, fingerprint=0123456789abcdef, or add it: "),
        ("env", (), NEWER, "simulator", "add it: "),
        ("env", ("env.id=Hopper-v5",), NEWER, "env.id", "keep one, env.id=Hopper-v4, or add it: "),
    ],
)
def test_arms_mix_no_data_and_no_simulators(
    tmp_path: Path, protocol: str, by: str, words: tuple[str, ...], meta: dict[str, Any], key: str, advice: str
) -> None:
    written(tmp_path, "iql", level=80, seeds=3)
    synthetic.write_many(tmp_path, {("algo=iql", *SHORT, *words): 20.0}, range(3, 6), meta=meta)
    for place, path in enumerate(tmp_path.glob("runs/iql/*/*")):
        keep(path, [place], np.ones((1, 2)))
    with pytest.raises(UsageError, match=rf"--by {by} would mix .* differ in {key} \(") as refused:
        of(tmp_path, protocol=protocol, by=[by])
    assert str(refused.value).endswith(f"\n{advice}--by {by},{key}")
    found = of(tmp_path, protocol=protocol, by=[by, key])
    assert sorted(len(cell.scores) for cell in found.cells.values()) == [3, 3]


def test_what_is_to_be_kept_is_said_as_a_filter_takes_it(tmp_path: Path) -> None:
    for value in ("false", "true"):
        written(tmp_path, "iql", f"algo.normalize_rewards={value}")
    with pytest.raises(UsageError, match=r"\(false, true\)\nkeep one, algo.normalize_rewards=false, or"):
        of(tmp_path, by=["algo"])
    assert of(tmp_path, "algo.normalize_rewards=false", by=["algo"]).arms == ["iql"]


def test_arms_may_be_data_sets_or_environments_on_several_tasks(tmp_path: Path) -> None:
    for env in ("hopper", "walker2d"):
        for data in ("medium", "expert"):
            meta = {"simulator": f"{env}, MuJoCo 3.4.0", "dataset": {"fingerprint": f"{env} {data}"}}
            written(tmp_path, "iql", f"env={env}", f"dataset={data}", seeds=2, meta=meta)
    found = of(tmp_path, by=["dataset"])
    assert {*found.arms} == {"dataset=medium", "dataset=expert"}
    assert {task.partition(" ")[0] for task in found.tasks} == {"hopper", "walker2d"}
    assert [len(cell.scores) for cell in found.cells.values()] == [2] * 4
    assert {*of(tmp_path, by=["env"]).arms} == {"env=hopper", "env=walker2d"}
    assert {*of(tmp_path, by=["algo"]).arms} == {"iql"}


def test_what_else_differs_between_arms_is_told(tmp_path: Path) -> None:
    written(tmp_path, "iql")
    written(tmp_path, "bc", "steps=2000")
    assert any("also differ in steps: bc 2000; iql 1000" in note for note in of(tmp_path).notes)
    for by in ([], ["algo"], ["algo", "dataset"]):  # that algorithms have settings of their own goes without saying
        assert [note for note in of(tmp_path, by=by).notes if "also differ in " in note and "steps" not in note] == []


def test_a_metric_that_not_all_have_is_not_chosen(tmp_path: Path) -> None:
    written(tmp_path, "iql")
    run = synthetic.write(tmp_path, ["algo=bc", *SHORT])
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    run.metrics.write_text("".join(json.dumps({k: v for k, v in row.items() if k != METRIC}) + "\n" for row in lines))
    assert of(tmp_path).metric == "eval/return"
    found = of(tmp_path, metric=METRIC)
    assert found.arms == ["iql"]
    assert f"seeds left out, for they have no {METRIC}: 1" in found.notes
    assert "left out, without a score: bc on hopper-medium" in found.notes
    with pytest.raises(UsageError, match="no run has a metric eval/x\nthere are eval/"):
        of(tmp_path, metric="eval/x")


# -- over tasks, and pairs ---------------------------------------------------------------------------------------------


def two_tasks(root: Path, gap: float = 20.0, seeds: int = 5) -> None:
    for dataset, level in (("medium", 40.0), ("expert", 80.0)):
        written(root, "iql", f"dataset={dataset}", level=level + gap, seeds=seeds)
        written(root, "bc", f"dataset={dataset}", level=level, seeds=seeds)


def test_over_tasks(tmp_path: Path) -> None:
    two_tasks(tmp_path)
    written(tmp_path, "bc", "dataset=mixed")
    found = of(tmp_path)
    assert found.common == ["hopper-expert", "hopper-medium"]
    assert any("hopper-mixed is left out" in note and "no iql there" in note for note in found.notes)
    scores = [np.array([v[-1] for v in recorded(tmp_path, "iql", task).values()]) for task in found.common]
    (iql,) = [each for each in found.aggregates if each.arm == "iql"]
    assert iql.mean == statistics.interval(statistics.mean, scores)
    assert iql.iqm == statistics.interval(statistics.iqm, scores)
    assert iql.gap == statistics.interval(lambda s: statistics.optimality_gap(s, 100.0), scores)
    (pair,) = found.pairs
    assert (pair.arm, pair.other, pair.tasks, pair.seeds) == ("iql", "bc", 2, (5, 5))
    assert pair.improvement.value == 1.0
    assert pair.difference is not None
    assert pair.difference.value == pytest.approx(20, abs=6)
    assert [each.task for each in found.task_pairs] == ["hopper-expert", "hopper-medium"]


def test_the_seed_of_the_bootstrap_is_honoured(tmp_path: Path) -> None:
    two_tasks(tmp_path)
    assert of(tmp_path, seed=3).pairs == of(tmp_path, seed=3).pairs
    assert of(tmp_path, seed=3).pairs != of(tmp_path, seed=4).pairs


def test_returns_are_not_averaged_over_tasks(tmp_path: Path) -> None:
    two_tasks(tmp_path)
    found = of(tmp_path, metric="eval/return")
    assert found.aggregates == []
    (pair,) = found.pairs
    assert (pair.difference, pair.improvement.value, pair.enough) == (None, 1.0, True)
    assert "by" not in pair.sentence().partition(";")[0].split()


def test_arms_are_in_the_order_of_their_ranks_where_tasks_have_scales_of_their_own(tmp_path: Path) -> None:
    """One is the best on two tasks of three, and loses more points on the third than it gains on both."""
    for dataset, iql, bc in (("medium", 3.0, 2.0), ("expert", 3.0, 2.0), ("mixed", 20.0, 90.0)):
        written(tmp_path, "iql", f"dataset={dataset}", level=iql, spread=0.01)
        written(tmp_path, "bc", f"dataset={dataset}", level=bc, spread=0.01)
    assert of(tmp_path, metric="eval/return").arms == ["iql", "bc"]
    assert of(tmp_path, metric=METRIC).arms == ["bc", "iql"]


def sentence(x: list[np.ndarray], y: list[np.ndarray]) -> str:
    return Pair(
        "a", "b", "t" if len(x) == 1 else None, len(x), (len(x[0]),) * 2, (len(y[0]),) * 2,
        Interval(1.0, 0.5, 1.5), Interval(0.8, 0.7, 0.9), statistics.permutation_test(x, y),
        statistics.seeds_needed(x, y),
    ).sentence()  # fmt: skip


def test_arms_that_are_equal_are_level(tmp_path: Path) -> None:
    for algo in ("iql", "bc"):
        written(tmp_path, algo, level=50, spread=0.0)
    for path in tmp_path.glob("runs/*/*/*/metrics.jsonl"):  # one score, whatever the seed
        path.write_text(re.sub(rf'("{METRIC}": )[-\d.e]+', r"\g<1>7.0", path.read_text()))
    (pair,) = of(tmp_path).pairs
    assert pair.sentence() == f"{pair.arm} and {pair.other} are level on hopper-medium; n = 4 and 4 seeds"


def test_words_say_whether_it_is_enough() -> None:
    rng = np.random.default_rng(0)
    near, far = ([rng.normal(shift, 1, 8)] for shift in (0.0, 5.0))
    assert sentence(far, near) == (
        "a beats b by 1.00 [0.50, 1.50] on t; P(improvement) = 0.80 [0.70, 0.90]; n = 8 and 8 seeds; p < 0.001: "
        "enough to tell"
    )
    three = sentence([far[0][:3]], [near[0][:3]])
    assert three.startswith("a is ahead of b by")
    assert ": not enough to tell (some 4 seeds each would tell a difference of this size)" in three
    close = sentence([near[0] + 0.01], near)
    assert "over 1,000 seeds each" in close
    assert "one seed says nothing" in sentence([np.array([1.0])], [np.array([0.0])])


def test_pairs_are_corrected_for_their_number(tmp_path: Path) -> None:
    for algo, level in (("iql", 60.0), ("bc", 50.0), ("td3_bc", 55.0)):
        written(tmp_path, algo, level=level, seeds=6)
    found = of(tmp_path)
    alone = [statistics.permutation_test(found.scores(p.arm), found.scores(p.other)) for p in found.pairs]
    assert [pair.p for pair in found.pairs] == statistics.holm(alone)


def test_many_pairs_alone_hide_no_verdict(tmp_path: Path) -> None:
    """528 pairs: with 10,000 permutations each, p would be 0.053 at least."""
    for arm in range(33):
        written(tmp_path, "iql", f"algo.expectile={0.5 + arm / 100}", level=20.0 + 5 * arm, seeds=9, points=1, spread=1)
    found = of(tmp_path)
    assert len(found.pairs) == 528
    assert all(pair.enough for pair in found.pairs)


def test_where_seeds_are_too_few_for_the_pairs_the_sentence_says_so(tmp_path: Path) -> None:
    """Five a side have 252 arrangements, of which two are the rarest: 2 / 252 times 10 is above 0.05."""
    for arm in range(5):
        written(tmp_path, "iql", f"algo.expectile={0.5 + arm / 10}", level=20.0 + 20 * arm, seeds=5, points=1, spread=1)
    found = of(tmp_path)
    assert all(pair.p == pair.floor == pytest.approx(20 / 252) for pair in found.pairs)
    says = "not enough to tell (so few seeds tell nothing among 10 pairs, whatever their scores: it takes some 6 each)"
    assert all(pair.sentence().endswith(says) for pair in found.pairs)
    assert all(pair.enough for pair in found.task_pairs)
    written(tmp_path, "bc", level=0.0, seeds=8, points=1, spread=1)  # its pairs are told, and leave the others fewer
    found = of(tmp_path)
    assert all(pair.enough == ("bc" in (pair.arm, pair.other)) for pair in found.pairs)
    assert all(pair.floor == pytest.approx(20 / 252) for pair in found.pairs if not pair.enough)


def test_one_seed_has_no_interval(tmp_path: Path) -> None:
    written(tmp_path, "iql", seeds=1)
    written(tmp_path, "bc", seeds=1, level=20)
    found = of(tmp_path)
    assert math.isnan(found.cells["iql", "hopper-medium"].mean.low)
    assert math.isnan(found.pairs[0].improvement.low)
    assert not found.pairs[0].enough


# -- bandit ------------------------------------------------------------------------------------------------------------


def keep(path: Path, seeds: list[int], episodes: np.ndarray) -> None:
    content = {"simulator": synthetic.SIMULATOR, "seeds": seeds, "values": {METRIC: episodes.tolist()}}
    (path / "episodes.json").write_text(json.dumps(content))


def test_bandit_chooses_among_all_settings_of_an_algorithm(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    episodes = []
    for expectile, level in ((0.7, 30.0), (0.9, 60.0)):
        run = synthetic.write(tmp_path, ["algo=iql", *SHORT, f"algo.expectile={expectile}", "seeds=2"])
        episodes.append(rng.normal(level, 10, (2, 25)))
        keep(run.path, [0, 1], episodes[-1])
    found = of(tmp_path, protocol="bandit40", by=["algo"])
    cell = found.cells["iql", "hopper-medium"]
    table = np.concatenate(episodes)
    assert sorted(cell.scores) == pytest.approx(sorted(table.mean(1)))
    assert cell.mean.value == pytest.approx(table.mean(1).max(), abs=3)
    assert found.pairs == []


def test_a_bandit_has_a_seed_that_ran_twice_once_among_its_policies(tmp_path: Path) -> None:
    """Alone, and packed with others: one policy."""
    levels = np.array([90.0, 60.0, 30.0])[:, None]
    packed = synthetic.write(tmp_path, ["algo=bc", *SHORT, "seeds=3"])
    keep(packed.path, [0, 1, 2], levels.repeat(5, 1))
    before = of(tmp_path, protocol="bandit40")
    keep(synthetic.write(tmp_path, ["algo=bc", *SHORT, "seed=1"]).path, [1], levels[1:2].repeat(5, 1))
    found = of(tmp_path, protocol="bandit40")
    assert sorted(found.cells["bc", "hopper-medium"].scores) == [30.0, 60.0, 90.0]
    assert found.cells["bc", "hopper-medium"].mean == before.cells["bc", "hopper-medium"].mean
    assert "seeds that stand in two runs of an experiment, and count once: 1" in found.notes


def test_a_bandit_looks_at_the_end_alone(tmp_path: Path) -> None:
    keep(synthetic.write(tmp_path, ["algo=bc", *SHORT]).path, [0], np.ones((1, 5)))
    assert of(tmp_path, protocol="bandit40").arms == ["bc"]
    with pytest.raises(UsageError, match=r"--at 500 says nothing to a bandit.*\nleave it out"):
        of(tmp_path, protocol="bandit40", at=500)


def test_bandit_says_how_to_get_episodes(tmp_path: Path) -> None:
    written(tmp_path, "iql", seeds=2)
    with pytest.raises(RunError, match=r"2 of 2 runs have none kept: for run in \w+ \w+; do rlbench eval \$run --keep"):
        of(tmp_path, protocol="bandit", by=["algo"])


# -- curves ------------------------------------------------------------------------------------------------------------


def test_curves(tmp_path: Path) -> None:
    two_tasks(tmp_path)
    synthetic.write(tmp_path, ["algo=iql", *SHORT, "seed=9", "dataset=medium"], done=0.5)
    results = Results(tmp_path)
    results.refresh()
    rows = results.runs.to_dicts()
    places, _ = arms.places(rows)
    where = {row["run"]: place for row, place in zip(rows, places, strict=True)}
    evaluations = evaluated(results, results.runs, METRIC, None)
    found = {(each.arm, each.task): each for each in curves(evaluations, where, statistics.mean)}
    assert found.keys() == {(arm, task) for arm in ("iql", "bc") for task in ("hopper-medium", "hopper-expert")}
    curve = found["iql", "hopper-medium"]
    values = recorded(tmp_path, "iql", "hopper-medium")
    assert curve.steps.tolist() == list(range(50, 1001, 50))
    assert curve.seeds.tolist() == [6] * 10 + [5] * 10
    for place in (0, 9, 10, 19):
        there = [each[place] for each in values.values() if len(each) > place]
        assert curve.value[place] == pytest.approx(np.mean(there))
        assert curve.low[place] < curve.value[place] < curve.high[place]
    (bc, iql) = curves(evaluations, where, statistics.iqm, over_tasks=True, points=5)
    assert (bc.arm, iql.arm, iql.task, iql.tasks) == ("bc", "iql", None, ("hopper-expert", "hopper-medium"))
    assert iql.steps.tolist() == [50, 300, 550, 750, 1000]
    ends = [np.array([v[19] for v in recorded(tmp_path, "iql", t).values() if len(v) == 20]) for t in iql.tasks]
    assert iql.value[-1] == pytest.approx(statistics.iqm(ends))


# -- the verb ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path))
    return tmp_path


def test_verb_for_a_person(results: Path, capsys: Any) -> None:
    two_tasks(results)
    assert main(["compare"]) == 0
    shown = capsys.readouterr().out
    assert f"{METRIC}: last evaluation" in shown
    assert "over 2 tasks" in shown
    assert "iql beats bc by" in shown
    scores = of(results).cells["iql", "hopper-medium"].seeds
    assert " ".join(f"{score:.2f}" for score in scores.values()) in shown


def test_verb_for_a_page(results: Path, capsys: Any) -> None:
    two_tasks(results)
    found = of(results)
    assert main(["compare", "--markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"`{METRIC}`: last evaluation; mean [95 %] over 5 seeds."
    table = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines if line.startswith("|")]
    assert table[0] == ["", "hopper-expert", "hopper-medium"]
    for arm, *cells in table[2:4]:
        for task, cell in zip(table[0][1:], cells, strict=True):
            mean = found.cells[arm, task].mean
            assert cell == f"{mean.value:.2f} [{mean.low:.2f}, {mean.high:.2f}]"
    assert table[4][0] == "over 2 tasks"
    assert f"- {found.pairs[0].sentence()}" in lines
    assert main(["compare", "--markdown", "dataset=medium"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"`{METRIC}`: last evaluation, on hopper-medium."
    assert lines[2] == "|  | n | mean [95 %] | median | IQM [95 %] | sd | seeds |"
    seeds = found.cells["iql", "hopper-medium"].seeds.values()
    assert lines[4].endswith(f"| {' '.join(f'{score:.2f}' for score in seeds)} |")
    assert main(["compare", "--markdown", "algo=iql"]) == 0  # more tasks than arms: those go down the page
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "|  | iql |"
    assert [line.split(" | ")[0] for line in lines[4:6]] == ["| hopper-expert", "| hopper-medium"]
    mean = found.cells["iql", "hopper-medium"].mean
    assert lines[5] == f"| hopper-medium | {mean.value:.2f} [{mean.low:.2f}, {mean.high:.2f}] |"


def test_verb_for_programs(results: Path, capsys: Any) -> None:
    two_tasks(results)
    found = of(results)
    assert main(["compare", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    cells = {(cell["arm"], cell["task"]): cell for cell in content["cells"]}
    assert cells["bc", "hopper-expert"]["mean"]["value"] == found.cells["bc", "hopper-expert"].mean.value
    assert content["pairs"][0]["words"] == found.pairs[0].sentence()
    assert main(["compare", "--plain"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out), delimiter="\t"))
    table = {(row["task"], row["arm"], row["other"], row["statistic"]): row for row in rows}
    assert len(table) == len(rows)
    assert float(table["*", "iql", "", "iqm"]["low"]) == pytest.approx(found.aggregates[0].iqm.low)
    assert float(table["hopper-medium", "bc", "", "seed 3"]["value"]) == pytest.approx(
        found.cells["bc", "hopper-medium"].seeds[3]
    )
    assert float(table["*", "iql", "bc", "improvement"]["value"]) == 1.0
    assert float(table["hopper-medium", "iql", "bc", "p"]["value"]) < 0.05


def test_verb_without_intervals_is_json_still(results: Path, capsys: Any) -> None:
    written(results, "iql", seeds=1)
    assert main(["compare", "--json"]) == 0
    (cell,) = json.loads(capsys.readouterr().out)["cells"]
    assert (cell["mean"]["low"], cell["sd"]) == (None, None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--protocol", "final"], "no protocol 'final'"),
        (["--at", "0"], "--at 0: a step"),
        (["algo.gama=1"], "no run has a key 'algo.gama'"),
        (["--metrics", "x"], "did you mean --metric?"),
    ],
)
def test_verb_refuses(results: Path, words: list[str], said: str, capsys: Any) -> None:
    written(results, "iql", seeds=1)
    assert main(["compare", *words]) == 2
    assert said in capsys.readouterr().err


def test_verb_needs_neither_torch_nor_hydra(results: Path) -> None:
    written(results, "iql", seeds=2)
    code = "import sys; from rlbench.cli import main; main(['compare']); print('MODULES', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert not {"torch", "hydra", "omegaconf"} & set(done.stdout.partition("MODULES ")[2].split())


@pytest.mark.slow
def test_verb_with_a_thousand_runs_in_time(results: Path) -> None:
    """1,000 runs of 1,000 evaluations: 2.5 s of the processor's time on a quiet machine."""
    synthetic.thousand(results)
    with budget(4):
        subprocess.run([sys.executable, "-m", "rlbench", "compare"], check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize(
    ("commits", "told"),
    [
        ({"bc": "a", "iql": "b"}, "bc aaaaaaa; iql bbbbbbb"),
        ({"bc": "ab", "iql": "b"}, "bc several; iql bbbbbbb"),
        ({"bc": "a", "iql": "a"}, None),
        ({"bc": "ab", "iql": "ab"}, None),
        ({"bc": "a", "iql": ""}, None),
    ],
)
def test_arms_of_different_commits_are_told_to_a_reader(
    commits: dict[str, str], told: str | None, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path))
    for algo, letters in commits.items():
        for seed, letter in enumerate(letters or " "):
            meta = {"git": {"commit": letter * 40} if letter.strip() else {}}
            level = 60.0 if algo == "bc" else 40.0
            synthetic.Experiment(tmp_path, [f"algo={algo}", *SHORT], level, meta=meta).run(seed)

    def said(*words: str) -> tuple[str, str]:
        assert main(["compare", *words]) == 0
        heard = capsys.readouterr()
        return " ".join(heard.out.split()), heard.err

    note = f"the arms come from different commits of rlbench: {told}"
    shown, (plain, aside) = said()[0], said("--plain")
    assert (note in shown, f"note: {note}\n" in aside) == (told is not None,) * 2
    assert "commits" not in plain + said("--markdown")[0] + (shown + aside if told is None else "")
