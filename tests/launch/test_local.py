"""The queue over this machine: every kind of end, every way to stop it, and the way back."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from rlbench import cli
from rlbench.build import processor
from rlbench.errors import UsageError
from rlbench.launch import journal, local
from rlbench.launch.packing import packed
from rlbench.launch.states import State, states
from rlbench.launch.sweep import Planned, Sweep, sweeps
from rlbench.tracking.rundir import alone
from tests.launch.cases import LONG, SHORT, cells, mortal, rows, witnesses
from tests.processes import alive, wait_for
from tests.statuses import say

pytestmark = pytest.mark.usefixtures("results")

ALONE = ["hardware=local", "hardware.pack=1"]
ROOT = Path(__file__).parents[2]


def names() -> list[str]:
    """The states of the newest sweep's runs."""
    return [each.name for each in states(sweeps()[-1])]


def start(*words: str) -> subprocess.Popen[str]:
    """The command line in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "rlbench", "-m", *words],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


# -- what runs, and where ----------------------------------------------------------------------------------------------


def test_runs_of_a_queue_are_the_runs_that_each_would_be_alone(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["-m", *SHORT, "seed=0,1,2", *ALONE, "hardware.workers=2"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 5
    assert "3 runs, 2 at a time" in said[0]
    assert sorted(line.split("]")[0] for line in said[1:4]) == ["[1/3", "[2/3", "[3/3"]
    assert {line.split()[2] for line in said[1:4]} == {"seed=0", "seed=1", "seed=2"}
    assert said[4].endswith("all 3 runs are finished")
    queued = rows(results)
    for sweep in sweeps():
        for run in sweep.runs():
            text = sweep.output(run).read_text()
            assert f"process {run.status()['pid']} on" in text
            assert "eval/return" in text
            assert json.loads((run.directory / "meta.json").read_text())["device"] == "cpu"
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path / "alone"))
    for seed in range(3):
        assert cli.main([*SHORT, f"seed={seed}"]) == 0
    assert rows(tmp_path / "alone") == queued
    assert queued.keys() == {0, 1, 2}


def test_packed_seeds_are_the_runs_that_each_would_be_alone(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["-m", *SHORT, "seed=range(0,4)", "hardware=local", "hardware.workers=2"]) == 0
    assert [run.seeds for run in sweeps()[-1].runs()] == [range(2), range(2, 4)]
    together = rows(results)
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path / "alone"))
    assert cli.main(["-m", *SHORT, "seed=range(0,4)", *ALONE]) == 0
    alone = rows(tmp_path / "alone")
    assert together.keys() == alone.keys() == {0, 1, 2, 3}
    for seed, expected in alone.items():
        assert [row["step"] for row in together[seed]] == [30, 60]
        for row, other in zip(together[seed], expected, strict=True):
            assert row == pytest.approx(other, rel=1e-4)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["device=auto"], ["0", "1"]),
        (["device=auto", "runs_per_gpu=2"], ["0", "1", "0", "1"]),
        (["device=auto", "workers=3"], ["0", "1", "0"]),
        (["device=cuda"], ["0", "1"]),
        (["device=cpu", "workers=3"], [None] * 3),
    ],
)
def test_places(words: list[str], expected: list[str | None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    (run,) = cells(*SHORT, "hardware=local", *(f"hardware.{word}" for word in words))
    assert local.places(run.config["hardware"]) == expected
    assert local.workers(run.config["hardware"]) == len(expected)


@pytest.mark.parametrize(
    ("visible", "device", "expected"), [("0,1,2,3,4", "auto", ["0,1", "2,3"]), ("0,1", "cpu", [None] * 4)]
)
def test_places_of_runs_in_several_processes(
    visible: str, device: str, expected: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(local, "cores", lambda: 16)
    (run,) = cells(*SHORT, "hardware=local")
    hardware = {**run.config["hardware"], "processes": 2, "threads": 2, "device": device}
    assert local.places(hardware) == expected
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(UsageError, match=r"hardware\.processes=2, and there are 1 GPUs here"):
        local.places({**hardware, "device": "auto"})


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("0,1", ["0", "1"]),
        ("3", ["3"]),
        ("", []),
        ("-1", []),
        ("1,-1,0", ["1"]),
        ("GPU-8a,MIG-3f", ["GPU-8a", "MIG-3f"]),
    ],
)
def test_cuda_visible_devices_says_which_gpus_there_are(
    visible: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert local.gpus() == expected


def test_the_driver_says_which_gpus_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\n[ \"$1\" = --query-gpu=index ] && printf '0\\n1\\n2\\n'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    local.installed_gpus.cache_clear()
    assert local.gpus() == ["0", "1", "2"]
    tool.write_text("#!/bin/sh\nexit 9\n")
    local.installed_gpus.cache_clear()
    assert local.gpus() == []
    local.installed_gpus.cache_clear()


def test_each_run_has_its_gpu_and_its_threads(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    words = [*mortal(tmp_path), "seed=range(0,4)", "algo.pause=0.3", "hardware.threads=3", *ALONE]
    assert cli.main(["-m", *words]) == 0
    found = witnesses(results)
    assert len({each["pid"] for each in found}) == 4
    assert [each["CUDA_VISIBLE_DEVICES"] for each in found].count("4") == 2
    assert [each["CUDA_VISIBLE_DEVICES"] for each in found].count("7") == 2
    assert {each["OMP_NUM_THREADS"] for each in found} == {"3"}
    assert "expect it to be slow" in capsys.readouterr().out
    for run in sweeps()[-1].runs():
        assert json.loads((run.directory / "meta.json").read_text())["threads"] == 3


def test_device_auto_is_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert processor("auto") == torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert processor("auto") == processor("cpu") == torch.device("cpu")
    with pytest.raises(UsageError, match="torch finds no NVIDIA GPU"):
        processor("cuda")


def test_a_gpu_that_is_not_there_is_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], results: Path
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert cli.main(["-m", *SHORT, "seed=0,1", "hardware=local", "hardware.device=cuda"]) == 2
    assert "there is no NVIDIA GPU here" in capsys.readouterr().err
    assert not results.exists()


# -- runs that fail ----------------------------------------------------------------------------------------------------


def test_a_run_that_dies_stops_no_other_and_is_named(
    tmp_path: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*mortal(tmp_path), "algo.dies=by_exception,by_exit,by_kill,not", "seed=0,1", *ALONE]
    assert cli.main(["-m", *words, "--name", "deaths"]) == 1
    out, err = capsys.readouterr()
    assert err.startswith("rlbench: error: of 8 runs, 2 failed, 4 lost\n")
    assert err.count("algo.dies=by_exception seed=0: ArithmeticError: as asked") == 1
    assert err.count("algo.dies=by_exit seed=1: its process ended with code 7") == 1
    assert err.count("algo.dies=by_kill seed=0: its process was killed by SIGKILL") == 1
    assert err.count(f"it printed {results / 'sweeps' / 'deaths' / 'output'}") == 6
    assert err.endswith("`rlbench resume deaths` goes on\n")
    assert "Traceback" not in err
    assert out.count(" finished algo.dies=not") == 2
    assert names() == ["failed", "failed", "lost", "lost", "lost", "lost", "finished", "finished"]
    assert len(witnesses(results)) == 8

    # The same words again: what is finished stays, everything else is tried again.
    assert cli.main(["-m", *words, "--name", "deaths"]) == 1
    assert len(witnesses(results)) == 14


def test_a_seed_that_diverged_dooms_its_companions_once(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["-m", *SHORT, "seed=range(0,4)", "hardware=local", "hardware.workers=1", "--name", "pack"]
    with monkeypatch.context() as patch:
        patch.setattr(local.Queue, "work", lambda _: None)  # planned, not begun
        assert cli.main(words) == 1
    (pack,) = sweeps()[-1].runs()
    assert pack.seeds == range(4)
    pack.directory.mkdir(parents=True)
    say(pack.directory, "failed", diverged=[1], error="nan")
    assert cli.main(words) == 0
    assert [(run.seeds, run.finished()) for run in sweeps()[-1].runs()] == [
        (range(1, 2), True),
        (range(1), True),
        (range(2, 4), True),
    ]


# -- stopping and going on ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[dict[str, Any]]]:
    """What the runs of LONG record when nothing happens to them."""
    place = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLBENCH_RESULTS", str(place))
        assert cli.main(["-m", *LONG, "seed=0,1,2", *ALONE]) == 0
    return rows(place)


def working() -> list[State]:
    return [each for sweep in sweeps() for each in states(sweep) if each.name == "running"]


def checkpointed(state: State) -> bool:
    return any(state.run.directory.glob("ckpt/*.pt"))


@pytest.mark.parametrize(
    ("signum", "code"),
    [
        (signal.SIGINT, 130),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
        (signal.SIGKILL, -signal.SIGKILL),
    ],
)
def test_a_queue_that_is_stopped_stops_its_runs_and_goes_on(
    signum: signal.Signals,
    code: int,
    results: Path,
    undisturbed: dict[int, list[dict[str, Any]]],
) -> None:
    words = [*LONG, "seed=0,1,2", *ALONE, "hardware.workers=2"]
    queue = start(*words)
    wait_for(lambda: (len(working()) == 2 and all(map(checkpointed, working()))) or queue.poll() is not None)
    pids = [each.status["pid"] for each in working()]
    assert len(pids) == 2
    assert names().count("queued") == 1
    queue.send_signal(signum)
    out, err = queue.communicate(timeout=60)
    assert queue.returncode == code, err
    wait_for(lambda: not any(map(alive, pids)), 20)
    assert sorted(names()) == ["interrupted", "interrupted", "new"]
    if signum != signal.SIGKILL:
        assert "1 new, 2 interrupted; `rlbench resume" in out
        assert err == "rlbench: error: interrupted\n"
    assert cli.main(["resume", sweeps()[-1].name]) == 0
    assert names() == ["finished"] * 3
    assert rows(results) == undisturbed
    lives = [len(sweeps()[-1].output(run).read_text().split("== ")) - 1 for run in sweeps()[-1].runs()]
    assert lives == [2, 2, 1]


def test_ctrl_c_at_the_terminal_reaches_the_queue_alone(tmp_path: Path, results: Path) -> None:
    words = [*mortal(tmp_path), "seed=0,1,2", "algo.pause=0.1", "steps=1000", *ALONE, "hardware.workers=2"]
    queue = subprocess.Popen(
        [sys.executable, "-m", "rlbench", "-m", *words],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0,
    )  # fmt: skip
    wait_for(lambda: len(working()) == 2 or queue.poll() is not None)
    os.killpg(queue.pid, signal.SIGINT)  # as the terminal does: every process of the group
    _, err = queue.communicate(timeout=60)
    assert (queue.returncode, err) == (130, "rlbench: error: interrupted\n")
    assert sorted(names()) == ["interrupted", "interrupted", "new"]
    assert len(witnesses(results)) == 2


def test_a_second_ctrl_c_is_immediate(tmp_path: Path) -> None:
    # One is in the middle of a long step, the other hears nothing at all.
    words = [*mortal(tmp_path), "algo.dies=not,never", "algo.pause=100", "eval.every=1", "log.every=1", *ALONE]
    queue = start(*words, "hardware.workers=2")
    wait_for(lambda: len(working()) == 2 or queue.poll() is not None)
    pids = [each.status["pid"] for each in working()]
    queue.send_signal(signal.SIGINT)
    time.sleep(1)
    assert queue.poll() is None
    queue.send_signal(signal.SIGINT)
    queue.communicate(timeout=local.PATIENCE + 5)
    assert queue.returncode == 130
    assert not any(map(alive, pids))


def test_two_who_start_the_same_sweep_in_the_same_second(results: Path, tmp_path: Path) -> None:
    words = [*mortal(tmp_path), "seed=range(0,4)", "algo.pause=0.2", *ALONE]
    results.mkdir()
    first, second = start(*words), start(*words)
    said = [process.communicate(timeout=120) for process in (first, second)]
    assert sorted(process.returncode for process in (first, second)) == [0, 1]
    loser = said[0] if first.returncode else said[1]
    winner = second if first.returncode else first
    assert f"process {winner.pid} on" in loser[1]
    assert "works on the sweep mortal-disc2d-" in loser[1]
    assert len(witnesses(results)) == 4
    assert names() == ["finished"] * 4
    assert len(sweeps()) == 1


def test_editing_the_yaml_changes_nothing_of_what_is_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["-m", *mortal(tmp_path), "seed=range(0,3)", *ALONE]
    path = tmp_path / "conf" / "algo" / "mortal.yaml"
    text = path.read_text()
    with monkeypatch.context() as patch:
        patch.setattr(local.Queue, "work", lambda _: None)  # planned, not begun
        assert cli.main(words) == 1
    path.write_text(text.replace("dies: not", "dies: by_exception").replace("steps: 4", "steps: 9"))
    assert cli.main(["resume", sweeps()[-1].name]) == 0
    assert names() == ["finished"] * 3
    assert {run.status()["steps"] for run in sweeps()[-1].runs()} == {4}
    path.unlink()
    assert cli.main(["resume", sweeps()[-1].name]) == 0


# -- elsewhere, and anew -----------------------------------------------------------------------------------------------


def test_a_sweep_that_began_here_goes_on_in_the_queue(tmp_path: Path, results: Path) -> None:
    words = ["-m", *mortal(tmp_path), "algo.dies=not,by_exception", "seed=0,1", "hardware.pack=1"]
    assert cli.main([*words, "hardware=cpu"]) == 1
    assert sorted(names()) == ["failed", "failed", "finished", "finished"]
    here = {each["pid"] for each in witnesses(results)}
    assert here == {os.getpid()}
    assert cli.main([*words, "hardware=local"]) == 1
    assert len(sweeps()) == 1
    (sweep,) = sweeps()
    assert sweep.hardware["where"] == "local"
    assert sweep.about()["words"][-1] == "hardware=local"
    later = [each["pid"] for each in witnesses(results)[4:]]
    assert len(later) == 2
    assert os.getpid() not in later
    assert all(run.config["hardware"]["where"] == "local" for run in sweep.runs())
    assert all("hardware=local" in run.words and "hardware=cpu" not in run.words for run in sweep.runs())


def test_rerun_starts_anew(results: Path) -> None:
    words = ["-m", *SHORT, "seed=0,1", *ALONE]
    assert cli.main(words) == 0
    before = {run.path: (run.directory / "metrics.jsonl").read_bytes() for run in sweeps()[-1].runs()}
    assert cli.main(words) == 0
    assert {run.path: (run.directory / "metrics.jsonl").read_bytes() for run in sweeps()[-1].runs()} == before
    was = rows(results)
    assert cli.main([*words, "rerun=true"]) == 0
    assert all((run.directory / "metrics.jsonl").read_bytes() != before[run.path] for run in sweeps()[-1].runs())
    assert rows(results) == was
    assert names() == ["finished"] * 2


def test_what_a_configuration_names_is_imported_beforehand() -> None:
    (run,) = cells("algo=cocoa", "base=mopo", "env=hopper")
    assert local.modules([run]) == [
        "rlbench.algos.offline.cocoa",
        "rlbench.algos.offline.dynamics",
        "rlbench.algos.offline.mopo",
        "rlbench.data.embedded",
        "rlbench.envs.control",
    ]


def test_the_longest_run_goes_first() -> None:
    found = cells(*SHORT, "steps=10,30,20")
    assert [run.config["steps"] for run in sorted(found, key=local.length, reverse=True)] == [30, 20, 10]


@pytest.mark.usefixtures("results")
def test_rerun_takes_no_results_away_that_nobody_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """Seeds 0 to 3 trained together: a new seed 2 would take the others' results with it."""
    pack = packed(cells(*SHORT, "seed=range(0,4)"), 4, 1)[0]
    pack.directory.mkdir(parents=True)
    say(pack.directory, "finished", seeds=4)
    capsys.readouterr()
    assert cli.main(["-m", *SHORT, "seed=2", *ALONE, "rerun=true"]) == 2
    said = capsys.readouterr().err
    assert "seed=2 was trained together with seed=0,1,3" in said
    assert str(pack.directory) in said
    assert pack.finished()


def finished(run: Planned) -> bytes:
    """A directory that says of a run that it is finished; its metrics."""
    run.directory.mkdir(parents=True)
    say(run.directory, "finished", seeds=len(run.seeds))
    (run.directory / "metrics.jsonl").write_bytes(run.path.encode())
    return run.path.encode()


@pytest.mark.usefixtures("results")
def test_a_rerun_that_is_refused_takes_nothing_away(capsys: pytest.CaptureFixture[str]) -> None:
    found = cells(*SHORT, "seed=0,1")
    kept = [finished(run) for run in found]
    words = ["-m", *SHORT, "seed=0,1", *ALONE, "rerun=true"]

    def is_refused(words: list[str], code: int, message: str) -> None:
        capsys.readouterr()
        assert cli.main(words) == code
        assert message in capsys.readouterr().err
        assert [(run.directory / "metrics.jsonl").read_bytes() for run in found] == kept
        assert not list(found[0].directory.parent.glob(".*.before"))

    is_refused([*words, "--name", "my sweep"], 2, "letters, digits and . _ + - name a sweep")
    Sweep.create("taken", [], found[:1], lambda: found[:1])
    is_refused([*words, "--name", "taken"], 2, "there is another sweep taken")
    with alone(found[1].directory):
        is_refused([*words, "--name", "anew"], 1, "runs this very run")
    assert [sweep.name for sweep in sweeps()] == ["taken"]
    elsewhere = Sweep.create("elsewhere", [], found, lambda: found)
    with journal.Journal(elsewhere, found):  # a process here has the runs in hand, none of which it has begun
        is_refused([*words, "--name", "elsewhere"], 1, "is queued or at work with other settings")
    elsewhere.revise(lambda runs: runs, hardware=cells(*words)[0].config["hardware"])
    with elsewhere.alone():
        is_refused([*words, "--name", "elsewhere"], 1, "works on the sweep elsewhere")


@pytest.mark.usefixtures("results")
def test_a_finished_run_is_kept_until_its_replacement_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    (run,) = cells(*SHORT, "seed=0")
    first = finished(run)
    before = run.directory.with_name(f".{run.directory.name}.before")
    words = ["-m", *SHORT, "seed=0", *ALONE, "rerun=true"]
    with monkeypatch.context() as patch:
        patch.setattr(local.Queue, "work", lambda _: None)  # planned, not begun
        assert cli.main(words) == 1
        assert not run.directory.exists()
        run.directory.mkdir()  # killed after it had begun
        say(run.directory, "interrupted")
        assert cli.main(words) == 1
    assert not run.directory.exists()
    assert (before / "metrics.jsonl").read_bytes() == first
    second = finished(run)
    (run.directory / "metrics.jsonl").write_bytes(second + b" again")
    with monkeypatch.context() as patch:
        patch.setattr(local.Queue, "work", lambda _: None)
        assert cli.main(words) == 1
    assert (before / "metrics.jsonl").read_bytes() == second + b" again"
    assert [path.name for path in before.parent.iterdir() if path.is_dir()] == [before.name]
