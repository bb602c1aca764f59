"""What became of the runs of a sweep: their directories and the queue's word, put together."""

from __future__ import annotations

import socket
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlbench.errors import RunError
from rlbench.launch.start import Job, place
from rlbench.launch.sweep import Planned, Sweep, is_seed
from rlbench.tracking.rundir import RunDir, Score

SILENT = 60.0  # seconds without a heartbeat after which the queue is believed that says a run is over

ORDER = ("finished", "pruned", "running", "building", "starting", "queued", "new", "interrupted", "failed", "lost")
OVER = ("finished", "pruned")
ACTIVE = ("running", "building", "starting", "queued")
AMISS = ("failed", "lost")


@dataclass(frozen=True)
class State:
    """A run now.

    Attributes:
        run: the run.
        name: one of `ORDER`: those of a run's directory; `starting`: the queue has begun it, its directory does not
            say so yet; `queued`; `new`: nobody has it.
        status: what its directory says; empty where there is none.
        job: what the queue says; None: nothing.
    """

    run: Planned
    name: str
    status: dict[str, Any]
    job: Job | None

    @classmethod
    def of(cls, run: Planned, job: Job | None = None) -> State:
        status = run.status()
        return cls(run, merged(status, job), status, job)

    @classmethod
    def of_directory(cls, directory: Path) -> State:
        """A run that belongs to no sweep.

        Raises:
            RunError: the directory is damaged.
        """
        run = RunDir.open(directory)
        return cls.of(Planned(run.overrides(), run.content(), str(directory)))

    @property
    def step(self) -> int:
        return int(self.status.get("step", 0))

    @property
    def steps(self) -> int:
        return int(self.status.get("steps") or self.run.config["steps"])

    @property
    def speed(self) -> float | None:
        """Steps a second, of a run that is at work."""
        return self.status.get("speed") if self.name == "running" else None

    @property
    def left(self) -> float | None:
        """Seconds that it has yet to go."""
        if not self.speed:
            return None
        return max(0.0, (self.steps - self.step) / self.speed - (time.time() - self.status["heartbeat"]))

    @property
    def score(self) -> Score | None:
        score = self.status.get("score")
        return score and Score(**score)

    @property
    def reason(self) -> str | None:
        """Why it is not finished, and nobody works on it."""
        if self.name in ("failed", "lost", "interrupted"):
            return self.status.get("error") or (self.job.reason if self.job else None)
        return self.job.reason if self.job and self.name == "queued" else None


def merged(status: dict[str, Any], job: Job | None) -> str:
    """The state of a run. Its directory is believed first if it says that the run is over or alive, then the queue."""
    state = status.get("state")
    if job is None:
        return state or "new"
    if state in ("running", "building"):
        silent = time.time() - status["heartbeat"] > SILENT
        if job.state == "running" or not silent or status["host"] == socket.gethostname():
            return str(state)
        return "queued" if job.state == "queued" else "lost"  # its machine is gone
    if state in OVER or (state and job.state in ("ending", "ended")):
        return str(state)
    if job.state == "ended":
        return "interrupted" if job.reason.lower().startswith("cancelled") else "failed"
    return "queued" if job.state == "queued" else "starting"


def asked(sweep: Sweep) -> dict[str, Job]:
    """What the queue says of a sweep's runs; where it does not answer, the runs' directories are all there is."""
    try:
        return place(sweep.hardware["where"]).jobs(sweep)
    except RunError as error:
        print(f"{sweep.name}: the queue does not say what it has ({error})", file=sys.stderr)
        return {}


def states(sweep: Sweep) -> list[State]:
    """Every run of a sweep as it is now."""
    runs = sweep.runs()
    # Asked before the directories are read: a run that ends in between is then finished, not gone.
    jobs = {} if all(run.finished() for run in runs) else asked(sweep)
    return [State.of(run, jobs.get(run.path)) for run in runs]


def counts(found: Iterable[State]) -> dict[str, int]:
    """How many runs are in which state, in the order of `ORDER`."""
    number = Counter(each.name for each in found)
    return {name: number[name] for name in ORDER if number[name]}


def summary(found: Sequence[State]) -> str:
    """`3 finished, 1 failed`."""
    return ", ".join(f"{number} {name}" for name, number in counts(found).items()) or "no runs"


def labels(runs: Sequence[Planned]) -> dict[str, str]:
    """What tells the runs apart, by their paths: the words that they do not all have in common."""
    if len(runs) == 1:
        return {runs[0].path: runs[0].label}
    common = set(runs[0].words).intersection(*(run.words for run in runs))
    same_seeds = len({run.seeds for run in runs}) == 1
    return {
        run.path: " ".join(
            [word for word in (*run.words, *run.drawn) if word not in common and not is_seed(word)]
            + ([] if same_seeds else [f"seed={run.seeds[0]}" + (f"..{run.seeds[-1]}" if len(run.seeds) > 1 else "")])
        )
        for run in runs
    }


def complaints(sweep: Sweep, found: Sequence[State]) -> Iterator[str]:
    """Which of the runs failed, why, and where it stands what they printed."""
    names = labels([each.run for each in found])
    for each in found:
        if each.name in AMISS:
            yield f"  {names[each.run.path]}: {each.reason or each.name}"
            if (output := sweep.output(each.run)).exists():
                yield f"    it printed {output}"


def searched(runs: Sequence[Planned]) -> Iterator[str]:
    """Lines on the searches that the runs are trials of."""
    if any("trial" in run.config for run in runs):
        from rlbench.launch.search import shown

        yield from shown(runs)


def outcome(sweep: Sweep) -> int:
    """The exit code of a sweep that nobody works on any more, after a word on what became of it.

    Raises:
        RunError: not all runs are finished; the message says which failed.
    """
    found = states(sweep)
    for line in searched([each.run for each in found]):
        print(line)
    number = counts(found)
    if set(number) <= set(OVER):
        print(f"{sweep.name}: all {len(found)} runs are finished")
        return 0
    what = ", ".join(f"{number[name]} {name}" for name in number if name not in OVER)
    lines = [f"of {len(found)} runs, {what}", *complaints(sweep, found), f"`rlbench resume {sweep.name}` goes on"]
    raise RunError("\n".join(lines))
