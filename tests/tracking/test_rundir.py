"""A run's directory: whose words stay in it, and what is said of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from rlbench.analysis.report import provenance
from rlbench.errors import RunError
from rlbench.signals import ask_to_stop
from rlbench.tracking.rundir import RunDir
from tests.statuses import say


def life(commit: str, **more: Any) -> dict[str, Any]:
    return {"git": {"commit": commit * 40}, "versions": {"torch": f"2.{commit}"}, "began": commit, **more}


def test_another_attempt_to_begin_anew_leaves_nothing_of_the_one_that_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "0123456789"
    RunDir.create(path, "seed: 0\n", [], life("0"))
    say(path, "finished")
    new = path.with_name(f".{path.name}.new")
    RunDir.create(new, "seed: 0\n", [], life("1")).log("killed as it was built")
    made = RunDir.create(new, "seed: 0\n", [], life("2"))
    assert made.meta() == {**life("2"), "resumed": []}
    assert not (new / "log.txt").exists()
    assert RunDir(path).finished()
    again = made.replace(path)
    assert RunDir.create(path, "seed: 0\n", [], life("3")).meta()["resumed"] == [life("3")]
    assert again.meta()["began"] == "2"


def test_a_report_names_the_code_and_the_machine_of_every_life(tmp_path: Path) -> None:
    machine = {"host": "first", "cpu": "x", "cores": 2}
    RunDir.create(tmp_path / "0123456789", "", [], life("a", machine=machine, dataset={"id": "d", "fingerprint": "f"}))
    run = RunDir.create(tmp_path / "0123456789", "", [], life("b", machine={**machine, "host": "second"}))
    assert provenance([{"simulator": "S", "device": "cpu"}], [run.meta()]) == {
        "data": ["d, fingerprint f"],
        "simulator": ["S"],
        "code": ["commit aaaaaaaaaaaa", "commit bbbbbbbbbbbb"],
        "machine": ["first: x, 2 cores", "second: x, 2 cores"],
        "device": ["cpu"],
        "torch": ["2.a", "2.b"],
    }


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "0123456789", "seed: 0\n", ["algo=bc"], life("a"))
    assert (run.content(), run.overrides()) == ({"seed": 0}, ["algo=bc"])
    for text in ("seed: [0\n", "- 0\n", ""):
        (run.path / "config.yaml").write_text(text)
        with pytest.raises(RunError, match=r"config\.yaml (cannot be read|holds no configuration)"):
            run.content()
    (run.path / "overrides.yaml").write_text("- algo\n")
    with pytest.raises(RunError, match=r"overrides\.yaml cannot be read"):
        run.overrides()
    (run.path / "config.yaml").unlink()
    with pytest.raises(RunError, match=r"config\.yaml cannot be read"):
        run.config()


@pytest.mark.parametrize("pid", [0, -1])
def test_a_number_that_is_no_process_is_dead_and_gets_no_signal(
    pid: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill() takes 0 for this group of processes, and -1 for all there are."""
    struck: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *asked: struck.append(asked))
    run = RunDir.create(tmp_path / "0123456789", "seed: 0\n", [], life("a"))
    say(run.path, "running")
    status = run.path / "status.json"
    assert run.status()["state"] == "running"
    struck.clear()
    status.write_text(status.read_text().replace(f'"pid": {os.getpid()}', f'"pid": {pid}'))
    assert run.raw_status()["pid"] == pid
    assert run.status()["state"] == "lost"
    with pytest.raises(RunError, match="no process"):
        ask_to_stop(pid)
    assert struck == []
