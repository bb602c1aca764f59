"""What a person sees of many runs."""

import os
import time
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rlbench.launch.start import Job
from rlbench.launch.states import State
from rlbench.launch.sweep import Planned
from rlbench.launch.table import Display

SCORE = {"metric": "eval/return", "step": 10, "values": {"0": 1.5}}


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 16 lines."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "16")


def state(number: int, name: str, **status: Any) -> State:
    run = Planned(["algo=bc", f"seed={number}"], {"seed": number, "seeds": 1, "steps": 1000}, f"runs/a/b/{number:010x}")
    life = {"steps": 1000, "seconds": 5.0, "heartbeat": time.time(), "host": os.uname().nodename, "pid": 1}
    return State(run, name, {"state": name, **life, **status} if status else {}, None)


def seen(display: Display) -> list[str]:
    console = Console(file=StringIO(), width=100, color_system=None)
    console.print(display.picture())
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return [line.rstrip() for line in text.splitlines()]


def test_few_runs_are_all_shown() -> None:
    display = Display(
        [
            state(0, "finished", step=1000, score=SCORE),
            state(1, "running", step=400, speed=12.0, score=None),
            state(2, "failed", step=10, error="it broke\nbadly"),
            state(3, "queued"),
        ]
    )
    lines = seen(display)
    assert lines[0].split() == ["run", "id", "state", "steps", "speed", "score", "left"]
    assert lines[1].split() == ["seed=0", f"{0:010x}", "finished", "1,000", "1.50"]
    assert lines[2].split() == ["seed=1", f"{1:010x}", "running", "400/1,000", "12/s", "0:50"]
    assert lines[3].split() == ["seed=2", f"{2:010x}", "failed", "10/1,000", "it", "broke"]
    assert lines[4].split() == ["seed=3", f"{3:010x}", "queued", "1,000"]
    assert lines[5] == "1 finished, 1 running, 1 queued, 1 failed"


def test_of_many_runs_those_at_work_and_those_that_failed_are_shown() -> None:
    working = [state(n, "running", step=n, speed=1.0) for n in range(3)]
    failed = [state(n, "failed", step=n, error="no") for n in range(3, 20)]
    display = Display([*working, *failed, *(state(n, "queued") for n in range(20, 1000))])
    lines = seen(display)
    assert lines[-1] == "3 running, 980 queued, 17 failed"
    assert [line.split()[0] for line in lines[1:-1]] == [f"seed={n}" for n in (*range(13, 20), *range(3))]
    assert len(lines) <= 16


def test_the_table_follows_the_runs(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display([state(0, "queued"), state(1, "queued")])
    assert display.live is not None
    with display:
        display.update(state(0, "running", step=7))
        display.show()
        display.update(state(0, "finished", step=1000))
    assert [line.split()[2] for line in seen(display)[1:3]] == ["finished", "queued"]
    assert "running" in capsys.readouterr().out


def test_without_a_terminal_each_end_is_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FORCE_COLOR")
    with Display([state(n, "queued") for n in range(3)]) as display:
        display.update(state(0, "running", step=7))
        display.update(state(0, "running", step=8))
        display.update(state(0, "finished", step=1000, score=SCORE))
        display.update(state(1, "failed", step=3, error="it broke"))
        dead = state(2, "failed")
        display.update(State(dead.run, "failed", {}, Job("9", "ended", "its process ended with code 7")))
        display.show()
    assert capsys.readouterr().out.splitlines() == [
        "[1/3] finished seed=0 0:05 1.50",
        "[2/3] failed seed=1 0:05 it broke",
        "[3/3] failed seed=2 its process ended with code 7",
    ]


def test_a_row_is_one_line_however_long_its_words() -> None:
    run = Planned(["algo=bc", "algo.name=" + "x" * 200], {"seed": 0, "seeds": 1, "steps": 10}, "runs/a/b/0123456789")
    lines = seen(Display([State(run, "queued", {}, None)]))
    assert len(lines) == 3
    assert Path(run.path).name in lines[1]
