"""Metrics of which low values are good: every verdict, mark and order turns round with them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlbench.analysis import compare as comparing
from rlbench.analysis import figures
from rlbench.analysis.compare import Comparison, compare
from rlbench.analysis.contents import contents
from rlbench.analysis.protocols import Protocol
from rlbench.analysis.report import render
from rlbench.analysis.results import Results
from rlbench.analysis.table import Scores
from rlbench.cli import main
from rlbench.errors import UsageError
from rlbench.tracking.rundir import RunDir
from tests.analysis.synthetic import Experiment

COST = "eval/cost"
TASK = "hopper-medium"
LOW, HIGH = [1.0, 2.0, 6.0, 3.0], [4.0, 5.0, 7.0, 2.5]  # of each seed: 12 of the 16 pairs have the first one lower


def write(
    root: Path, last: Mapping[str, Sequence[float]], metric: str = COST, meta: Mapping[str, Any] | None = None
) -> list[RunDir]:
    """A run a seed, of evaluations that go through 0.5 above and 0.5 below to what they end at."""
    runs = []
    for algo, values in last.items():
        experiment = Experiment(root, [f"algo={algo}", "steps=300", "eval.every=100"], meta=meta)
        for seed, value in enumerate(values):
            run = experiment.run(seed)
            curve = {100: value + 0.5, 200: value - 0.5, 300: value}
            rows = [{"step": step, "seed": seed, metric: each} for step, each in curve.items()]
            run.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
            score = {"metric": metric, "step": 300, "values": {str(seed): value}}
            run.write_status(**{**run.raw_status(), "score": score})
            runs.append(run)
    return runs


def of(root: Path, protocol: str = "last", **how: Any) -> Comparison:
    results = Results(root)
    results.refresh()
    return compare(results, Protocol.of(protocol), **how)


def test_the_lower_one_is_better(tmp_path: Path) -> None:
    write(tmp_path, {"bc": HIGH, "iql": LOW})
    found = of(tmp_path)
    assert (found.metric, found.cost, found.arms) == (COST, True, ["iql", "bc"])
    assert found.cells["iql", TASK].mean.value == 3.0  # costs are shown as they are
    (pair,) = found.pairs
    assert (pair.arm, pair.other) == ("iql", "bc")
    assert pair.improvement.value == 12 / 16
    assert pair.difference is not None
    assert pair.difference.value == 4.625 - 3.0
    assert pair.sentence().startswith("iql is ahead of bc by 1.62 [")
    assert contents(found)["lower_is_better"] is True


def test_costs_are_gains_with_the_sign_turned(tmp_path: Path) -> None:
    """Every number that is said of two arms is that of their negative costs."""
    rng = np.random.default_rng(0)
    costs = {algo: list(rng.normal(level, 1, 6)) for algo, level in (("iql", 3.0), ("bc", 5.0), ("cql", 4.5))}
    write(tmp_path / "costs", costs)
    write(tmp_path / "gains", {algo: [-each for each in values] for algo, values in costs.items()}, "eval/gain")
    cost, gain = of(tmp_path / "costs"), of(tmp_path / "gains")
    assert cost.arms == gain.arms == ["iql", "cql", "bc"]
    assert [(p.arm, p.other) for p in cost.pairs] == [("iql", "cql"), ("iql", "bc"), ("cql", "bc")]
    assert cost.pairs == gain.pairs
    assert cost.task_pairs == gain.task_pairs


def test_the_best_evaluation_is_the_lowest(tmp_path: Path) -> None:
    write(tmp_path, {"iql": LOW})
    assert list(of(tmp_path, "best").cells["iql", TASK].seeds.values()) == [each - 0.5 for each in LOW]
    results = Results(tmp_path)
    results.refresh()
    (ours,) = Scores(results).of(results.runs.to_dicts(), "best", COST)  # what `rlbench table` shows
    assert list(ours.scores.values()) == [each - 0.5 for each in LOW]


def test_the_gap_is_what_lies_above_the_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(comparing.TARGETS, COST, 2.0)
    write(tmp_path, {"iql": LOW})
    found = of(tmp_path)
    found.tasks, found.common = [TASK, TASK], [TASK, TASK]
    comparing.aggregate(found, 0)
    (each,) = found.aggregates
    assert each.gap is not None
    assert each.gap.value == pytest.approx(np.maximum(np.array(LOW) - 2.0, 0).mean())
    assert each.gap.low <= each.gap.value <= each.gap.high


def test_a_bandit_looks_for_the_lowest(tmp_path: Path) -> None:
    runs = write(tmp_path, {"iql": [1.0, 9.0, 5.0]})
    for run, level in zip(runs, (1.0, 9.0, 5.0), strict=True):
        content = {"simulator": "", "seeds": [run.rows()[0]["seed"]], "values": {COST: [[level] * 5]}}
        (run.path / "episodes.json").write_text(json.dumps(content))
    cell = of(tmp_path, "bandit20").cells["iql", TASK]
    assert (cell.mean.value, cell.mean.low, cell.mean.high) == (1.0, 1.0, 1.0)


def test_a_declaration_counts_more_than_a_name(tmp_path: Path) -> None:
    write(tmp_path / "up", {"bc": HIGH, "iql": LOW}, meta={"metric_directions": {COST: "higher"}})
    assert of(tmp_path / "up").arms == ["bc", "iql"]
    write(
        tmp_path / "down", {"bc": HIGH, "iql": LOW}, "eval/delay", meta={"metric_directions": {"eval/delay": "lower"}}
    )
    assert of(tmp_path / "down").arms == ["iql", "bc"]


def test_runs_that_disagree_are_not_compared(tmp_path: Path) -> None:
    write(tmp_path, {"bc": HIGH})
    write(tmp_path, {"iql": LOW}, meta={"metric_directions": {COST: "higher"}})
    with pytest.raises(
        UsageError, match=r"which values of eval/cost are better differs between the runs \(higher, lower\)"
    ):
        of(tmp_path)


def test_what_is_neither_good_nor_bad_is_higher_and_not_better(tmp_path: Path) -> None:
    write(tmp_path, {"bc": HIGH, "iql": LOW}, "eval/q_policy")
    found = of(tmp_path)
    assert found.arms == ["bc", "iql"]
    assert found.name == "eval/q_policy (neither way is better)"
    (pair,) = found.pairs
    assert pair.sentence().startswith("bc is higher than iql by 1.62 [")
    assert "; P(higher) = 0.75 [" in pair.sentence()
    assert "not enough to tell" in pair.sentence()
    assert "of a higher value" in figures.encoded(figures.improvements(found), "svg").decode()
    assert (contents(found)["better"], contents(found)["lower_is_better"]) == ("neither", False)
    write(tmp_path / "apart", {"bc": [9.0, 9.1, 9.2, 9.3, 9.4], "iql": [1.0, 1.1, 1.2, 1.3, 1.4]}, "eval/q_policy")
    (pair,) = of(tmp_path / "apart").pairs
    assert pair.sentence().startswith("bc is higher than iql by 8.00 [")
    assert pair.sentence().endswith(": enough to tell")


def test_figures_and_pages_say_which_way_it_goes(tmp_path: Path) -> None:
    write(tmp_path, {"bc": HIGH, "iql": LOW})
    found = of(tmp_path)
    (axes,) = figures.profiles(found).axes
    thresholds, shares = axes.lines[0].get_data()
    shares = np.asarray(shares)
    expected = [(np.array(LOW) < threshold).mean() for threshold in np.asarray(thresholds)]
    assert shares.tolist() == pytest.approx(expected)  # the first line is the better arm's
    assert (shares[0], shares[-1]) == (0, 1)
    names = [label.get_text() for label in figures.intervals(found).axes[0].get_yticklabels()]
    assert names == ["bc", "iql"]  # from below
    for kind in ("curves", "bars", "profile"):
        svg = figures.encoded(figures.KINDS[kind](found, 0), "svg").decode()
        assert "eval/cost (lower is better)" in svg
    assert "<p>eval/cost (lower is better), last evaluation." in render(found, ["rlbench report"])


def test_the_verb_puts_the_lowest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, {"bc": HIGH, "iql": LOW})
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path))
    assert main(["compare"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("eval/cost (lower is better): last evaluation")
    assert shown.index("iql") < shown.index("bc")
    assert main(["compare", "--plain"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    (improvement,) = [row for row in rows if row[4] == "improvement" and row[0] == TASK]
    assert (improvement[1], improvement[2], float(improvement[5])) == ("iql", "bc", 0.75)
