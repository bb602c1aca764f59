"""Sweeps on a real SLURM: nothing lost, nothing twice, whatever the cluster does to its jobs."""

import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.launch.practice import Practice, wait_for
from tests.launch.snail.lcg import after
from tests.tracking.wandb_server import WandbServer

from rlbench import cli
from rlbench.errors import RunError, UsageError
from rlbench.launch import slurm, start
from rlbench.launch.sweep import Planned, Sweep, find
from rlbench.tracking.rundir import RunDir

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
SMALL = ["hardware.slurm.memory_gb=0.2", "hardware.slurm.notice=5"]
plain_only = pytest.mark.parametrize("cluster", ["plain"], indirect=True)
accounting_only = pytest.mark.parametrize("cluster", ["accounting"], indirect=True)


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
    jobs = slurm.known(sweep, sweep.runs())
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
        wait_for(lambda: all(map(trains, runs)), 180)
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
        wait_for(lambda: all(status(run)["state"] == "finished" for run in runs if run.path not in ended), 300)
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
        wait_for(lambda: all(status(run)["state"] == "finished" for run in runs), 120)

        for run in runs:
            assert rows(run) == expected(run)
        assert all(lives(run) == 2 for run in struck.runs())
        assert lives(*long.runs()) >= 2
        (mirrored,) = server.runs.values()
        assert [(row["step"], row["train/value"]) for row in mirrored.history] == expected(*long.runs())
        assert mirrored.exit_code == 0
