"""`rlbench wandb sync|pull|view`: what W&B has, and what it lacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rlbench.cli import Parser
from rlbench.errors import UsageError
from rlbench.paths import results_root

HELP = """\
Weights & Biases: send runs there, get runs from there. `rlbench wandb ACTION --help` explains each.

  sync [FILTER...]   send what its server lacks
  pull PROJECT       runs that live only there, as run directories here
  view PROJECT       save a workspace view: curves of the scores, seeds grouped"""

SYNC = """\
Send what the server lacks of every run, or of those that fit: as often as you like, after any failure.

  rlbench wandb sync                      everything under the results folder
  rlbench wandb sync hopper algo=iql,cql  runs whose path has `hopper`, of two algorithms
  rlbench wandb sync 0123456789           one run

Runs at work are left to their own mirrors, those made with tracking=disabled stay here. Exit code 1: a run is not
wholly there."""

PULL = """\
Make run directories of the runs of a W&B project, for `runs`, `compare`, `table` and `report`. A run that rlbench made
comes back under its own id, with all its seeds; a run that was made here is never touched. A second call gets what is
new or has changed.

  rlbench wandb pull rlbench --entity team
  rlbench wandb pull CORL --entity tlab --rename d4rl_normalized_score=eval/normalized_score"""

VIEW = """\
Save a workspace view in a W&B project: the scores over steps, mean and standard deviation of each group, and the table
of runs with their scores. Every call saves another one."""


def main(argv: Sequence[str]) -> int:
    actions = {"sync": sync, "pull": pull, "view": view}
    if not argv or argv[0] in ("-h", "--help"):
        print(HELP)
        return 0 if argv else 2
    if argv[0] not in actions:
        raise UsageError(f"no action {argv[0]!r}: rlbench wandb {'|'.join(actions)}")
    return actions[argv[0]](argv[1:])


def sync(argv: Sequence[str]) -> int:
    parser = Parser("wandb sync", SYNC)
    parser.add_argument("filters", nargs="*", metavar="FILTER", help="KEY=VALUE[,VALUE], or a word of a run's path")
    given = parser.read(argv)

    from rlbench.analysis.results import Results
    from rlbench.tracking.wandb_sync import sync

    results = Results(results_root(), given.filters, keep=lambda _: False)
    results.refresh()
    results.require_fit()
    if results.runs.is_empty() and not results.damaged:
        raise UsageError(f"no such run in {results_root() / 'runs'}; `rlbench runs` lists them")
    states = dict(zip(map(Path, results.runs["path"]), results.runs["state"], strict=True))
    count: Counter[str] = Counter()
    for path, why in results.damaged.items():
        count["failed"] += 1
        print(f"{path.name} failed: damaged: {why}")
    for outcome in sync(states):
        count[outcome.kind] += 1
        mark = "failed: " if outcome.kind == "failed" else ""
        print(f"{outcome.path.name} {'/'.join(outcome.path.parts[-3:-1])}: {mark}{outcome.text}", flush=True)
    print(summary(count))
    if count["failed"]:
        print("what failed stays in the run directories: the same command sends it")
    return 1 if count["failed"] else 0


def pull(argv: Sequence[str]) -> int:
    parser = Parser("wandb pull", PULL)
    parser.add_argument("project", metavar="PROJECT")
    parser.add_argument("--entity", metavar="NAME", help="whose project (default: the account's own)")
    parser.add_argument("--to", type=Path, metavar="DIR", help="in place of the results folder")
    parser.add_argument(
        "--rename", action="append", default=[], metavar="THEIRS=OURS", help="what a metric is to be called here"
    )
    given = parser.read(argv)
    renamed = dict(word.partition("=")[::2] for word in given.rename)
    if not all(key and value for key, value in renamed.items()):
        raise UsageError(f"--rename {given.rename[-1]}: THEIRS=OURS, e.g. score=eval/normalized_score")

    from rlbench.tracking.wandb_pull import pull

    count: Counter[str] = Counter()
    root = given.to.expanduser().absolute() if given.to else results_root()
    for outcome in pull(given.project, given.entity, root, renamed):
        count[outcome.kind] += 1
        print(f"{outcome.name}: {'failed: ' * (outcome.kind == 'failed')}{outcome.text}", flush=True)
    print(f"{summary(count)}, in {root / 'runs'}")
    return 1 if count["failed"] else 0


def view(argv: Sequence[str]) -> int:
    parser = Parser("wandb view", VIEW)
    parser.add_argument("project", metavar="PROJECT")
    parser.add_argument("--entity", metavar="NAME", help="whose project (default: the account's own)")
    given = parser.read(argv)

    from rlbench.tracking.wandb_view import save

    print(save(given.project, given.entity))
    return 0


def summary(count: Counter[str]) -> str:
    """How many of each kind, those first that are most."""
    return ", ".join(f"{number:,} {kind}" for kind, number in count.most_common())
