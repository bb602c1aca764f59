"""`rlbench runs`: what was run, and what came of it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from rlbench.analysis.filters import Filter
from rlbench.cli import Parser
from rlbench.columns import CODES, COLOURS, folded, line_width, shows_colours
from rlbench.errors import RunError
from rlbench.paths import results_root
from rlbench.tracking.rundir import RunDir, Score, find_runs

HELP = """\
List every run under the results folder (RLBENCH_RESULTS moves it), or those that fit every filter.

  rlbench runs
  rlbench runs hopper algo=iql,cql state=failed
  rlbench runs algo.expectile=0.9 --json"""

HEAD = ("id", "algo", "env-dataset", "seeds", "state", "steps", "score", "last sign")


def main(argv: Sequence[str]) -> int:
    parser = Parser("runs", HELP)
    parser.add_argument("filters", nargs="*", metavar="FILTER", help="KEY=VALUE[,VALUE], or a word of a run's path")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args(argv)

    meant = Filter(given.filters)
    found = find_runs(results_root())
    damaged = dict(found.damaged)
    known, facts = {}, {}
    for run in found.runs:
        try:
            known[run.path] = entry(run)
            facts[run.path] = filtered_by(run) if meant.values else {}
        except RunError as error:
            damaged[run.path] = str(error)
    chosen = meant.chosen(facts)
    # That no run is in a state is an answer, not a slip of the hand.
    Filter([word for word in given.filters if not word.startswith("state=")]).require_known(facts, list(damaged))
    entries = [known[path] for path in chosen]
    damaged = {path: reason for path, reason in damaged.items() if meant.may_fit(path)}
    if given.json:
        print(json.dumps({"runs": entries, "damaged": {str(path): why for path, why in damaged.items()}}, indent=1))
        return 0
    folder = results_root() / "runs"
    if entries:
        show(entries)
    elif found.runs:
        print(f"no run fits {' '.join(given.filters)}; there are {len(found.runs)} in {folder}")
    else:
        print(f"no runs in {folder}")
    for path, reason in damaged.items():
        print(f"damaged: {path}: {reason}")
    return 0


def filtered_by(run: RunDir) -> dict[str, Any]:
    """What a filter may ask of a run: its row of the table of runs, and its configuration."""
    from rlbench.analysis.results import Run, stored_config

    config = stored_config(run)
    return {**config, **Run(0, run, (), config, run.meta(), run.raw_status()).facts()}


def entry(run: RunDir) -> dict[str, Any]:
    """One run as a program would read it."""
    algorithm, problem = run.path.parts[-3:-1]
    return {"id": run.id, "algo": algorithm, "problem": problem, **run.status(), "path": str(run.path)}


def show(entries: list[dict[str, Any]]) -> None:
    """A table on the terminal."""
    rows = [HEAD]
    for each in entries:
        state, score = each["state"], each["score"]
        share = f"{each['steps']:,}" if state == "finished" else f"{each['step']:,}/{each['steps']:,}"
        text = "" if score is None else str(Score(score["metric"], score["step"], score["values"]))
        began = (each["id"], each["algo"], each["problem"], str(each["seeds"]))
        rows.append((*began, state, share, text, ago(each["heartbeat"])))
    right = [HEAD.index(name) for name in ("seeds", "steps", "score")]
    codes = {each["state"]: CODES[COLOURS.get(each["state"], "cyan")] for each in entries} if shows_colours() else None
    # A file or another program has no edge to fold at.
    for line in folded(rows, line_width(piped=sys.maxsize), right, codes):
        print(line)


def ago(moment: float) -> str:
    """How long ago, in the largest unit that fits."""
    seconds = max(0.0, time.time() - moment)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return "now"
