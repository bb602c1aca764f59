"""Where runs go: into this process, into a queue over this machine, or to the cluster."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from rlbench.errors import RunError, UsageError
from rlbench.launch.packing import apart, holder, mended, moved, packed, plan, with_seeds
from rlbench.launch.sweep import Planned, Sweep, default_name
from rlbench.tracking.rundir import RunDir, alone

Hardware = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """A run as the queue sees it.

    Attributes:
        id: what the queue calls it, for its own commands.
        state: whether it is yet to begin, at work, at its end but not gone yet, or over, however it ended.
        reason: the queue's own word for that.
    """

    id: str
    state: Literal["queued", "running", "ending", "ended"]
    reason: str


class Place(Protocol):
    """What `rlbench.launch.here`, `.local` and `.slurm` are: modules, by `hardware.where`."""

    def workers(self, hardware: Hardware) -> int:
        """Runs that are worked on at a time.

        Raises:
            UsageError: what `hardware` asks for is not to be had here.
        """
        ...

    def start(self, sweep: Sweep) -> int:
        """Start the unfinished runs of a sweep, each exactly once; the exit code."""
        ...

    def jobs(self, sweep: Sweep) -> dict[str, Job]:
        """What the queue says of a sweep's runs, by their paths; a run that it knows nothing of is left out."""
        ...

    def cancel(self, sweep: Sweep, runs: Sequence[Planned]) -> None:
        """Stop these runs, and start none of them that has not begun."""
        ...


def place(where: str) -> Place:
    return cast(Place, importlib.import_module(f"rlbench.launch.{where}"))


def single(cell: Planned) -> int:
    """One run in this process; the exit code."""
    from omegaconf import OmegaConf

    from rlbench.run import run
    from rlbench.tracking.progress import result

    found = None if cell.config["rerun"] else holder(cell)
    if found is not None and found != cell:
        print(f"This run is finished already, trained together with others as {' '.join(found.words)}.")
        print(result(RunDir(found.directory)))
        return 0
    return run(OmegaConf.create(cell.config), cell.words, cell.directory)


def sweep(words: Sequence[str], cells: Sequence[Planned], name: str | None) -> int:
    """Write a sweep down, or find it, and start what is unfinished; the exit code.

    Args:
        words: what the user typed.
        cells: the runs that were asked for.
        name: what the user calls it.
    """
    cells = each_once(cells)
    hardware = cells[0].config["hardware"]
    workers = place(hardware["where"]).workers(hardware)
    name = name or default_name(cells)
    if cells[0].config["rerun"]:
        cells = [replace(cell, config={**cell.config, "rerun": False}) for cell in cells]
        made = begun_anew(words, cells, name, workers)
    else:
        made = Sweep.create(name, words, cells, lambda: plan(cells, hardware["pack"], workers))
        check_idle_elsewhere(made, cells)
    adopt(made, words, cells, workers)
    return proceed(made)


def each_once(cells: Sequence[Planned]) -> list[Planned]:
    """The runs that were asked for, without repetitions.

    Raises:
        UsageError: they compute in different places, or one of them is asked for with different settings.
    """
    once: dict[str, Planned] = {}
    for cell in cells:
        if cell.config["hardware"] != cells[0].config["hardware"]:
            raise UsageError("hardware= has one value in a sweep: start one sweep for each")
        first = once.setdefault(cell.path, cell)
        if first.config != cell.config:
            raise UsageError(
                f"{first.label}\nand {cell.label}\nare one run ({cell.path}): what differs has no part in its result, "
                "and gets one value"
            )
    return list(once.values())


def begun_anew(words: Sequence[str], cells: Sequence[Planned], name: str, workers: int) -> Sweep:
    """The sweep of runs that start anew, with room made for them.

    No result leaves its place before all is known that could be refused.

    Args:
        words: what the user typed.
        cells: the runs that were asked for.
        name: what the sweep is called.
        workers: runs that are worked on at a time.

    Raises:
        UsageError: results of others would go with them, or the sweep cannot be called so.
        RunError: some of it is at work.
    """
    old = replaced(cells)
    new = packed(cells, cells[0].config["hardware"]["pack"], workers)
    check_idle([*old, *new])
    made = Sweep.create(name, words, cells, lambda: new)
    check_idle_elsewhere(made, cells)
    with made.alone():
        runs = {run.path: run for run in [*old, *made.runs()]}.values()
        check_idle(runs)
        for run in runs:
            set_aside(run)
    return made


def check_idle_elsewhere(sweep: Sweep, cells: Sequence[Planned]) -> None:
    """Raise `RunError` where a sweep is to go on with other settings than it has, and is still at work with these."""
    before = sweep.hardware["where"]
    if not is_as_asked(sweep, cells) and any(job.state != "ended" for job in place(before).jobs(sweep).values()):
        raise RunError(
            f"the sweep {sweep.name} is queued or at work with other settings (hardware.where={before})\n"
            f"`rlbench status {sweep.name}` shows how far it is, `rlbench cancel {sweep.name}` stops it there"
        )


def is_as_asked(sweep: Sweep, cells: Sequence[Planned]) -> bool:
    """Whether a sweep computes where it is to, and with the settings asked for."""
    runs = sweep.runs()
    return sweep.hardware == cells[0].config["hardware"] and resettled(runs, cells) == runs


def adopt(sweep: Sweep, words: Sequence[str], cells: Sequence[Planned], workers: int) -> None:
    """Let what is unfinished of a sweep go on with other settings, or elsewhere, than it began with.

    Args:
        sweep: the sweep.
        words: what the user typed.
        cells: the runs that were asked for.
        workers: runs that are worked on at a time.
    """
    if is_as_asked(sweep, cells):
        return
    hardware = cells[0].config["hardware"]
    moves = sweep.hardware != hardware

    def now(runs: list[Planned]) -> list[Planned]:
        settled = resettled(runs, cells)
        return moved(settled, hardware["pack"], workers) if moves else settled

    sweep.revise(now, words=list(words), hardware=hardware)


def resettled(runs: Sequence[Planned], cells: Sequence[Planned]) -> list[Planned]:
    """The runs of a sweep with the settings that their cells have now."""
    asked = {cell.path: cell for cell in cells}

    def now(run: Planned) -> Planned:
        first = apart(run)[0]
        cell = asked.get(first.path)
        if cell is None or json.loads(json.dumps(cell.config)) == first.config:
            return run
        return with_seeds(cell, run.seeds) if run.packed else cell

    return [now(run) for run in runs]


def proceed(sweep: Sweep) -> int:
    """Start what is unfinished of a sweep; the exit code."""
    hardware = sweep.hardware
    at = place(hardware["where"])
    sweep.revise(lambda runs: mended(runs, hardware["pack"], at.workers(hardware)))
    return at.start(sweep)


def replaced(cells: Sequence[Planned]) -> list[Planned]:
    """The runs whose place is taken where these start anew.

    Raises:
        UsageError: results of other seeds would go with them, trained in the same run.
    """
    asked = {each.path for cell in cells for each in apart(cell)}
    sizes: dict[Path, set[int]] = {}
    found = [(cell, holder(cell, sizes)) for cell in cells]
    for cell, run in found:
        others = [] if run is None else [each.config["seed"] for each in apart(run) if each.path not in asked]
        if run is not None and others:
            raise UsageError(
                f"rerun=true: seed={cell.config['seed']} was trained together with seed={','.join(map(str, others))} "
                f"({run.directory})\nask for all of them, or leave out -m, which makes one seed anew beside them"
            )
    return [run or cell for cell, run in found]


def check_idle(runs: Iterable[Planned]) -> None:
    """Raise `RunError` where one of these runs is at work."""
    for run in runs:
        if run.directory.exists():
            with alone(run.directory):
                pass


def set_aside(run: Planned) -> None:
    """Make an empty place for a run that starts anew: in a queue it may be begun more than once.

    What was there is kept beside it until the next time, a finished run until another is finished in its place.
    """
    if not run.directory.exists():
        return
    before = run.directory.with_name(f".{run.directory.name}.before")
    with alone(run.directory):
        unneeded = RunDir(before).finished() and not run.finished()
        aside = before.with_suffix(".old") if unneeded else before
        shutil.rmtree(aside, ignore_errors=True)
        run.directory.rename(aside)
        if unneeded:
            shutil.rmtree(aside)
