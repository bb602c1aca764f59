"""What a person means by a word on the command line: a sweep, or a run."""

from __future__ import annotations

import os
import re
from pathlib import Path

from rlbench.errors import UsageError
from rlbench.launch.states import State, asked
from rlbench.launch.sweep import Sweep, holding, sweeps
from rlbench.paths import results_root
from rlbench.tracking.rundir import ID

PLANNED = re.compile(r'"path": "((?:runs|searches)/[^"]+)"')


def meant(word: str) -> Sweep | Path:
    """The sweep of a name, or the directory of a run: of one that exists, or of one that a sweep has planned.

    Args:
        word: a sweep's name or the beginning of one, the first digits of a run's or a trial's id, or the path of its
            directory.

    Raises:
        UsageError: nothing is meant, or more than one thing.
    """
    root, known = results_root(), sweeps()
    if (Path(word) / "config.yaml").is_file():
        path, real = Path(word).resolve(), root.resolve()
        return root / path.relative_to(real) if path.is_relative_to(real) else path
    for sweep in known:
        if sweep.name == word:
            return sweep
    directories = set()
    if re.fullmatch(r"[0-9a-f]+", word):
        directories = {path for path in root.glob(f"runs/*/*/{word}*") if ID.fullmatch(path.name)}
    for sweep in known:
        paths = PLANNED.findall((sweep.path / "runs.jsonl").read_text())
        directories |= {root / path for path in paths if path.rpartition("/")[2].startswith(word)}
    found: list[Sweep | Path] = [sweep for sweep in known if sweep.name.startswith(word)]
    found += sorted(directories)
    if len(found) == 1:
        return found[0] if isinstance(found[0], Sweep) else run_directory(found[0])
    if found:
        listed = "\n  ".join(str(each.name if isinstance(each, Sweep) else each) for each in found)
        raise UsageError(f"{word!r} means more than one run or sweep; more letters tell them apart:\n  {listed}")
    raise UsageError(f"no run and no sweep {word!r} in {root}\n`rlbench runs` and `rlbench sweep ls` list them")


def run_directory(path: Path) -> Path:
    """The directory itself, where a path is a trial's link to its run."""
    return Path(os.path.normpath(path.parent / path.readlink())) if path.is_symlink() else path


def run_of(directory: Path) -> tuple[Sweep | None, State]:
    """A run as it is now, and the sweep whose queue has it, or had it last; None: it belongs to none.

    Raises:
        RunError: the directory is damaged.
    """
    held = [(sweep, run, asked(sweep).get(run.path)) for sweep, run in reversed(holding(directory))]
    for sweep, run, job in sorted(held, key=lambda each: each[2] is None or each[2].state == "ended"):
        return sweep, State.of(run, job)
    return None, State.of_directory(directory)
