"""Figures: what is drawn is what was computed, and the same figure is the same file."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from rlbench.analysis import figures
from rlbench.analysis.compare import Comparison, compare
from rlbench.analysis.protocols import Protocol
from rlbench.analysis.results import Results
from rlbench.cli import main
from rlbench.errors import UsageError
from tests.analysis.synthetic import Experiment


@pytest.fixture(scope="module")
def results_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three algorithms on two tasks, four seeds each."""
    root = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLBENCH_RESULTS", str(root))
        for algo, level in (("iql", 60.0), ("cql", 40.0), ("td3_bc", 62.0)):
            for level_of_data in ("medium", "expert"):
                experiment = Experiment(root, [f"algo={algo}", f"dataset={level_of_data}"], level=level)
                for seed in range(4):
                    experiment.run(seed)
    return root


@pytest.fixture(scope="module")
def comparison(results_folder: Path) -> Comparison:
    results = Results(results_folder)
    results.refresh()
    return compare(results, Protocol.of("last"))


def test_curves_show_every_algorithm_on_every_task(comparison: Comparison) -> None:
    figure = figures.learning_curves(comparison)
    assert [axes.get_title() for axes in figure.axes] == ["hopper-expert", "hopper-medium"]
    for axes, task in zip(figure.axes, comparison.tasks, strict=True):
        ends = sorted(float(line.get_ydata()[-1]) for line in axes.lines)  # type: ignore[index, arg-type]
        means = sorted(comparison.cells[arm, task].mean.value for arm in comparison.arms)
        assert np.allclose(ends, means)


@pytest.mark.parametrize("words", [["hopper-medium"], []])
def test_a_legend_of_long_names_stays_within_the_figure(words: list[str], results_folder: Path, tmp_path: Path) -> None:
    results = Results(results_folder, words)
    results.refresh()
    found = compare(results, Protocol.of("last"), by=["algo", "dataset", "algo.gamma"])
    assert max(map(len, found.arms)) > 30
    with figures.styled():
        figure = figures.learning_curves(found)
        figures.save(figure, tmp_path / "figure.svg")
        (legend,) = figure.legends
        box, whole = legend.get_window_extent(), figure.bbox
    assert whole.x0 <= box.x0
    assert box.x1 <= whole.x1


def test_bars_show_means_intervals_and_seeds(comparison: Comparison) -> None:
    figure = figures.intervals(comparison)
    axes = next(each for each in figure.axes if each.get_title() == "hopper-medium")
    drawn = [np.asarray(line.get_xdata(), float) for line in axes.lines]
    cell = comparison.cells[comparison.arms[-1], "hopper-medium"]
    assert any(len(each) == 4 and np.allclose(each, cell.scores) for each in drawn)
    assert any(len(each) == 2 and np.allclose(each, [cell.mean.low, cell.mean.high]) for each in drawn)
    assert any(len(each) == 1 and np.isclose(each[0], cell.mean.value) for each in drawn)


def test_a_frontier_shows_seeds_means_and_the_ways_there(comparison: Comparison, results_folder: Path) -> None:
    results = Results(results_folder)
    results.refresh()
    across = compare(results, Protocol.of("last"), "eval/return")
    figure = figures.frontier(comparison, across)
    assert [axes.get_title() for axes in figure.axes] == ["hopper-expert", "hopper-medium"]
    axes = figure.axes[1]
    drawn = [np.stack([np.asarray(each, float) for each in line.get_data()], 1) for line in axes.lines]
    ways = [each for each in drawn if len(each) > 4]
    assert len(ways) == 3 * 4
    for arm in comparison.arms:
        upwards, right = comparison.cells[arm, "hopper-medium"], across.cells[arm, "hopper-medium"]
        seeds = np.stack([right.scores, upwards.scores], 1)
        assert any(each.shape == seeds.shape and np.allclose(each, seeds) for each in drawn)
        assert any(len(each) == 1 and np.allclose(each[0], [right.mean.value, upwards.mean.value]) for each in drawn)
        assert all(any(np.allclose(each[-1], seed) for each in ways) for seed in seeds)


def test_a_frontier_is_of_one_look_at_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that begins meanwhile, before all others in the order of paths, changes nothing."""
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path / "results"))
    for algo, level in (("iql", 60.0), ("td3_bc", 40.0)):
        experiment = Experiment(tmp_path / "results", [f"algo={algo}"], level)
        for seed in range(2):
            experiment.run(seed)
    words = ["plot", "frontier", "--x", "eval/return", "--out"]
    assert main([*words, str(tmp_path / "before.svg")]) == 0
    refresh = Results.refresh

    def looked(results: Results) -> set[int]:
        changed = refresh(results)
        Experiment(tmp_path / "results", ["algo=bc"]).run(0, done=0.5)
        return changed

    monkeypatch.setattr(Results, "refresh", looked)
    assert main([*words, str(tmp_path / "after.svg")]) == 0
    assert (tmp_path / "after.svg").read_bytes() == (tmp_path / "before.svg").read_bytes()


@pytest.mark.parametrize("kind", [*figures.KINDS, "frontier --x eval/return"])
@pytest.mark.parametrize("form", ["pdf", "svg", "png"])
def test_the_same_figure_is_the_same_file(
    kind: str, form: str, results_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RLBENCH_RESULTS", str(results_folder))
    first, second = tmp_path / f"first.{form}", tmp_path / f"second.{form}"
    assert main(["plot", *kind.split(), "--out", str(first)]) == 0
    assert main(["plot", *kind.split(), "--out", str(second)]) == 0
    data = first.read_bytes()
    assert data == second.read_bytes()
    assert data.startswith({"pdf": b"%PDF", "svg": b"<?xml", "png": b"\x89PNG"}[form])
    if form == "svg":
        assert b"td3_bc" in data  # text stays text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["plot", "curves", "--out", "figure.gif"], ".pdf, .svg, .png"),
        (["plot", "curves", "--out", "nowhere/figure.pdf"], "no folder nowhere"),
        (["plot", "improvement", "algo=iql", "--out", "figure.pdf"], "two algorithms"),
        (["plot", "pie", "--out", "figure.pdf"], "curves"),
        (["plot", "bars", "--log", "--out", "figure.pdf"], "curves and efficiency have"),
        (["plot", "bars", "--x", "eval/return", "--out", "figure.pdf"], "goes with a frontier"),
        (["plot", "frontier", "--out", "figure.pdf"], "--x NAME"),
        (["plot", "frontier", "--x", "eval/kl", "--out", "figure.pdf"], "no run has a metric eval/kl"),
    ],
)
def test_bad_words_end_with_one_message(
    words: list[str], says: str, results_folder: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setenv("RLBENCH_RESULTS", str(results_folder))
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert says in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["efficiency", "profile"])
def test_what_has_a_scale_of_its_own_on_each_task_is_not_averaged(
    kind: str, results_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("RLBENCH_RESULTS", str(results_folder))
    words = ["plot", kind, "--metric", "eval/return", "--out", str(tmp_path / "figure.svg")]
    assert main(words) == 2
    assert "eval/return has a scale of its own on each task" in capsys.readouterr().err
    assert main([*words, "dataset=medium"]) == 0


@pytest.mark.parametrize("kind", [*figures.KINDS, "frontier --x eval/length"])
def test_an_arm_without_a_score_is_not_drawn(
    kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """One is evaluated too seldom for the protocol, another on one task alone."""
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path))
    for algo, data, points in (
        *(("iql", data, 20) for data in ("medium", "expert")), ("td3_bc", "medium", 20), ("td3_bc", "expert", 5),
        ("bc", "medium", 5),
    ):  # fmt: skip
        experiment = Experiment(tmp_path, [f"algo={algo}", f"dataset={data}"], points=points)
        for seed in range(2):
            experiment.run(seed)
    out = tmp_path / "figure.svg"
    assert main(["plot", *kind.split(), "--protocol", "last10", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "left out, without a score: bc on hopper-medium, td3_bc on hopper-expert" in said
    text = out.read_text()
    assert ">bc<" not in text
    assert "td3_bc" in text


@pytest.mark.parametrize("kind", [*figures.KINDS, "frontier --x eval/length"])
def test_names_are_drawn_as_they_are(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands between dollar signs is no formula, be it one or not: in names of arms, tasks and metrics."""
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path))
    for first, simulator in ((0, "$^$"), (2, "$x_2$")):
        experiment = Experiment(tmp_path, ["algo=iql"], points=3, meta={"simulator": simulator})
        for run in map(experiment.run, range(first, first + 2)):
            run.metrics.write_text(run.metrics.read_text().replace("eval/normalized_score", "eval/$^$"))
    out = tmp_path / "figure.svg"

    def drawn(*words: str) -> str:
        assert main(["plot", *kind.split(), "--metric", "eval/$^$", "--out", str(out), *words]) == 0
        return "\n".join(re.findall(r">([^<>]+)</text>", out.read_text()))

    arms = drawn("--by", "simulator")
    assert "simulator=$^$" in arms
    assert "simulator=$x_2$" in arms
    assert "eval/$^$" in arms or kind == "improvement"
    if kind not in ("efficiency", "profile", "improvement"):  # which are of one task here, or name none
        assert "hopper-medium simulator=$^$" in drawn()


def test_scores_may_be_read_by_their_order_of_magnitude(comparison: Comparison) -> None:
    figure = figures.learning_curves(comparison)
    before = [line.get_ydata() for axes in figure.axes for line in axes.lines]
    figures.logarithmic(figure)
    assert {axes.get_yscale() for axes in figure.axes} == {"log"}
    after = [line.get_ydata() for axes in figure.axes for line in axes.lines]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_scores_below_zero_have_no_order_of_magnitude(comparison: Comparison) -> None:
    figure = figures.learning_curves(comparison)
    for line in figure.axes[0].lines:
        line.set_ydata(-np.abs(np.asarray(line.get_ydata(), float)))
    with pytest.raises(UsageError, match="no score is above 0 on hopper-expert"):
        figures.logarithmic(figure)


def test_colours_and_dashes_never_come_together_twice_below_28() -> None:
    looks = figures.Looks([f"arm {k}" for k in range(28)])
    assert len({(looks.colour[arm], looks.marker[arm]) for arm in looks.arms}) == 28
    assert len({(looks.colour[arm], str(looks.dash[arm])) for arm in looks.arms}) == 28
