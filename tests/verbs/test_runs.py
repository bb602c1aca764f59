"""`rlbench runs`: which runs are listed, and what is said where there are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlbench.cli import main
from rlbench.tracking.rundir import DISPENSABLE, STATUS
from tests.analysis import synthetic


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Three runs: their names by their ids."""
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path))
    words = {
        "a": ["algo=bc", "steps=100"],
        "b": ["algo=bc", "steps=100", "seed=1"],
        "c": ["algo=iql", "dataset=expert", "algo.expectile=0.9"],
    }
    runs = {name: synthetic.write(tmp_path, each, points=2, done=1 - (name == "b") / 2) for name, each in words.items()}
    return {run.id: name for name, run in runs.items()}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "abc"),
        (["hopper-expert"], "c"),
        (["algo=bc"], "ab"),
        (["algo=bc,iql", "seed=0"], "ac"),
        (["state=interrupted"], "b"),
        (["algo.expectile=0.9"], "c"),
        (["algo.hidden_dims=[256,256]", "dataset=medium"], "ab"),
        (["env=hopper", "dataset=expert"], "c"),
        (["algo=iql", "seed=1"], ""),
        (["state=failed"], ""),
        (["state=failed,interrupted"], "b"),
    ],
)
def test_filters_are_those_of_compare(
    results: dict[str, str], words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs", "--json", *words]) == 0
    found = json.loads(capsys.readouterr().out)["runs"]
    assert "".join(sorted(results[each["id"]] for each in found)) == expected


@pytest.mark.usefixtures("results")
def test_where_none_fits_it_says_how_many_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "algo=iql", "seed=1"]) == 0
    assert f"no run fits algo=iql seed=1; there are 3 in {tmp_path / 'runs'}" in capsys.readouterr().out
    assert main(["runs", "algo.expectil=0.9"]) == 2
    assert "no run has a key 'algo.expectil'\ndid you mean algo.expectile" in capsys.readouterr().err


@pytest.mark.usefixtures("results")
@pytest.mark.parametrize(
    "verb",
    [
        ["runs"], ["runs", "--json"], ["wandb", "sync"], ["data", "used"], ["table"], ["compare"], ["pack", "a.zip"],
        ["report", "a.html"], ["plot", "curves", "--out", "a.pdf"],
    ],
)  # fmt: skip
def test_what_fits_no_run_is_told_by_every_verb(
    verb: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*verb, "algo=bc,iqll", "hoper"]) == 2
    said = "hoper fits no run; did you mean hopper?\nalgo=iqll fits no run; did you mean iql?\n"
    assert capsys.readouterr().err == f"rlbench: error: {said}"


@pytest.mark.usefixtures("results")
@pytest.mark.parametrize(
    ("file", "changed", "told"),
    [
        ("status.json", [1], "holds no JSON object"),
        ("status.json", {}, "has no state"),
        ("status.json", {"state": 3}, "state is 3"),
        ("status.json", {"step": "10"}, 'step is "10"'),
        ("status.json", {"heartbeat": None}, "heartbeat is null"),
        ("status.json", {"score": "60"}, 'score is "60"'),
        ("status.json", {"score": {"metric": "eval/return", "step": 1}}, "has no score.values"),
        ("status.json", {"score": {"metric": "m", "step": 1, "values": {"0": "x"}}}, 'score.values.0 is "x"'),
        ("meta.json", 7, "holds no JSON object"),
        ("meta.json", {"git": "1a2b3c4"}, 'git is "1a2b3c4"'),
        ("meta.json", {"dataset": [1]}, "dataset is [1]"),
    ],
)
def test_json_of_another_type_is_damage_and_the_others_are_listed(
    file: str, changed: Any, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (broken,) = tmp_path.glob("runs/iql/*/*")
    path = broken / file
    whole = json.loads(path.read_text())
    path.write_text(json.dumps({**whole, **changed} if isinstance(changed, dict) and changed else changed))
    assert main(["runs", "seed=0", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert len(said["runs"]) == 1
    assert told in said["damaged"][str(broken)]
    assert main(["compare"]) == 0
    assert "damaged, left out" in capsys.readouterr().out
    assert main(["show", broken.name]) == 1
    assert f"{path} " in (error := capsys.readouterr().err)
    assert told in error


@pytest.mark.usefixtures("results")
@pytest.mark.parametrize("state", ["finished", "running"])
@pytest.mark.parametrize("key", STATUS)
def test_a_status_that_lacks_something_is_damage_or_read_without(
    state: str, key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (broken,) = tmp_path.glob("runs/iql/*/*")
    path = broken / "status.json"
    status = {**json.loads(path.read_text()), "state": state}
    path.write_text(json.dumps({name: value for name, value in status.items() if name != key}))
    for verb in ("runs", "status", "compare"):
        assert main([verb]) == 0
        said = capsys.readouterr()
        assert ("damaged" in said.out + said.err) == (key not in DISPENSABLE)
    assert main(["show", broken.name]) == (0 if key in DISPENSABLE else 1)
    assert (f"{path} has no {key}" in capsys.readouterr().err) == (key not in DISPENSABLE)


def test_an_empty_folder_has_no_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path))
    assert main(["runs", "algo=bc"]) == 0
    assert f"no runs in {tmp_path / 'runs'}" in capsys.readouterr().out


def test_a_damaged_run_is_named_where_it_may_fit(
    results: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (broken,) = tmp_path.glob("runs/iql/*/*")
    (broken / "config.yaml").write_text("- 1\n")
    assert main(["runs", "--json", "seed=0"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [results[each["id"]] for each in said["runs"]] == ["a"]
    assert list(said["damaged"]) == [str(broken)]
    assert main(["runs", "--json", "seed=0", "algo=bc"]) == 0
    assert json.loads(capsys.readouterr().out)["damaged"] == {}
