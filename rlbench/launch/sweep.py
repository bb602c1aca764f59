"""A sweep: runs with a common name, written down before the first of them begins.

`<results>/sweeps/<name>/` holds `sweep.json` (the words, and where the runs compute) and `runs.jsonl` (one line a run:
its words, its whole configuration, its directory). What became of a run stands in the run's own directory.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from rlbench.errors import RunError, UsageError
from rlbench.files import write_atomically
from rlbench.paths import results_root
from rlbench.tracking.rundir import RunDir

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


@dataclass(frozen=True)
class Planned:
    """One run of a sweep.

    Attributes:
        words: the overrides it was composed from.
        config: its whole configuration, resolved.
        path: its directory, relative to the results folder.
        packed: whether several of the runs that were asked for are trained together in it.
    """

    words: list[str]
    config: dict[str, Any]
    path: str
    packed: bool = False

    @classmethod
    def of(cls, words: list[str], content: dict[str, Any], packed: bool = False) -> Planned:
        """The run of a configuration.

        Raises:
            UsageError: its dataset cannot be had.
        """
        from rlbench import config

        return cls(words, content, str(config.run_directory(content).relative_to(results_root())), packed)

    @property
    def directory(self) -> Path:
        return results_root() / self.path

    @property
    def seeds(self) -> range:
        return range(self.config["seed"], self.config["seed"] + self.config["seeds"])

    @property
    def label(self) -> str:
        """What a person knows it by."""
        return " ".join(self.words)

    @property
    def drawn(self) -> list[str]:
        """The values of a trial of a search, if it has begun, as they would be typed."""
        file = self.directory.with_suffix(".json")
        if "trial" not in self.config or not file.exists():
            return []
        return [f"{key}={value}" for key, value in json.loads(file.read_bytes())["values"].items()]

    def status(self) -> dict[str, Any]:
        """What its directory says of it; empty where nothing can be read."""
        try:
            return RunDir(self.directory).status()
        except RunError:
            return {}

    def finished(self) -> bool:
        """Whether nothing is left to do; of a trial of a search, also when it was stopped early."""
        return self.status().get("state") in (("finished", "pruned") if "trial" in self.config else ("finished",))


class Sweep:
    """A sweep on disk, or a part of it.

    Args:
        path: its folder.
        part: the paths of the runs that are meant; None: all of them.
    """

    def __init__(self, path: Path, part: Collection[str] | None = None) -> None:
        self.path = path
        self.part = part

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def jobs(self) -> Path:
        """Where a queue keeps what it needs to know of the runs."""
        return self.path / "jobs"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other process starts runs of this sweep.

        Raises:
            RunError: one does; the message says who.
        """
        lock = FileLock(self.path / ".lock")
        owner = self.path / ".owner"
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            who = owner.read_text().strip() if owner.exists() else "another process"
            raise RunError(
                f"{who} works on the sweep {self.name}; `rlbench status {self.name}` shows how far"
            ) from error
        try:
            owner.write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
            yield
        finally:
            owner.unlink(missing_ok=True)
            lock.release()

    def output(self, run: Planned) -> Path:
        """What a run of a queue prints, all its lives together."""
        return self.path / "output" / f"{run.directory.name}.txt"

    def about(self) -> dict[str, Any]:
        """What `sweep.json` says: words, moment, where the runs compute.

        Raises:
            RunError: it cannot be read.
        """
        try:
            about: dict[str, Any] = json.loads((self.path / "sweep.json").read_bytes())
        except (OSError, ValueError) as error:
            raise RunError(f"{self.path / 'sweep.json'} cannot be read: {error}") from error
        return about

    @property
    def hardware(self) -> dict[str, Any]:
        """Where its runs compute."""
        hardware: dict[str, Any] = self.about()["hardware"]
        return hardware

    def runs(self) -> list[Planned]:
        """The runs, in the order in which they were asked for."""
        runs = (Planned(**json.loads(line)) for line in (self.path / "runs.jsonl").read_text().splitlines())
        return [run for run in runs if self.part is None or run.path in self.part]

    def unfinished(self) -> list[Planned]:
        return [run for run in self.runs() if not run.finished()]

    @classmethod
    def create(
        cls, name: str, words: Sequence[str], cells: Sequence[Planned], plan: Callable[[], list[Planned]]
    ) -> Sweep:
        """The sweep of this name: found, if it is of these cells, or written down.

        Args:
            name: its name.
            words: what the user typed.
            cells: the runs that were asked for.
            plan: says which runs are to be made for them.

        Raises:
            UsageError: the name is taken by other runs, or is no name for a folder.
        """
        if not NAME.fullmatch(name):
            raise UsageError(f"--name {name}: letters, digits and . _ + - name a sweep")
        sweep = cls(results_root() / "sweeps" / name)
        sweep.path.mkdir(parents=True, exist_ok=True)
        asked = digest(cells)
        with sweep.writing():
            if not (sweep.path / "sweep.json").exists():
                about = {
                    "words": list(words),
                    "command": sys.argv,
                    "made": time.time(),
                    "cells": asked,
                    "hardware": cells[0].config["hardware"],
                }
                sweep.write(plan(), about)
            elif sweep.about()["cells"] != asked:
                raise UsageError(
                    f"there is another sweep {name}: `rlbench sweep show {name}`\n--name NAME names this one"
                )
        return sweep

    def revise(self, revised: Callable[[list[Planned]], list[Planned]], **about: Any) -> None:
        """Replace what is planned.

        Args:
            revised: gets the runs and returns those that are to stand there instead.
            about: entries of `sweep.json` that are to be others.
        """
        with self.writing():
            runs, before = self.runs(), self.about()
            changed, after = revised(runs), {**before, **about}
            if (changed, after) != (runs, before):
                self.write(changed, after)

    def writing(self) -> FileLock:
        """While it is held, no other process writes the sweep down."""
        return FileLock(self.path / ".writing")

    def write(self, runs: Sequence[Planned], about: dict[str, Any]) -> None:
        write_atomically(self.path / "runs.jsonl", "".join(json.dumps(asdict(run)) + "\n" for run in runs))
        write_atomically(self.path / "sweep.json", json.dumps(about, indent=1) + "\n")


def is_seed(word: str) -> bool:
    """Whether an override sets the seeds."""
    return word.lstrip("+").partition("=")[0] in ("seed", "seeds")


def default_name(cells: Sequence[Planned]) -> str:
    """A name that says what is in it, the same for the same cells: `cql+iql-hopper-1f3a9c`."""
    algorithms = sorted({cell.path.split("/")[1] for cell in cells})
    problems = sorted({cell.config["env"]["name"] for cell in cells})
    parts = [
        "+".join(names) if len(names) <= 3 else f"{len(names)}-{kind}"
        for names, kind in ((algorithms, "algorithms"), (problems, "environments"))
    ]
    return "-".join([*parts, digest(cells)[:6]])


def digest(cells: Sequence[Planned]) -> str:
    """The same for the same cells, whatever their order, wherever they run."""
    return hashlib.sha256("\n".join(sorted(cell.path for cell in cells)).encode()).hexdigest()


def sweeps() -> list[Sweep]:
    """Every sweep, the newest last."""
    found = [Sweep(path.parent) for path in results_root().glob("sweeps/*/sweep.json")]
    return sorted(found, key=lambda sweep: (sweep.path / "sweep.json").stat().st_mtime)


def find(name: str) -> Sweep:
    """The sweep of a name, or of the first letters of one.

    Raises:
        UsageError: none is meant, or more than one.
    """
    known = sweeps()
    exact = [sweep for sweep in known if sweep.name == name]
    matches = exact or [sweep for sweep in known if sweep.name.startswith(name)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise UsageError(f"{name!r} means more than one sweep: {', '.join(sweep.name for sweep in matches)}")
    raise UsageError(f"no sweep {name!r} in {results_root() / 'sweeps'}\n`rlbench sweep ls` lists them")


def holding(directory: Path) -> list[tuple[Sweep, Planned]]:
    """The sweeps that the run of a directory belongs to, the newest last, each with what it planned."""
    if not directory.is_relative_to(results_root()):
        return []
    trials = [path for path in results_root().glob("searches/*/*/*/*") if path.is_symlink()]
    same = [directory, *(path for path in trials if path.readlink().name == directory.name)]
    paths = [str(path.relative_to(results_root())) for path in same]
    texts = [(sweep, (sweep.path / "runs.jsonl").read_text()) for sweep in sweeps()]
    found = [(sweep, [path for path in paths if json.dumps(path) in text]) for sweep, text in texts]
    return [(sweep, run) for sweep, part in found if part for run in Sweep(sweep.path, part).runs()]
