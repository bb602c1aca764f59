"""Tables: the right runs against the right figures, and what is missing."""

import csv
import io
import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlbench.analysis.published import Published, load
from rlbench.analysis.results import Results
from rlbench.analysis.table import Line, Ours, lines, planned
from rlbench.analysis.table_text import averages, comma_separated, latex, markdown
from rlbench.cli import main
from rlbench.errors import UsageError
from tests.analysis import synthetic

D4RL = "dataset=d4rl/hopper-medium-v2"
REPLAY = "dataset=d4rl/hopper-medium-replay-v2"


def written(root: Path, *words: str, level: float = 60.0, seeds: int = 4, **how: Any) -> None:
    synthetic.write_many(root, {words: level}, range(seeds), **how)


def of(root: Path, wanted: Any = None, *sources: str) -> list[Line]:
    results = Results(root)
    results.refresh()
    return lines(results, wanted, sources)


def recorded(root: Path, last: int = 1) -> dict[int, float]:
    """The mean of the last evaluations of each seed, as the files have them."""
    found: dict[int, list[float]] = {}
    for path in sorted(root.glob("runs/*/*/*/metrics.jsonl")):
        for row in map(json.loads, path.read_text().splitlines()):
            found.setdefault(row["seed"], []).append(row["eval/normalized_score"])
    return {seed: float(np.mean(values[-last:])) for seed, values in sorted(found.items())}


def figure(key: str, method: str, task: str = "hopper-medium-v2") -> Published:
    (found,) = [each for each in load() if (each.key, each.method, each.task) == (key, method, task)]
    return found


def test_each_source_is_held_against_by_its_own_protocol(tmp_path: Path) -> None:
    written(tmp_path, "algo=iql", D4RL)
    found = {line.published.source: line for line in of(tmp_path) if line.published}
    corl, kit = found[figure("corl", "IQL").source], found[figure("offlinerl-kit", "IQL").source]
    assert (corl.measure, kit.measure) == ("last", "last10")
    assert corl.ours is not None
    assert kit.ours is not None
    assert corl.ours.scores == pytest.approx(recorded(tmp_path))
    assert kit.ours.scores == pytest.approx(recorded(tmp_path, last=10))
    assert corl.difference == pytest.approx(np.mean(list(recorded(tmp_path).values())) - 67.53)
    assert (corl.arm, corl.task, corl.todo) == ("iql", "hopper-d4rl-medium-v2", "")
    assert (corl.ours.simulator, corl.ours.data) == (synthetic.SIMULATOR, "d4rl-medium-v2 ffffffff")


def test_a_figure_is_of_its_method_alone(tmp_path: Path) -> None:
    written(tmp_path, "algo=bc", D4RL, seeds=2)
    written(tmp_path, "algo=bc", "algo.best_fraction=0.1", D4RL, seeds=2)
    written(tmp_path, "algo=cocoa", "base=iql", D4RL, seeds=2)
    written(tmp_path, "algo=bc", "dataset=medium", seeds=2)  # not D4RL's, whatever its name
    found = {(line.arm, line.task): line.published for line in of(tmp_path, None, "corl", "cocoa") if line.published}
    methods = {arm: published.method for (arm, _), published in found.items()}
    assert methods == {"bc best_fraction=1.0": "BC", "bc best_fraction=0.1": "10 % BC", "cocoa-iql": "IQL+COCOA"}
    assert {task for _, task in found} == {"hopper-d4rl-medium-v2"}


def test_joint_spread_by_hand() -> None:
    published = figure("corl", "IQL")
    assert published.spread == 3.78
    theirs = 3.78 * (4 / 3) ** 0.5
    scores = {0: 70.0, 1: 74.0}
    line = Line("iql", "t", "last", published, Ours("m", scores, "s", "d"), "")
    assert line.difference == pytest.approx(72 - 67.53)
    assert line.joint == pytest.approx((theirs**2 + 8) ** 0.5)
    assert line.within == "yes"
    far = Line("iql", "t", "last", published, Ours("m", {0: 80.0, 1: 84.0}, "s", "d"), "")
    assert far.within == "no"
    one = Line("iql", "t", "last", published, Ours("m", {0: 70.0}, "s", "d"), "")
    bare = Line("iql", "t", "last", figure("papers", "IQL"), Ours("m", scores, "s", "d"), "")
    assert (one.within, bare.within) == ("", "")
    assert bare.difference == pytest.approx(72 - 66.3)


def test_another_simulator_is_another_line(tmp_path: Path) -> None:
    written(tmp_path, "algo=iql", D4RL, seeds=2)
    synthetic.write(tmp_path, ["algo=iql", D4RL, "seed=5"], meta={"simulator": "Hopper-v4, MuJoCo 3.5.0"})
    for wanted in (None, planned(["algo=iql", D4RL, "seed=0,1,5"])):
        found = [line.ours for line in of(tmp_path, wanted, "corl") if line.ours]
        assert {each.simulator: sorted(each.scores) for each in found} == {
            synthetic.SIMULATOR: [0, 1],
            "Hopper-v4, MuJoCo 3.5.0": [5],
        }


def test_a_sweep_has_all_its_cells(tmp_path: Path) -> None:
    written(tmp_path, "algo=iql", D4RL, seeds=3)
    synthetic.write(tmp_path, ["algo=iql", D4RL, "seed=3"], done=0.5)
    wanted = planned(["algo=iql,cql", f"{D4RL},d4rl/hopper-medium-replay-v2", "seed=range(4)"])
    assert len(wanted) == 4
    found = {(line.arm, line.task): line for line in of(tmp_path, wanted, "corl")}
    assert found.keys() == {(a, f"hopper-d4rl-{d}-v2") for a in ("iql", "cql") for d in ("medium", "medium-replay")}
    iql = found["iql", "hopper-d4rl-medium-v2"]
    assert iql.ours is not None
    assert list(iql.ours.scores) == [0, 1, 2]
    assert iql.todo == f"rlbench algo=iql {D4RL} seed=3"
    cql = found["cql", "hopper-d4rl-medium-replay-v2"]
    assert cql.ours is None
    assert cql.todo == f"rlbench -m algo=cql {REPLAY} seed=0,1,2,3"
    assert cql.published is not None
    assert cql.published.value == 95.11


def test_what_it_says_to_run_makes_it_whole(tmp_path: Path) -> None:
    wanted = planned(["algo=iql", D4RL, "seeds=3", "seed=2"])
    (line,) = of(tmp_path, wanted, "corl")
    words = line.todo.removeprefix("rlbench ").split()
    synthetic.write(tmp_path, words)
    (line,) = of(tmp_path, wanted, "corl")
    assert line.todo == ""
    assert line.ours is not None
    assert list(line.ours.scores) == [2, 3, 4]


def test_packed_and_single_seeds_fill_the_same_cell(tmp_path: Path) -> None:
    synthetic.write(tmp_path, ["algo=iql", D4RL, "seeds=4"])
    (line,) = of(tmp_path, planned(["algo=iql", D4RL, "seed=0,1,2,3"]), "corl")
    assert line.todo == ""
    assert line.ours is not None
    assert line.ours.scores == pytest.approx(recorded(tmp_path))


def test_runs_with_too_few_evaluations_are_not_missing(tmp_path: Path) -> None:
    written(tmp_path, "algo=iql", D4RL, points=5)
    found = of(tmp_path, planned(["algo=iql", D4RL, "seed=range(4)"]), "offlinerl-kit", "corl")
    for line in found:
        assert line.published is not None
        assert (line.published.key == "corl") == (line.ours is not None)
        assert line.todo == ""
    assert "| too few evaluations |" in markdown(found)


def test_an_experiment_file_brings_its_settings(tmp_path: Path) -> None:
    wanted = planned(["experiment=hopper_short", "algo=bc,iql"])
    found = of(tmp_path, wanted)
    assert [(line.arm, line.published, line.todo) for line in found] == [
        ("bc", None, "rlbench -m experiment=hopper_short algo=bc"),
        ("iql", None, "rlbench -m experiment=hopper_short algo=iql"),
    ]
    synthetic.write(tmp_path, ["experiment=hopper_short", "algo=bc"])
    bc, iql = of(tmp_path, wanted)
    assert (bc.todo, iql.ours) == ("", None)
    assert bc.ours is not None
    assert len(bc.ours.scores) == 4


def test_what_it_says_to_run_is_the_runs_that_are_missing(tmp_path: Path) -> None:
    """Of an experiment that is a sweep: its words, in the command, choose the same runs again and no others."""
    sweep = ["experiment=cocoa_d4rl", "algo=iql,bc", D4RL]
    cells = {cell.facts["experiment"]: cell for cell in planned(sweep)}
    todo = [line.todo for line in of(tmp_path, list(cells.values()), "cocoa")]
    assert len(todo) == len(cells) == 2
    for command, cell in zip(todo, cells.values(), strict=True):
        assert command.startswith("rlbench -m experiment=cocoa_d4rl ")
        (again,) = planned(shlex.split(command)[2:])
        assert again.facts == cell.facts
        assert [seeds for _, seeds in again.words] == [seeds for _, seeds in cell.words] == [(0,), (1,), (2,), (3,)]


def test_unfinished_runs_are_to_be_resumed(tmp_path: Path) -> None:
    written(tmp_path, "algo=iql", D4RL, seeds=2)
    run = synthetic.write(tmp_path, ["algo=iql", D4RL, "seed=2"], done=0.5)
    (line,) = of(tmp_path, None, "corl")
    assert line.todo == f"rlbench resume {run.id}"


def both(root: Path) -> list[Line]:
    for dataset in (D4RL, REPLAY):
        written(root, "algo=iql", dataset)
        written(root, "algo=td3_bc", dataset)
    return of(root, None, "corl", "cocoa")


def test_averages_over_tasks(tmp_path: Path) -> None:
    found = {(arm, origin): rest for arm, origin, *rest in averages(both(tmp_path))}
    assert found.keys() == {("iql", "corl, IQL"), ("iql", "cocoa, IQL"), ("td3_bc", "corl, TD3+BC")}
    tasks, published, ours = found["iql", "corl, IQL"]
    held = [x.ours.mean for x in of(tmp_path, None, "corl") if x.arm == "iql" and x.ours]
    assert tasks == 2
    assert (published, ours) == pytest.approx(((67.53 + 97.43) / 2, np.mean(held)))


def test_markdown(tmp_path: Path) -> None:
    text = markdown(both(tmp_path))
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table if "mean over" not in line and line.count("|") > 8}) == 1
    assert "| 67.53 ± 3.78 | 4 | last | corl, IQL |" in text
    assert "| 66.30 | 4 | not stated | cocoa, IQL |" in text
    assert f"corl: {figure('corl', 'IQL').source}" in text


def test_csv(tmp_path: Path) -> None:
    found = both(tmp_path)
    rows = list(csv.DictReader(io.StringIO(comma_separated(found))))
    assert len(rows) == len(found)
    for row, line in zip(rows, found, strict=True):
        assert line.published is not None
        assert line.ours is not None
        assert (row["task"], row["method"], row["metric"]) == (line.task, line.arm, "eval/normalized_score")
        assert float(row["published"]) == line.published.value
        assert float(row["mean"]) == pytest.approx(line.ours.mean)
        assert float(row["difference"]) == pytest.approx(line.ours.mean - line.published.value)
        assert row["within"] == line.within


def test_latex(tmp_path: Path) -> None:
    text = latex([*both(tmp_path), *of(tmp_path, planned(["algo=cql", D4RL]), "corl")])
    body = [line for line in text.splitlines() if line.rstrip().endswith(r"\\") or "  % " in line]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {9}
    assert r"67.53 $\pm$ 3.78" in text
    assert r"td3\_bc" in text
    assert f"% rlbench algo=cql {D4RL}" in text


def test_verb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path))
    both(tmp_path)
    assert main(["table", "algo=iql", "--source", "corl"]) == 0
    shown = capsys.readouterr().out
    assert "| 97.43 ± 6.39 |" in shown
    assert "td3_bc" not in shown
    assert main(["table", "-m", "algo=cql", D4RL, "--format", "csv", "--source", "corl"]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith(f",rlbench algo=cql {D4RL}")
    assert main(["table", "--source", "nobody"]) == 2
    assert "no source 'nobody'\nthere are" in capsys.readouterr().err
    assert main(["table", "algo=sac"]) == 2
    assert "algo=sac fits no run" in capsys.readouterr().err


def test_verb_says_where_nothing_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path))
    written(tmp_path, "algo=iql", seeds=1)
    assert main(["table"]) == 2
    assert "nothing is published for these runs" in capsys.readouterr().err


def test_no_cell_at_all(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no runs in"):
        of(tmp_path)
