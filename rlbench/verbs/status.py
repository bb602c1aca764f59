"""`rlbench status [SWEEP|WORD...]`: how far runs and sweeps are, and what waits."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rlbench.cli import Parser
from rlbench.errors import RunError

if TYPE_CHECKING:
    from rlbench.launch.states import State

HELP = """\
Say how far runs are, a line for each: their own word and, where they are in a queue, the queue's. Without words, the
sweeps in numbers, and the runs that are at work or went wrong."""


def main(argv: Sequence[str]) -> int:
    parser = Parser("status", HELP)
    parser.add_argument(
        "words", nargs="*", metavar="SWEEP|WORD", help="only runs of this sweep, or whose path and words have all these"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args(argv)

    from rlbench.console import Wide
    from rlbench.launch.states import ACTIVE, AMISS, labels, summary
    from rlbench.launch.table import table

    found, unreadable = known()
    chosen = [(name, each) for name, each in found if all(is_of(word, name, each) for word in given.words)]
    damaged = {path: why for path, why in unreadable.items() if all(word in path for word in given.words)}
    if given.json:
        once = {each.run.path: (name, each) for name, each in chosen}.values()
        entries = [entry(name, each) for name, each in once]
        print(json.dumps({"runs": entries, "summary": tally(once), "damaged": damaged}, indent=1))
        return 0
    for path, why in damaged.items():
        print(f"damaged: {path}: {why}")
    if not found and not damaged:
        print("nothing was run yet")
        return 0
    if not chosen and not damaged:
        print(f"no run has {' and '.join(given.words)} in its sweep's name, its path or its words")
        return 0
    for name in dict.fromkeys(name for name, _ in chosen):
        runs = [each for of, each in chosen if of == name]
        print(f"{name or 'runs of no sweep'}: {summary(runs)}")
        shown = (
            runs if given.words else [each for each in runs if each.name in (*ACTIVE, *AMISS) and each.name != "queued"]
        )
        if shown:
            Wide().print(table(shown, labels([each.run for of, each in found if of == name])))
    return 0


def known() -> tuple[list[tuple[str | None, State]], dict[str, str]]:
    """Every run, once for each sweep that it belongs to, the newest last, with the sweep's name (None: of none); and by
    their paths, why the directories cannot be read that look like runs."""
    from rlbench.launch.states import State, states
    from rlbench.launch.sweep import sweeps
    from rlbench.paths import results_root
    from rlbench.tracking.rundir import find_runs

    found: list[tuple[str | None, State]] = [(sweep.name, each) for sweep in sweeps() for each in states(sweep)]
    held = {str(each.run.directory.resolve()) for _, each in found}
    there = find_runs(results_root())
    damaged = {str(path): why for path, why in there.damaged.items() if str(path.resolve()) not in held}
    for run in there.runs:
        if str(run.path.resolve()) not in held:
            try:
                found.append((None, State.of_directory(run.path)))
            except RunError as error:
                damaged[str(run.path)] = str(error)
    return found, damaged


def is_of(word: str, sweep: str | None, state: State) -> bool:
    return word in (sweep or "") or word in f"{state.run.path} {state.run.label}"


def tally(chosen: Iterable[tuple[str | None, State]]) -> dict[str, int]:
    from rlbench.launch.states import counts

    return counts(each for _, each in chosen)


def entry(sweep: str | None, state: State) -> dict[str, Any]:
    """A run as a program would read it."""
    job = state.job and {"id": state.job.id, "state": state.job.state, "reason": state.job.reason}
    return {
        "id": state.run.directory.name,
        "sweep": sweep,
        "state": state.name,
        "step": state.step,
        "steps": state.steps,
        "speed": state.speed,
        "seconds_left": state.left,
        "score": state.status.get("score"),
        "reason": state.reason,
        "job": job,
        "words": state.run.words,
        "path": str(state.run.directory),
    }
