"""A sweep in this process: one run after another."""

from __future__ import annotations

import os

from rlbench.cli import guarded
from rlbench.launch import journal
from rlbench.launch.start import Hardware
from rlbench.launch.states import labels, outcome
from rlbench.launch.sweep import Sweep

jobs, cancel = journal.jobs, journal.cancel


def workers(_hardware: Hardware) -> int:
    return 1


def start(sweep: Sweep) -> int:
    """Run what is unfinished; a run that fails does not stop the others.

    Returns:
        The exit code: not 0 either where the results of a run that is finished cannot be read.

    Raises:
        RunError: some failed; the message says which, and why.
    """
    from rlbench.launch.job import execute

    runs = sweep.runs()
    names = labels(runs)
    worst = 0
    with sweep.alone(), journal.Journal(sweep, [run for run in runs if not run.finished()]) as book:
        for number, run in enumerate(runs, 1):
            if run.path in book.cancelled():
                continue
            print(f"[{number}/{len(runs)}] {names[run.path]}", flush=True)
            book.began(run, os.getpid())
            code = guarded(lambda run=run: execute(sweep, run))  # type: ignore[misc]
            book.ended(run, code)
            worst = max(worst, code)
            if code >= 128 and run.path not in book.cancelled():
                print(f"`rlbench resume {sweep.name}` goes on with the sweep")
                return code
    return outcome(sweep) or worst
