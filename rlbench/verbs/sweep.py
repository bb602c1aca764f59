"""`rlbench sweep ls|show|resume|cancel`: sweeps by name."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rlbench.cli import Parser

if TYPE_CHECKING:
    from rlbench.launch.sweep import Sweep

HELP = """\
Sweeps by name. `rlbench -m OVERRIDES --name NAME` begins one; the same words find it again."""


def main(argv: Sequence[str]) -> int:
    parser = Parser("sweep", HELP)
    parser.add_argument(
        "action",
        choices=["ls", "show", "resume", "cancel"],
        help="ls: all of them; show: one, with its runs; resume, cancel: go on with its runs, or stop them",
    )
    parser.add_argument("name", nargs="?", metavar="SWEEP", help="its name, or the beginning of it")
    parser.add_argument("--json", action="store_true", help="one JSON list or object (ls, show)")
    given = parser.read(argv)
    if given.action == "ls":
        return ls(given.json)
    if given.name is None:
        parser.error(f"{given.action} which sweep? `rlbench sweep ls` lists them")

    from rlbench.launch import start
    from rlbench.launch.states import states
    from rlbench.launch.sweep import find
    from rlbench.verbs.cancel import stop

    sweep = find(given.name)
    if given.action == "resume":
        return start.proceed(sweep)
    if given.action == "cancel":
        return stop(sweep, states(sweep))
    return show(sweep, given.json)


def ls(as_json: bool) -> int:
    """Every sweep: when it began, where it computes, and how far it is."""
    from rich.table import Table

    from rlbench.console import Wide
    from rlbench.launch.states import counts, states, summary
    from rlbench.launch.sweep import sweeps
    from rlbench.paths import results_root

    found = [(sweep, sweep.about(), states(sweep)) for sweep in sweeps()]
    if as_json:
        entries = [{"name": each.name, **about, "summary": counts(runs)} for each, about, runs in found]
        print(json.dumps(entries, indent=1))
        return 0
    if not found:
        print(f"no sweeps in {results_root() / 'sweeps'}")
        return 0
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("sweep", "made", "hardware", "runs", "words"):
        table.add_column(column, overflow="fold")
    for sweep, about, runs in found:
        table.add_row(sweep.name, moment(about["made"]), about["hardware"]["where"], summary(runs), words(about))
    Wide().print(table)
    return 0


def show(sweep: Sweep, as_json: bool) -> int:
    """One sweep and its runs."""
    from rlbench.console import Wide
    from rlbench.launch.states import complaints, counts, labels, searched, states, summary
    from rlbench.launch.table import table
    from rlbench.verbs.status import entry

    about, found = sweep.about(), states(sweep)
    if as_json:
        runs = [entry(sweep.name, each) for each in found]
        print(json.dumps({"name": sweep.name, **about, "summary": counts(found), "runs": runs}, indent=1))
        return 0
    print(f"{sweep.name}: {summary(found)}")
    print(f"rlbench -m {words(about)} --name {sweep.name}")
    print(f"made {moment(about['made'])}, computes {about['hardware']['where']}, lies in {sweep.path}\n")
    Wide().print(table(found, labels([each.run for each in found])))
    for line in (*complaints(sweep, found), *searched([each.run for each in found])):
        print(line)
    return 0


def words(about: dict[str, Any]) -> str:
    """As they are to be typed."""
    return shlex.join(about["words"])


def moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
