"""Jobs on a real SLURM: nothing is lost and nothing done twice, whatever the cluster does to them."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rlbench import cli
from rlbench.launch import slurm, start
from rlbench.launch.sweep import Planned, find
from rlbench.tracking.rundir import alone
from tests.launch.practice import Practice
from tests.launch.snails import expected, lives, rows, snail, states, status, submit, trains, wait_for
from tests.tracking.wandb_server import WandbServer

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900), pytest.mark.usefixtures("results")]

ROOT = Path(__file__).parents[2]
plain_only = pytest.mark.parametrize("cluster", ["plain"], indirect=True)


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
        command = [sys.executable, "-m", "rlbench", *snail(mine, 400, "range(0,7)"), *low, "--name", "struck"]
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
        wait_for(lambda: all(status(run)["state"] == "finished" for run in struck.runs() if run.path not in ended))
        wait_for(
            lambda: all(job.state == "ended" for job in slurm.known(struck, struck.runs(), slurm.squeue()).values())
        )
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
        whole = expected(*long.runs())
        wait_for(lambda: len(mirrored.history) >= len(whole))  # the mirror follows a finished run
        assert [(row["step"], row["train/value"]) for row in mirrored.history] == whole
        wait_for(lambda: mirrored.exit_code == 0)


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
