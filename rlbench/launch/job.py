"""What a process of a queue does with one run of a sweep; the same on this machine and on a cluster."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path

from omegaconf import OmegaConf

from rlbench import config
from rlbench.cli import guarded
from rlbench.errors import RunError
from rlbench.launch.start import place
from rlbench.launch.sweep import Planned, Sweep
from rlbench.run import run


def work(sweep: Sweep, planned: Planned, wait: bool = False) -> int:
    """Run it, and go on with it where an earlier life stood; what it prints goes to its file in the sweep.

    Args:
        sweep: the sweep.
        planned: the run.
        wait: for another process that runs it, which may be an earlier life; otherwise that is an error.

    Returns:
        The exit code: 0 when the run is finished, 128 + signal when it was interrupted.
    """
    with printing_to(sweep.output(planned)):
        moment = time.strftime("%Y-%m-%d %H:%M:%S")
        print(f"== {moment}, process {os.getpid()} on {socket.gethostname()}: {planned.label}")
        return guarded(lambda: execute(sweep, planned, wait))


def execute(sweep: Sweep, planned: Planned, wait: bool = False) -> int:
    """The run as it was written down, whatever became of the YAML files that it was composed from."""
    if "trial" in planned.config:
        from rlbench.launch import search

        try:
            return search.work(planned, wait)
        except search.NoMetricError:
            end_search(sweep, planned)
            raise
    cfg = config.checked_anew(OmegaConf.create(planned.config), sweep.path / "runs.jsonl")
    return run(cfg, planned.words, planned.directory, wait=wait)


def end_search(sweep: Sweep, trial: Planned) -> None:
    """Stop the other trials of a search, and begin none."""
    others = [run for run in sweep.runs() if run.directory.parent == trial.directory.parent and run.path != trial.path]
    with suppress(RunError):  # where the queue cannot be asked from here, each of them fails by itself
        place(sweep.hardware["where"]).cancel(sweep, others)


@contextmanager
def printing_to(path: Path) -> Iterator[None]:
    """What this process prints, and what libraries and subprocesses of its print, is added to a file line by line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    before = os.dup(1), os.dup(2)
    try:
        with path.open("a", buffering=1) as file, redirect_stdout(file), redirect_stderr(file):
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            yield
    finally:
        for kept, place in zip(before, (1, 2), strict=True):
            os.dup2(kept, place)
            os.close(kept)
