"""Sweeps on a real SLURM: nothing lost, nothing twice, whatever the cluster does to its jobs."""

import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rlbench import cli
from rlbench.errors import RunError
from rlbench.launch import slurm, start
from rlbench.launch.sweep import Planned, Sweep, find
from rlbench.tracking.rundir import RunDir, alone
from tests.launch import practice
from tests.launch.practice import Practice
from tests.launch.snail.lcg import after
from tests.tracking.wandb_server import WandbServer

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
SMALL = ["hardware.slurm.memory_gb=0.2", "hardware.slurm.notice=5"]
plain_only = pytest.mark.parametrize("cluster", ["plain"], indirect=True)
wait_for = partial(practice.wait_for, seconds=300)


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path / "results"))
    return tmp_path / "results"


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """The user's folder, with the plug-in."""
    shutil.copytree(Path(__file__).parent / "snail", tmp_path / "mine")
    return tmp_path / "mine"


def snail(mine: Path, steps: int, seeds: str) -> list[str]:
    """The words of a sweep of runs that take a tenth of a second a step."""
    return [
        "-m", "--config-dir", str(mine), "algo=snail", f"seed={seeds}", f"steps={steps}", f"eval.every={steps}",
        "log.every=1", "checkpoint.every_seconds=1", "tracking=disabled", "hardware=slurm_cpu", *SMALL,
    ]  # fmt: skip


def submit(name: str, words: Sequence[str]) -> Sweep:
    assert cli.main([*words, "--name", name]) == 0
    return find(name)


def rows(run: Planned) -> list[tuple[int, float]]:
    return [(row["step"], row["train/value"]) for row in RunDir(run.directory).rows()]


def expected(run: Planned) -> list[tuple[int, float]]:
    """The rows of a run that nothing befalls."""
    found, value = [], run.config["seed"]
    for step in range(1, run.config["steps"] + 1):
        value = after(value)
        found.append((step, float(value)))
    return found


def status(run: Planned) -> dict[str, Any]:
    try:
        return RunDir(run.directory).status()
    except RunError:
        return {}


def lives(run: Planned) -> int:
    return 1 + len(RunDir(run.directory).meta()["resumed"])


def trains(run: Planned) -> bool:
    return bool(run.directory.exists() and RunDir(run.directory).metrics.exists() and len(rows(run)) > 10)


def states(sweep: Sweep) -> dict[int, str]:
    """What SLURM says of the runs, by their seeds."""
    jobs = slurm.known(sweep, sweep.runs(), slurm.squeue())
    return {run.config["seed"]: jobs[run.path].reason for run in sweep.runs() if run.path in jobs}


def broken_checkout(tmp_path: Path) -> Path:
    """A checkout to submit from and to break afterwards."""
    for part in ("rlbench", "conf"):
        shutil.copytree(ROOT / part, tmp_path / "checkout" / part, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "checkout"


def test_runs_go_on_whatever_befalls_them(
    cluster: Practice, mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    checkout = broken_checkout(tmp_path)
    low = ["hardware.slurm.partition=low"]
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        # One run is longer than its job may be, and seven are yet to be struck.
        words = [*snail(mine, 600, "7"), *low, "tracking=online", "hardware.slurm.minutes=1"]
        long = submit("long", [*words, "hardware.slurm.extra={nodelist: n4}"])
        command = [sys.executable, "-m", "rlbench", *snail(mine, 250, "range(0,7)"), *low, "--name", "struck"]
        subprocess.run(command, env={**os.environ, "PYTHONPATH": str(checkout)}, check=True)
        struck = find("struck")
        # What is edited now counts for none of them.
        plugin = (mine / "snail.py").read_text()
        (mine / "snail.py").write_text("raise RuntimeError('edited')")
        (mine / "lcg.py").write_text("raise RuntimeError('edited')")
        (checkout / "rlbench/__init__.py").write_text("raise RuntimeError('edited')")
        runs = [*struck.runs(), *long.runs()]
        wait_for(lambda: all(map(trains, runs)))
        nodes = dict(line.split() for line in cluster.run("squeue", "-rho", "%i %N").splitlines())
        jobs = slurm.jobs(struck)
        on: dict[str, list[Planned]] = {}
        for run in struck.runs():
            on.setdefault(nodes[jobs[run.path].id], []).append(run)
        pushed, moved, (killed, again), (cancelled,) = on["n1"], on["n2"], on["n3"], on["n4"]
        assert {job.state for job in jobs.values()} == {"running"}

        cluster.sbatch("true", "-phigh", "-wn1", "--exclusive")
        os.kill(status(killed)["pid"], signal.SIGKILL)
        cluster.run("scontrol", "requeue", jobs[again.path].id)
        slurm.cancel(struck, [cancelled])
        cluster.kill("slurmd-n2")
        cluster.run("scontrol", "update", "NodeName=n2", "State=DOWN", "Reason=struck")
        cluster.up()

        ended = {killed.path, cancelled.path}
        wait_for(lambda: all(status(run)["state"] == "finished" for run in runs if run.path not in ended))
        wait_for(lambda: not cluster.jobs())
        assert status(killed)["state"] == "lost"
        assert status(cancelled)["state"] == "interrupted"
        said = states(struck)
        assert said[killed.config["seed"]].startswith("FAILED")
        assert said[cancelled.config["seed"]].startswith("CANCELLED")
        assert {said[run.config["seed"]] for run in [*pushed, *moved, again]} == {"COMPLETED"}
        assert lives(killed) == lives(cancelled) == 1

        (mine / "snail.py").write_text(plugin)
        shutil.copy(Path(__file__).parent / "snail" / "lcg.py", mine)
        assert start.proceed(struck) == 0
        assert {job.state for job in slurm.jobs(struck).values()} <= {"queued", "running"}
        wait_for(lambda: all(status(run)["state"] == "finished" for run in runs))

        for run in runs:
            assert rows(run) == expected(run)
        assert all(lives(run) == 2 for run in struck.runs())
        assert lives(*long.runs()) >= 2
        (mirrored,) = server.runs.values()
        assert [(row["step"], row["train/value"]) for row in mirrored.history] == expected(*long.runs())
        assert mirrored.exit_code == 0


HELD = "hardware.slurm.extra={hold: ''}"  # queued, and not to begin


@plain_only
def test_more_runs_than_an_array_may_have(cluster: Practice, mine: Path, tmp_path: Path) -> None:
    words = [*snail(mine, 10, "range(0,1200)"), HELD, "hardware.slurm.at_once=5", "--name", "many"]
    before = os.times()
    subprocess.run([sys.executable, "-m", "rlbench", *words], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    spent = os.times()
    assert spent.children_user + spent.children_system - before.children_user - before.children_system < 10
    sweep = find("many")
    first, second = slurm.arrays(sweep)
    assert [len(first.runs()), len(second.runs())] == [1001, 199]
    assert first.runs() + second.runs() == [run.path for run in sweep.runs()]
    number = first.number()
    assert f"{number}_*(unfulfilled)" in cluster.run("squeue", "-hn", second.name, "-o", "%E")
    listed = cluster.run("squeue", "-ho", "%i").split()
    assert [entry.rpartition("%")[2] for entry in listed] == ["5]", "5]"]

    log = counted(tmp_path, "squeue", "sacct")
    jobs = slurm.jobs(sweep)
    assert log.read_text().split() == ["squeue"]
    assert set(jobs) == {run.path for run in sweep.runs()}
    assert {job.state for job in jobs.values()} == {"queued"}
    slurm.cancel(sweep, [run for run in sweep.runs() if run.config["seed"] % 100 >= 30])
    jobs = slurm.jobs(sweep)
    left = {run.config["seed"] for run in sweep.runs() if jobs[run.path].state == "queued"}
    assert left == {seed for seed in range(1200) if seed % 100 < 30}
    assert Counter(job.reason for job in jobs.values())["CANCELLED"] == 1200 - len(left)


def counted(tmp_path: Path, *programs: str, instead: str = "") -> Path:
    """Let each call of these programs add its name to a file."""
    (tmp_path / "bin").mkdir()
    log = tmp_path / "calls"
    for program in programs:
        shim = tmp_path / "bin" / program
        shim.write_text(f'#!/bin/sh\necho {program} >> {log}\n{instead}\nexec {shutil.which(program)} "$@"\n')
        shim.chmod(0o755)
    os.environ["PATH"] = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    return log


@pytest.fixture(autouse=True)
def _path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.environ["PATH"])


@plain_only
def test_however_often_it_is_asked_for_a_run_is_queued_once(cluster: Practice, mine: Path) -> None:
    sweep = submit("once", [*snail(mine, 10, "range(0,20)"), HELD])
    cluster.run("scancel", *cluster.jobs())
    wait_for(lambda: not cluster.jobs())
    submitting = [multiprocessing.get_context("fork").Process(target=slurm.start, args=(sweep,)) for _ in range(100)]
    for process in submitting:
        process.start()
    for process in submitting:
        process.join()
    assert {process.exitcode for process in submitting} == {0}
    assert len(cluster.jobs()) == 20
    assert len(slurm.arrays(sweep)) == 2

    # Whoever submitted them was killed before it could write their number down.
    slurm.arrays(sweep)[-1].file("json").unlink()
    assert submit("once", [*snail(mine, 10, "range(0,20)"), HELD]).runs() == sweep.runs()
    # Another sweep has some of them too.
    other = submit("other", [*snail(mine, 10, "range(15,25)"), HELD])
    assert len(cluster.jobs()) == 25
    assert len(slurm.jobs(other)) == 10


def test_what_slurm_forgets_the_accounts_know(cluster: Practice, mine: Path, tmp_path: Path) -> None:
    sweep = submit(
        "shell", [*snail(mine, 10, "range(0,3)"), "hardware.slurm.setup=['echo on $SLURMD_NODENAME', exit 7]"]
    )
    wait_for(lambda: not cluster.jobs())
    said = [sweep.output(run).read_text() for run in sweep.runs()]
    assert all(re.fullmatch(r"on n\d\n", text) for text in said)
    held = submit("held", [*snail(mine, 10, "range(3,6)"), HELD])
    cluster.run("scancel", *{array.number() for array in slurm.arrays(held)})
    assert set(states(sweep).values()) == {"FAILED: NonZeroExitCode"}

    log = counted(tmp_path, "squeue", instead="exit 0")
    assert set(states(sweep).values()) == {"FAILED: NonZeroExitCode"}
    (sweep.jobs / "ended.json").unlink()
    if json.loads((cluster.folder / "cluster.json").read_text())["accounting"]:
        wait_for(lambda: states(sweep) == dict.fromkeys(range(3), "FAILED: exit code 7"))
        wait_for(lambda: states(held) == dict.fromkeys(range(3, 6), "CANCELLED"))
    else:
        assert set(states(sweep).values()) == set(states(held).values()) == {slurm.GONE}
    assert log.exists()


@plain_only
def test_a_single_run_that_is_told_to_leave_until_it_may_not_come_back(cluster: Practice, mine: Path) -> None:
    words = [word for word in snail(mine, 300, "3") if word != "-m"]
    sweep = submit("single", [*words, "hardware.slurm.restarts=1"])
    (run,) = sweep.runs()
    wait_for(lambda: trains(run))
    job = slurm.jobs(sweep)[run.path].id
    cluster.run("scancel", "--signal=USR2", job)
    wait_for(lambda: lives(run) == 2)
    assert cluster.jobs() == {job: "RUNNING"}
    cluster.run("scancel", "--signal=USR2", job)
    wait_for(lambda: not cluster.jobs())
    assert slurm.jobs(sweep)[run.path].reason.startswith("FAILED")
    assert "not put back into the queue again: hardware.slurm.restarts=1" in sweep.output(run).read_text()
    assert rows(run) == expected(run)[: len(rows(run))]


@plain_only
@pytest.mark.usefixtures("cluster")
def test_a_second_life_waits_for_the_end_of_the_first(mine: Path) -> None:
    words = snail(mine, 5, "4")
    (cell,) = cli.cells(cli.request(words, "", ""))
    with alone(cell.directory):
        sweep = submit("late", words)
        wait_for(lambda: sweep.output(cell).exists() and "waiting for its end" in sweep.output(cell).read_text())
        assert f"process {os.getpid()} on " in sweep.output(cell).read_text()
    wait_for(lambda: status(cell).get("state") == "finished")
    assert rows(cell) == expected(cell)


@plain_only
def test_an_account_with_a_limit_gets_what_it_may(cluster: Practice, mine: Path, tmp_path: Path) -> None:
    # The words of a slurmctld with AccountingStorageEnforce=limits and MaxSubmitJobs=20.
    refuse = r"""
        more=$(sed -n 's/.*--array=0-\([0-9]*\).*/\1/p' $1)
        if [ $(($(squeue -hr | wc -l) + more + 1)) -gt 20 ]; then
            echo 'sbatch: error: AssocMaxSubmitJobLimit' >&2
            echo 'sbatch: error: Batch job submission failed: Job violates accounting/QOS policy' \
                "(job submit limit, user's size and/or time limits)" >&2
            exit 1
        fi"""
    counted(tmp_path, "sbatch", instead=refuse)
    with pytest.raises(
        RunError, match=r"^of 50 runs 20 are queued now, and no more are taken .*AssocMaxSubmitJobLimit"
    ):
        start.sweep([], cli.cells(cli.request([*snail(mine, 10, "range(0,50)"), HELD], "", "")), "limited")
    assert len(cluster.jobs()) == 20


@plain_only
def test_what_slurm_refuses_it_says(
    cluster: Practice, mine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*words: str) -> str:
        assert cli.main([*snail(mine, 10, "range(0,2)"), *words]) > 0
        error = capsys.readouterr().err
        assert error.startswith("rlbench: error: ")
        return error.removeprefix("rlbench: error: ")

    said = refused("hardware.slurm.partition=nope")
    assert said.startswith("SLURM: invalid partition specified: nope; Batch job submission failed: Invalid partition")
    assert said.endswith("hardware.slurm.partition= takes high, low, main\n")
    assert refused("hardware.slurm.memory_gb=999").startswith("SLURM: Memory specification can not be satisfied;")
    assert refused("hardware.slurm.gres=foo:1").startswith("SLURM: Invalid generic resource (gres) specification")
    assert refused("hardware.slurm.extra={time: 3}").endswith("hardware.slurm.minutes=VALUE\n")
    assert "leaves nothing of hardware.slurm.minutes=1" in refused(
        "hardware.slurm.minutes=1", "hardware.slurm.notice=60"
    )
    assert cluster.jobs() == {}
    with monkeypatch.context() as patch:
        # On a cluster of several machines the folder would be another one on each.
        patch.setattr("socket.gethostname", lambda: "login7.hpc")
        assert "is on this machine alone" in refused()
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "/nowhere")
        assert refused().startswith("there is no SLURM on this machine (no sbatch)")


@plain_only
def test_a_search_reads_the_choices_of_when_it_was_asked_for(cluster: Practice, tmp_path: Path) -> None:
    hill = Path(shutil.copytree(Path(__file__).parent / "hill", tmp_path / "mine"))
    words = ["-m", "--config-dir", str(hill), "algo=hill", "tracking=disabled", "hardware=slurm_cpu", *SMALL]
    sweep = submit("climb", [*words, "search=random", "search.trials=4", "algo.x=interval(0,1)"])
    shutil.rmtree(hill)
    wait_for(lambda: not sweep.unfinished())
    assert len({RunDir(run.directory).config() for run in sweep.runs()}) == 4
    wait_for(lambda: not cluster.jobs())


@plain_only
def test_what_slurm_put_back_in_vain_is_submitted_anew(cluster: Practice, mine: Path) -> None:
    spool = cluster.folder / "spool/n1"
    spool.rename(spool.with_name("away"))
    spool.touch()  # where the node's slurmd would put the job's script
    sweep = submit("vain", [*snail(mine, 5, "1"), "hardware.slurm.extra={nodelist: n1}"])
    wait_for(lambda: states(sweep) == {1: "launch failed requeued held"})
    spool.unlink()
    spool.with_name("away").rename(spool)
    cluster.up()
    assert cli.main(["resume", "vain"]) == 0
    wait_for(lambda: not sweep.unfinished())
    assert rows(*sweep.runs()) == expected(*sweep.runs())
    wait_for(lambda: not cluster.jobs())
