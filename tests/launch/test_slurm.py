"""Sweeps on a real SLURM: submitted at once, no run twice, and every answer of SLURM understood."""

import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from rlbench import cli
from rlbench.errors import RunError
from rlbench.launch import slurm, start
from rlbench.launch.job import execute
from rlbench.launch.sweep import find
from rlbench.tracking.rundir import RunDir
from tests.launch.practice import Practice
from tests.launch.snails import SMALL, expected, rows, snail, states, submit, wait_for

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900), pytest.mark.usefixtures("results")]

ROOT = Path(__file__).parents[2]
HELD = "hardware.slurm.extra={hold: ''}"  # queued, and not to begin
plain_only = pytest.mark.parametrize("cluster", ["plain"], indirect=True)


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
    words = ["-m", "--config-dir", str(hill), "algo=hill", "tracking=disabled", *SMALL]
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
    sweep = submit("vain", [*snail(mine, 5, "1,2"), "hardware.slurm.extra={nodelist: n1}"])
    wait_for(lambda: states(sweep) == dict.fromkeys((1, 2), "launch failed requeued held"))
    spool.unlink()
    spool.with_name("away").rename(spool)
    cluster.up()
    assert execute(sweep, sweep.runs()[0]) == 0  # by hand: its job would be held for ever
    assert cli.main(["resume", "vain"]) == 0
    wait_for(lambda: not sweep.unfinished())
    assert [rows(run) for run in sweep.runs()] == [expected(run) for run in sweep.runs()]
    wait_for(lambda: not cluster.jobs())
