"""A queue over this machine's cores and GPUs: each run in a process of its own, forked from one that is warm."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from multiprocessing import connection, forkserver, resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any, cast

from rlbench.errors import Interrupted, RunError, UsageError
from rlbench.launch import journal
from rlbench.launch.start import Hardware, Job
from rlbench.launch.states import State, outcome, states, summary
from rlbench.launch.sweep import Planned, Sweep
from rlbench.launch.table import Display
from rlbench.signals import Stop, end_with_parent
from rlbench.tracking.meta import cores

TICK = 0.5  # seconds between two looks at the runs
BEAT = 60.0  # seconds between two signs of life
PATIENCE = 5.0  # seconds for the runs to end after a second Ctrl-C

jobs, cancel = journal.jobs, journal.cancel


def gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES may name here, one name a GPU."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return installed_gpus()
    return list(takewhile(lambda name: name not in ("", "-1"), (name.strip() for name in chosen.split(","))))


@cache
def installed_gpus() -> list[str]:
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return []


def places(hardware: Hardware) -> list[str | None]:
    """The GPUs of each run that is worked on at a time, one for each of its processes; None on the processor.

    Raises:
        UsageError: GPUs are asked for that there are not.
    """
    share = hardware["processes"]
    found: list[str] = [] if hardware["device"] == "cpu" else gpus()
    if hardware["device"] == "cuda" and not found:
        raise UsageError("hardware.device=cuda: there is no NVIDIA GPU here\nhardware.device=cpu computes")
    if not found:
        return [None] * (hardware["workers"] or max(1, cores() // (hardware["threads"] * share)))
    shares = [",".join(found[first : first + share]) for first in range(0, len(found) - share + 1, share)]
    if not shares:
        raise UsageError(
            f"hardware.processes={share}, and there are {len(found)} GPUs here\nhardware.device=cpu computes"
        )
    return [shares[i % len(shares)] for i in range(hardware["workers"] or len(shares) * hardware["runs_per_gpu"])]


def workers(hardware: Hardware) -> int:
    return len(places(hardware))


def start(sweep: Sweep) -> int:
    """Run what is unfinished, as many runs at a time as there are places; a run that fails does not stop the others.

    Raises:
        RunError: some failed; the message says which, and why.
        Interrupted: a signal asked to stop; the runs have saved where they stood.
    """
    with sweep.alone():
        runs = sorted(sweep.unfinished(), key=length, reverse=True)
        if runs:
            Queue(sweep, runs).work()
        return outcome(sweep)


def length(run: Planned) -> int:
    """How long a run takes among runs of one algorithm: the longest go first, so that none is left over at the end."""
    return int(run.config["steps"] * run.config["seeds"])


@dataclass(frozen=True)
class Work:
    """A run that is worked on.

    Attributes:
        run: the run.
        process: its process.
        place: the GPUs that it has; None: none.
    """

    run: Planned
    process: BaseProcess
    place: str | None


class Queue:
    """The life of a queue.

    Args:
        sweep: the sweep.
        runs: those of its runs that are to be worked on.
    """

    def __init__(self, sweep: Sweep, runs: Sequence[Planned]) -> None:
        self.sweep = sweep
        self.waiting = deque(runs)
        self.free = places(sweep.hardware)
        self.working: dict[int, Work] = {}
        """By the file descriptor that tells of the process's end."""
        self.journal = journal.Journal(sweep, runs)
        self.beaten = time.monotonic()
        self.display: Display

    def work(self) -> None:
        """Until every run has ended, or a signal asks to stop.

        Raises:
            Interrupted: a signal did.
        """
        at_once, hardware = len(self.free), self.sweep.hardware
        threads = at_once * hardware["processes"] * hardware["threads"]
        print(f"{self.sweep.name}: {len(self.waiting)} runs, {at_once} at a time, in {self.sweep.path}", flush=True)
        if threads > cores():
            print(f"{threads} threads at a time, and {cores()} cores: expect it to be slow")
        try:
            with Stop() as stop, self.journal, Display(states(self.sweep)) as self.display:
                self.display.show()
                warm_up(hardware["threads"], self.waiting)
                with stop.held():
                    self.serve(stop)
        except Interrupted:
            print(f"{summary(states(self.sweep))}; `rlbench resume {self.sweep.name}` goes on", flush=True)
            raise
        except OSError as error:  # the disk is full, or there is no room for another process
            raise RunError(f"the queue cannot go on ({error}); later, `rlbench resume {self.sweep.name}`") from error

    def serve(self, stop: Stop) -> None:
        try:
            while self.working or (self.waiting and stop.signum is None):
                self.step(stop.signum is not None)
        except KeyboardInterrupt:
            self.leave(signal.SIGINT)
        finally:
            self.leave(signal.SIGTERM)

    def step(self, stopping: bool) -> None:
        """Start what there is room for, see what has ended, and show how far the others are."""
        while self.waiting and self.free and not stopping:
            self.begin(self.waiting.popleft(), self.free.pop(0))
        if stopping:
            for each in self.working.values():
                each.process.terminate()
        for sentinel in connection.wait(list(self.working), TICK):
            self.end(self.working.pop(cast(int, sentinel)))
        for each in self.working.values():
            self.display.update(State.of(each.run, Job(str(each.process.pid), "running", "")))
        self.display.show()
        if time.monotonic() - self.beaten > BEAT:
            self.journal.beat()
            self.beaten = time.monotonic()

    def begin(self, run: Planned, place: str | None) -> None:
        if run.path in self.journal.cancelled():
            self.free.append(place)
            self.display.update(State.of(run, Job("", "ended", journal.CANCELLED)))
            return
        environment = {**os.environ, **({} if place is None else {"CUDA_VISIBLE_DEVICES": place})}
        process = fork(forked, self.sweep, run, environment)
        self.working[process.sentinel] = Work(run, process, place)
        self.journal.began(run, cast(int, process.pid))

    def end(self, work: Work) -> None:
        work.process.join()
        code = cast(int, work.process.exitcode)
        self.free.append(work.place)
        self.journal.ended(work.run, code)
        self.display.update(State.of(work.run, Job(str(work.process.pid), "ended", journal.ending(code))))

    def leave(self, signum: signal.Signals) -> None:
        """End what still runs, by force where the signal does not do it."""
        for number in (signum, signal.SIGKILL):
            for each in self.working.values():
                with suppress(ProcessLookupError):
                    os.kill(cast(int, each.process.pid), number)
            end = time.monotonic() + PATIENCE
            while self.working and time.monotonic() < end:
                for sentinel in connection.wait(list(self.working), TICK):
                    self.end(self.working.pop(cast(int, sentinel)))


def warm_up(threads: int, runs: Iterable[Planned]) -> None:
    """Start the process that the runs are forked from, and wait until it has imported what they need."""
    os.environ["OMP_NUM_THREADS"] = str(threads)  # libraries that count the cores when they are imported
    forkserver.set_forkserver_preload(["rlbench.launch.warm", *modules(runs)])
    resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # until it has left the terminal's group
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    fork(os.getpid).join()


def fork(does: Callable[..., object], *arguments: object) -> BaseProcess:
    """A process forked from the warm one.

    Raises:
        RunError: there is no warm one any more.
    """
    process = multiprocessing.get_context("forkserver").Process(target=does, args=arguments)
    try:
        process.start()
    except (EOFError, ConnectionError) as error:
        raise RunError("the process that runs are forked from has died; `rlbench doctor` may say why") from error
    return process


def modules(runs: Iterable[Planned]) -> list[str]:
    """The modules of rlbench that the configurations of the runs name, and what draws the values of a search."""

    def named(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            yield from [str(node["_target_"]).rpartition(".")[0]] if "_target_" in node else []
            for each in node.values():
                yield from named(each)

    runs = list(runs)
    searching = ["optuna", "rlbench.launch.search"] if any("trial" in run.config for run in runs) else []
    return sorted({name for run in runs for name in named(run.config) if name.startswith("rlbench.")}) + searching


def forked(sweep: Sweep, run: Planned, environment: dict[str, str]) -> None:
    """What a run's process does.

    Args:
        sweep: the run's sweep.
        run: the run.
        environment: its environment variables; the warm process still has those of when it began.
    """
    from rlbench.launch.job import work

    end_with_parent()
    os.environ.update(environment)
    sys.exit(work(sweep, run))
