"""What a process on this machine does with the runs of a sweep, for other processes to read and to influence.

`jobs/queue.jsonl` begins with a line that says which process it is and what waits; a line follows for each run that
begins or ends. `jobs/cancelled` holds the paths of runs that it is not to begin.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Sequence
from typing import Any

from rlbench.errors import RunError
from rlbench.files import write_atomically
from rlbench.launch.start import Job
from rlbench.launch.sweep import Planned, Sweep
from rlbench.tracking.rundir import is_alive

CANCELLED = "cancelled"


class Journal:
    """The journal of a sweep; `with` it, this process is the one that works on the sweep.

    Args:
        sweep: the sweep.
        runs: those of its runs that this process is going to work on.
    """

    def __init__(self, sweep: Sweep, runs: Sequence[Planned] = ()) -> None:
        self.path = sweep.jobs / "queue.jsonl"
        self.withdrawn = sweep.jobs / "cancelled"
        self.runs = runs

    def __enter__(self) -> Journal:
        self.path.parent.mkdir(exist_ok=True)
        self.withdrawn.unlink(missing_ok=True)
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "waiting": [run.path for run in self.runs]}
        write_atomically(self.path, json.dumps(owner) + "\n")
        return self

    def __exit__(self, *_: object) -> None:
        self.add(closed=True)

    def began(self, run: Planned, pid: int) -> None:
        self.add(path=run.path, pid=pid)

    def ended(self, run: Planned, code: int) -> None:
        self.add(path=run.path, code=code)

    def add(self, **event: Any) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(event) + "\n")

    def beat(self) -> None:
        """Give a sign of life."""
        os.utime(self.path)

    def cancelled(self) -> set[str]:
        """Paths of the runs that are not to begin."""
        return set(self.withdrawn.read_text().splitlines()) if self.withdrawn.exists() else set()

    def lines(self) -> list[dict[str, Any]]:
        """What was written; a last line that is half written is none."""
        text = self.path.read_text() if self.path.exists() else ""
        return [json.loads(line) for line in text.split("\n")[:-1]]

    def owner(self) -> dict[str, Any] | None:
        """The process that works on the sweep, None where none does."""
        lines = self.lines()
        if not lines or "closed" in lines[-1] or not is_alive({**lines[0], "heartbeat": self.path.stat().st_mtime}):
            return None
        return lines[0]


def jobs(sweep: Sweep) -> dict[str, Job]:
    """What the queue of this machine says of a sweep's runs, by their paths."""
    journal = Journal(sweep)
    owner = journal.owner()
    found: dict[str, Job] = {}
    begun: dict[str, int] = {}
    if owner is not None:
        found = {path: Job(str(owner["pid"]), "queued", "") for path in owner["waiting"]}
        found |= {path: Job("", "ended", CANCELLED) for path in journal.cancelled()}
    for event in journal.lines()[1:]:
        path = event.get("path", "")
        begun.setdefault(path, event.get("pid", 0))
        if "code" in event:
            found[path] = Job(str(begun[path]), "ended", ending(event["code"]))
        elif owner is not None:
            found[path] = Job(str(begun[path]), "running", "")
    return {run.path: found[run.path] for run in sweep.runs() if run.path in found}


def ending(code: int) -> str:
    """How a process ended, in words."""
    if code >= 128:
        return f"stopped by {signal.Signals(code - 128).name}"
    if code >= 0:
        return f"its process ended with code {code}"
    number = signal.Signals(-code)
    why = " (by hand, or memory ran out)" if number == signal.SIGKILL else ""
    return f"its process was killed by {number.name}{why}"


def cancel(sweep: Sweep, runs: Sequence[Planned]) -> None:
    """Stop these runs, and start none of them that has not begun.

    Raises:
        RunError: the sweep is worked on by another machine.
    """
    journal = Journal(sweep)
    owner = journal.owner()
    if owner is None:
        return
    if owner["host"] != socket.gethostname():
        raise RunError(f"{sweep.name} runs on {owner['host']}: cancel it there")
    paths = {run.path for run in runs}
    live = {path: job for path, job in jobs(Sweep(sweep.path)).items() if job.state != "ended"}
    if paths >= live.keys():
        os.kill(owner["pid"], signal.SIGTERM)
        return
    with journal.withdrawn.open("a") as file:
        file.writelines(f"{path}\n" for path in sorted(paths & live.keys()))
    for path in paths & live.keys():
        if live[path].state == "running":
            os.kill(int(live[path].id), signal.SIGTERM)
