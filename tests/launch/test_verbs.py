"""status, sweep, logs, cancel and resume: what they say, and what they do."""

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlbench import cli
from rlbench.launch import local
from rlbench.launch import start as launch
from rlbench.launch.journal import Journal
from rlbench.launch.states import states
from rlbench.launch.sweep import Planned, Sweep, sweeps
from tests.launch.cases import SHORT, cells, mortal, rows, witnesses
from tests.processes import wait_for
from tests.statuses import say

pytestmark = pytest.mark.usefixtures("results")

ROOT = Path(__file__).parents[2]


@pytest.fixture
def sweep() -> Sweep:
    """Four runs: finished, failed, at work and waiting."""
    words = [*SHORT, "seed=0,1,2,3", "hardware=local", "hardware.pack=1"]
    found = cells(*words)
    made = Sweep.create("mine", words, found, lambda: found)
    score = {"metric": "eval/return", "step": 60, "values": {"0": -12.5}}
    pretend(found[0], "finished", step=60, score=score)
    pretend(found[1], "failed", step=30, error="train/actor_loss of seed 1 is nan\nand so on")
    pretend(found[2], "running", step=30, speed=2.0)
    made.output(found[1]).parent.mkdir()
    made.output(found[1]).write_text("what it printed\n")
    return made


def pretend(run: Planned, state: str, **status: Any) -> None:
    """A directory that says what became of the run."""
    run.directory.mkdir(parents=True)
    (run.directory / "config.yaml").write_text("seed: 0\n")
    (run.directory / "overrides.yaml").write_text("".join(f"- {json.dumps(word)}\n" for word in run.words))
    say(run.directory, state, **{"error": None, "speed": None, **status})


def said(*words: str, capsys: pytest.CaptureFixture[str], code: int = 0) -> str:
    capsys.readouterr()
    assert cli.main(words) == code
    out, err = capsys.readouterr()
    return out if code == 0 else err


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "rlbench", *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


# -- looking -----------------------------------------------------------------------------------------------------------


def test_status_has_a_line_for_each_run(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    with Journal(sweep, sweep.runs()[3:]):
        lines = said("status", "mine", capsys=capsys).splitlines()
    assert lines[0] == "mine: 1 finished, 1 running, 1 queued, 1 failed"
    assert lines[1].split() == ["run", "id", "state", "steps", "speed", "score", "left"]
    rows = [line.split() for line in lines[2:]]
    ids = [run.directory.name for run in sweep.runs()]
    assert rows[0] == ["seed=0", ids[0], "finished", "60", "-12.50"]
    assert rows[1][:4] == ["seed=1", ids[1], "failed", "30/60"]
    assert lines[3].rstrip().endswith("train/actor_loss of seed 1 is nan")
    assert rows[2][:5] == ["seed=2", ids[2], "running", "30/60", "2/s"]
    assert rows[2][5] in ("0:15", "0:14")
    assert rows[3] == ["seed=3", ids[3], "queued", "60"]


def test_status_without_words_is_what_matters_now(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    (alone,) = cells(*SHORT, "seed=9")
    pretend(alone, "running", step=10)
    text = said("status", capsys=capsys)
    assert "mine: 1 finished, 1 running, 1 new, 1 failed" in text
    assert "runs of no sweep: 1 running" in text
    assert [run.directory.name in text for run in [*sweep.runs(), alone]] == [False, True, True, False, True]


def test_status_finds_runs_by_words(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    text = said("status", "disc2d-disc", "seed=1", capsys=capsys)
    assert [run.directory.name in text for run in sweep.runs()] == [False, True, False, False]
    assert "no run has seed=77" in said("status", "seed=77", capsys=capsys)


def test_a_run_of_two_sweeps_is_told_of_under_both(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    found = sweep.runs()[:2]
    Sweep.create("yours", [*SHORT, "seed=0,1"], found, lambda: found)
    text = said("status", capsys=capsys)
    assert "mine: 1 finished, 1 running, 1 new, 1 failed" in text
    assert "yours: 1 finished, 1 failed" in text
    assert said("status", "mine", capsys=capsys).startswith("mine: 1 finished, 1 running, 1 new, 1 failed")
    program = json.loads(said("status", "--json", capsys=capsys))
    assert (len(program["runs"]), sum(program["summary"].values())) == (4, 4)
    assert len(json.loads(said("status", "mine", "--json", capsys=capsys))["runs"]) == 4


def test_status_names_damaged_directories_and_goes_on(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    empty, wordless, garbled = cells(*SHORT, "seed=7,8,9")
    empty.directory.mkdir(parents=True)
    for run in (wordless, garbled):
        pretend(run, "finished")
    (wordless.directory / "overrides.yaml").unlink()
    (garbled.directory / "config.yaml").write_text("seed: [0\n")
    text = said("status", capsys=capsys)
    assert "mine: 1 finished, 1 running, 1 new, 1 failed" in text
    assert f"damaged: {empty.directory}: {empty.directory} holds no config.yaml" in text
    assert f"damaged: {wordless.directory}: {wordless.directory / 'overrides.yaml'} cannot be read" in text
    assert f"damaged: {garbled.directory}: {garbled.directory / 'config.yaml'} cannot be read" in text
    assert "damaged" not in said("status", "mine", capsys=capsys)
    found = json.loads(said("status", garbled.directory.name, "--json", capsys=capsys))
    assert (found["runs"], list(found["damaged"])) == ([], [str(garbled.directory)])
    # What a sweep has planned is known, whatever its directory says.
    (sweep.runs()[0].directory / "overrides.yaml").unlink()
    assert "damaged" not in said("status", "mine", capsys=capsys)


def test_resume_of_a_damaged_directory_is_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    empty, wordless, garbled = cells(*SHORT, "seed=7,8,9")
    empty.directory.mkdir(parents=True)
    for run in (wordless, garbled):
        pretend(run, "interrupted")
    (wordless.directory / "config.yaml").write_text(yaml.safe_dump(wordless.config))
    (wordless.directory / "overrides.yaml").unlink()
    (garbled.directory / "config.yaml").write_text("seed: [0\n")
    answer = said("resume", empty.directory.name, capsys=capsys, code=1)
    assert f"{empty.directory} holds no config.yaml" in answer
    assert "the command that began it begins it again" in answer
    answer = said("resume", wordless.directory.name, capsys=capsys, code=1)
    assert f"{wordless.directory / 'overrides.yaml'} cannot be read" in answer
    answer = said("resume", garbled.directory.name, capsys=capsys, code=1)
    assert f"{garbled.directory / 'config.yaml'} cannot be read" in answer
    assert "fault of rlbench" not in answer


def test_status_for_a_program(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(said("status", "mine", "--json", capsys=capsys))
    assert found["summary"] == {"finished": 1, "running": 1, "new": 1, "failed": 1}
    failed = found["runs"][1]
    assert (failed["state"], failed["step"], failed["steps"], failed["sweep"]) == ("failed", 30, 60, "mine")
    assert failed["reason"].startswith("train/actor_loss")
    assert failed["path"] == str(sweep.runs()[1].directory)
    assert found["runs"][0]["score"]["values"] == {"0": -12.5}


def test_nothing_was_run_yet(capsys: pytest.CaptureFixture[str]) -> None:
    assert said("status", capsys=capsys) == "nothing was run yet\n"
    assert said("sweep", "ls", capsys=capsys).startswith("no sweeps in ")
    assert json.loads(said("status", "--json", capsys=capsys)) == {"runs": [], "summary": {}, "damaged": {}}
    assert json.loads(said("sweep", "ls", "--json", capsys=capsys)) == []


def test_sweeps_are_listed_and_shown(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    listed = said("sweep", "ls", capsys=capsys)
    assert "mine" in listed
    assert "1 finished, 1 running, 1 new, 1 failed" in " ".join(listed.split())
    shown = said("sweep", "show", "mi", capsys=capsys)
    assert f"rlbench -m {shlex.join(SHORT)} seed=0,1,2,3 hardware=local hardware.pack=1 --name mine\n" in shown
    assert f"  seed=1: train/actor_loss of seed 1 is nan\nand so on\n    it printed {sweep.path}/output/" in shown
    assert json.loads(said("sweep", "ls", "--json", capsys=capsys))[0]["name"] == "mine"
    assert len(json.loads(said("sweep", "show", "--json", "mine", capsys=capsys))["runs"]) == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sweep", "show"], "show which sweep?"),
        (["sweep", "show", "yours"], "no sweep 'yours'"),
        (["sweep", "look"], "invalid choice"),
        (["resume", "yours"], "no run and no sweep 'yours'"),
        (["cancel", "yours"], "no run and no sweep 'yours'"),
        (["logs", "yours"], "no run and no sweep 'yours'"),
    ],
)
def test_wrong_words_are_answered(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in said(*words, capsys=capsys, code=2)


def test_looking_needs_neither_torch_nor_hydra(sweep: Sweep) -> None:
    for words in (["status"], ["status", "mine"], ["sweep", "ls"], ["sweep", "show", "mine"], ["logs", "mine"]):
        code = (
            "import sys; from rlbench.cli import main; code = main(sys.argv[1:]); "
            "sys.exit(code or 'torch' in sys.modules or 'hydra' in sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code, *words], check=True, cwd=ROOT, capture_output=True)
    assert sweep.path.exists()


# -- logs --------------------------------------------------------------------------------------------------------------


def test_logs_of_a_run_and_of_a_sweep(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = sweep.runs()[1:3]
    assert said("logs", one.directory.name, capsys=capsys) == "what it printed\n"
    sweep.output(two).write_text("and another\n")
    assert said("logs", "mine", capsys=capsys) == "\n==> seed=1 <==\nwhat it printed\n\n==> seed=2 <==\nand another\n"
    (alone,) = cells(*SHORT, "seed=9")
    pretend(alone, "finished")
    (alone.directory / "log.txt").write_text("its own log\n")
    assert said("logs", str(alone.directory), capsys=capsys) == "its own log\n"


def test_logs_follow_through_a_second_life_to_the_end(sweep: Sweep) -> None:
    run = sweep.runs()[3]
    with Journal(sweep, [run]) as journal:
        reader = start("logs", run.directory.name, "-f")
        wait_for(lambda: reader.poll() is None)
        pretend(run, "running")
        journal.began(run, os.getpid())
        sweep.output(run).write_text("first life\n")
        status = json.loads((run.directory / "status.json").read_text())
        (run.directory / "status.json").write_text(json.dumps({**status, "state": "interrupted"}))
        time.sleep(7)  # longer than it takes to ask whether it has ended
        assert reader.poll() is None  # interrupted, and in the hands of the queue
        with sweep.output(run).open("a") as file:
            file.write("second life\n")
        (run.directory / "status.json").write_text(json.dumps({**status, "state": "finished"}))
        out, err = reader.communicate(timeout=60)
    assert (reader.returncode, out, err) == (0, "first life\nsecond life\n", "")


# -- cancel and resume -------------------------------------------------------------------------------------------------


def test_cancel_and_resume_of_a_queue(tmp_path: Path, results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["-m", *mortal(tmp_path), "seed=range(0,4)", "algo.pause=0.2", "steps=1000", "log.every=1"]
    queue = start(*words, "hardware=local", "hardware.pack=1", "hardware.workers=2", "--name", "mine")
    wait_for(lambda: set(rows(results)) >= {0, 1})  # both have a step behind them
    (sweep,) = sweeps()
    runs = sweep.runs()
    assert [each.name for each in states(sweep)] == ["running", "running", "queued", "queued"]

    # One that runs and one that waits: the queue goes on with the others.
    text = said("cancel", runs[0].directory.name, capsys=capsys)
    assert "told to stop; it saves a checkpoint first" in text
    assert f"`rlbench resume {runs[0].directory.name}` goes on" in text
    assert "taken from the queue" in said("cancel", runs[3].directory.name, capsys=capsys)
    wait_for(lambda: [each.name for each in states(sweep)] == ["interrupted", "running", "running", "interrupted"])
    wait_for(lambda: 2 in rows(results))
    assert queue.poll() is None
    assert not runs[3].directory.exists()
    assert said("cancel", runs[0].directory.name, capsys=capsys) == "nothing to cancel: 1 interrupted\n"

    # All of it.
    text = said("sweep", "cancel", "mine", capsys=capsys)
    assert text.count("told to stop") == 2
    assert text.endswith("`rlbench resume mine` goes on\n")
    queue.communicate(timeout=60)
    assert queue.returncode == 143
    assert [each.name for each in states(sweep)] == ["interrupted"] * 3 + ["new"]
    assert said("cancel", "mine", capsys=capsys) == "nothing to cancel: 1 new, 3 interrupted\n"
    assert len(witnesses(results)) == 3
    assert {run.status()["step"] > 0 for run in runs[:3]} == {True}


def test_cancel_of_a_run_that_belongs_to_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*mortal(tmp_path), "algo.pause=0.2", "steps=1000"]
    (run,) = cells(*words)
    process = start(*words)
    wait_for(lambda: run.status().get("state") == "running")
    assert "told to stop" in said("cancel", run.directory.name, capsys=capsys)
    process.communicate(timeout=60)
    assert process.returncode == 143
    status = run.status()
    assert status["state"] == "interrupted"
    (run.directory / "status.json").write_text(
        json.dumps({**status, "state": "running", "host": "elsewhere", "heartbeat": time.time()})
    )
    assert "on elsewhere works on" in said("cancel", run.directory.name, capsys=capsys, code=1)


def test_cancel_of_one_run_of_a_sweep_in_one_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["-m", *mortal(tmp_path), "seed=0,1,2", "algo.pause=0.1", "steps=30", "hardware.pack=1", "--name", "mine"]
    process = start(*words)
    wait_for(lambda: sweeps() and states(sweeps()[0])[0].name == "running")
    zero, one, two = sweeps()[0].runs()
    said("cancel", zero.directory.name, capsys=capsys)
    wait_for(lambda: states(sweeps()[0])[1].name == "running")
    assert "taken from the queue" in said("cancel", two.directory.name, capsys=capsys)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "of 3 runs, 1 new, 1 interrupted" in err
    assert [each.name for each in states(sweeps()[0])] == ["interrupted", "finished", "new"]
    assert one.finished()
    assert "[3/3]" not in out


def test_resume_of_a_run_that_was_only_planned(tmp_path: Path, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["-m", *mortal(tmp_path), "seed=0,1", "hardware=local", "hardware.pack=1"]
    with monkeypatch.context() as patch:
        patch.setattr(local.Queue, "work", lambda _: None)
        assert cli.main(words) == 1
    zero, one = sweeps()[0].runs()
    assert cli.main(["resume", one.directory.name]) == 0
    assert one.finished()
    assert not zero.directory.exists()
    assert [each["pid"] for each in witnesses(results)] == [os.getpid()]


def test_resume_of_a_run_of_a_cluster_asks_its_queue(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, list[str]]] = []

    class Place:
        """A cluster's queue, as far as this goes."""

        def __init__(self, where: str) -> None:
            self.where = where

        def start(self, part: Sweep) -> int:
            asked.append((self.where, [run.path for run in part.unfinished()]))
            return 0

    sweep.revise(lambda runs: runs, hardware={**sweep.hardware, "where": "slurm"})
    monkeypatch.setattr(launch, "place", Place)
    one = sweep.runs()[1]
    assert cli.main(["resume", one.directory.name]) == 0
    assert asked == [("slurm", [one.path])]


def test_resume_of_a_sweep_with_a_finished_run_that_lost_its_results(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["-m", *SHORT, "seed=0,1", "hardware.pack=1", "--name", "mine"]) == 0
    (lost, *_) = results.glob("runs/*/*/*/metrics.jsonl")
    lost.unlink()
    answer = said("resume", "mine", capsys=capsys, code=1)
    assert f"{lost.parent} is finished, and its results cannot be read: " in answer
    assert "with rerun=true, trains it anew" in answer
