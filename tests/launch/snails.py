"""Runs that take as long as a test wants, on a practice cluster."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rlbench import cli
from rlbench.errors import RunError
from rlbench.launch import slurm
from rlbench.launch.start import Job
from rlbench.launch.sweep import Planned, Sweep, find
from rlbench.tracking.rundir import RunDir
from tests import processes
from tests.launch.snail.lcg import after

SMALL = ["hardware=slurm_cpu", "hardware.slurm.memory_gb=0.2", "hardware.slurm.notice=5"]
wait_for = partial(processes.wait_for, seconds=300)


def snail(mine: Path, steps: int, seeds: str) -> list[str]:
    """The words of a sweep of runs that take a tenth of a second a step."""
    return [
        "-m", "--config-dir", str(mine), "algo=snail", f"seed={seeds}", f"steps={steps}", f"eval.every={steps}",
        "log.every=1", "checkpoint.every_seconds=1", "tracking=disabled", *SMALL,
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


def asked(sweep: Sweep) -> dict[str, Job]:
    """What SLURM says of all runs of a sweep, finished ones too."""
    return slurm.known(sweep, sweep.runs(), slurm.squeue())


def states(sweep: Sweep) -> dict[int, str]:
    """The reasons among that, by the runs' seeds."""
    jobs = asked(sweep)
    return {run.config["seed"]: jobs[run.path].reason for run in sweep.runs() if run.path in jobs}
