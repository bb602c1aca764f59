"""`rlbench compare [FILTER...]`: does A beat B, by how much, and can one trust it?"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rlbench.cli import Parser
from rlbench.errors import UsageError
from rlbench.paths import results_root

if TYPE_CHECKING:
    from rlbench.analysis.compare import Aggregate, Cell, Comparison, Pair
    from rlbench.analysis.statistics import Interval

HELP = """\
Compare finished runs: every algorithm (with its settings, where they differ) on every task, seed by seed and over
tasks, with 95 % intervals by stratified bootstrap, and for every two of them whether there is enough to tell.

  rlbench compare                              everything under the results folder
  rlbench compare hopper algo=iql,cql          runs whose path has `hopper`, of two algorithms
  rlbench compare algo=iql --by algo.expectile
  rlbench compare --protocol last10 --metric eval/return

Runs on different data, environments or simulators are never put into one row."""
MANY = 10
"""Pairs, and seeds, up to which all are shown on a terminal."""


def main(argv: Sequence[str]) -> int:
    parser = Parser("compare", HELP)
    add_options(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="tables and sentences for a page")
    form.add_argument("--plain", action="store_true", help="tab-separated, one number a line")
    form.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.read(argv)
    comparison = compared(given)
    if given.json:
        from rlbench.analysis.contents import contents

        print(json.dumps(contents(comparison), indent=1))
    elif given.plain:
        for line in lines(comparison):
            print("\t".join(line))
        for note in [*comparison.notes, *code(comparison)]:
            print(f"note: {note}", file=sys.stderr)  # stdout is a program's
    elif given.markdown:
        print("\n".join(markdown(comparison)))
    else:
        show(comparison)
    return 0


def add_options(parser: Parser) -> None:
    """What says which runs are compared, and how."""
    parser.add_argument("filters", nargs="*", metavar="FILTER", help="KEY=VALUE[,VALUE], or a word of a run's path")
    parser.add_argument(
        "--protocol", default="last", metavar="NAME",
        help="a seed's score: last (the default), last10, tail20%%, best, or bandit (docs/comparing.md)",
    )  # fmt: skip
    parser.add_argument("--metric", metavar="NAME", help="by default the normalised score, or else the return")
    parser.add_argument("--by", default="", metavar="KEY[,KEY]", help="compare the values of these keys")
    parser.add_argument("--at", type=float, metavar="STEP", help="as if training had ended there")
    parser.add_argument("--seed", type=int, default=0, metavar="K", help="of the bootstrap (default: 0)")


def compared(given: argparse.Namespace) -> Comparison:
    """The comparison that these options ask for; it raises what `comparisons` does."""
    return comparisons(given, [given.metric])[0]


def comparisons(given: argparse.Namespace, metrics: Sequence[str | None]) -> list[Comparison]:
    """The comparison that these options ask for, of each of these metrics; all of the same reading of the runs.

    Raises:
        UsageError: there is nothing to compare, or the options do not fit the runs.
    """
    if given.at is not None and not 1 <= given.at < math.inf:
        raise UsageError(f"--at {given.at:g}: a step, at least 1")
    if given.seed < 0:
        raise UsageError(f"--seed {given.seed}: at least 0")

    from rlbench.analysis.compare import compare
    from rlbench.analysis.protocols import Protocol
    from rlbench.analysis.results import Results

    protocol = Protocol.of(given.protocol)
    results = Results(results_root(), given.filters, keep=lambda name: name.startswith("eval/") or name in metrics)
    results.refresh()
    by = [key for key in given.by.split(",") if key]
    at = None if given.at is None else int(given.at)
    return [compare(results, protocol, metric, by, at, given.seed) for metric in metrics]


def lines(comparison: Comparison) -> Iterator[list[str]]:
    """One number a line: task (* for all), arm, other arm, number of seeds, statistic, value, low, high."""
    from rlbench.analysis.compare import span

    yield ["task", "arm", "other", "n", "statistic", "value", "low", "high"]

    def line(task: str, arm: str, other: str, n: str, name: str, found: Interval | float) -> list[str]:
        numbers = [found, math.nan, math.nan] if isinstance(found, float) else [found.value, found.low, found.high]
        return [task, arm, other, n, name, *("" if math.isnan(each) else f"{each:.10g}" for each in numbers)]

    for cell in in_order(comparison):
        here = cell.task, cell.arm, "", str(len(cell.scores))
        yield line(*here, "mean", cell.mean)
        yield line(*here, "median", cell.median)
        if cell.iqm is not None:
            yield line(*here, "iqm", cell.iqm)
        yield line(*here, "sd", cell.spread)
        for seed, score in cell.seeds.items():
            yield line(*here, f"seed {seed}", score)
    for each in comparison.aggregates:
        for name, value in (("mean", each.mean), ("median", each.median), ("iqm", each.iqm), ("gap", each.gap)):
            if value is not None:
                yield line("*", each.arm, "", span(each.seeds, "-"), name, value)
    single = ((pair.task or "", pair) for pair in comparison.task_pairs)
    for task, pair in [*single, *(("*", pair) for pair in comparison.pairs)]:
        here = task, pair.arm, pair.other, f"{span(pair.seeds, '-')}/{span(pair.other_seeds, '-')}"
        if pair.difference is not None:
            yield line(*here, "difference", pair.difference)
        yield line(*here, "improvement", pair.improvement)
        yield line(*here, "p", pair.p)


def in_order(comparison: Comparison) -> list[Cell]:
    """The cells task by task, the best arms first."""
    places = [(arm, task) for task in comparison.tasks for arm in comparison.arms]
    return [comparison.cells[place] for place in places if place in comparison.cells]


def markdown(comparison: Comparison) -> Iterator[str]:
    """The same for a page: of one task every statistic, of several the means, the longer list downwards."""
    from rlbench.analysis.table_text import aligned

    cells = in_order(comparison)
    single = len(comparison.tasks) == 1
    yield f"`{comparison.metric}`{comparison.name.removeprefix(comparison.metric)}: {comparison.protocol.title}" + (
        f", on {comparison.tasks[0]}." if single else f"; mean [95 %] over {seeds(cells)}."
    )
    yield ""
    if single:
        yield from aligned(["", *statistics(comparison)], [[cell.arm, *row(cell, comparison)] for cell in cells])
    else:
        means = {(cell.arm, cell.task): mean(cell, comparison) for cell in cells}
        rows = [[arm, *(means.get((arm, task), "") for task in comparison.tasks)] for arm in comparison.arms]
        table = [["", *comparison.tasks], *rows]
        header, *rows = map(list, zip(*table, strict=True)) if len(comparison.tasks) > len(comparison.arms) else table
        yield from aligned(header, rows)
    if comparison.aggregates:
        yield ""
        yield from aligned(
            [f"over {len(comparison.common)} tasks", *OVER_TASKS], [*map(over_tasks, comparison.aggregates)]
        )
    yield ""
    yield from (f"- {text}" for text in sentences(comparison))


def seeds(cells: Sequence[Cell]) -> str:
    from rlbench.analysis.compare import span

    counts = [len(cell.scores) for cell in cells]
    return f"{span((min(counts), max(counts)), '-')} seeds"


def show(comparison: Comparison) -> None:
    """Tables and sentences on the terminal."""
    from rich.markup import escape

    from rlbench.console import Wide

    console = Wide()
    console.print(f"[bold]{escape(comparison.name)}[/]: {comparison.protocol.title}", highlight=False)
    console.print(cells_table(comparison))
    if comparison.aggregates:
        console.print(aggregates_table(comparison))
    for text in [*sentences(comparison), *(f"note: {note}" for note in code(comparison))]:
        console.print(escape(text), highlight=False)


def sentences(comparison: Comparison) -> list[str]:
    """What comes of the tables, and what a reader has to know."""
    return [*verdicts(comparison.pairs, len(comparison.arms)), *(f"note: {note}" for note in comparison.notes)]


def code(comparison: Comparison) -> list[str]:
    """A note where the arms come from different commits of rlbench, as far as these are known; on no page, which would
    change with every run that is made again."""
    found: dict[str, set[str]] = {arm: set() for arm in comparison.arms}
    for run, commit in comparison.runs.select("run", "commit").drop_nulls().iter_rows():
        found[comparison.where[run].arm].add(commit)
    known = {arm: commits for arm, commits in found.items() if commits}
    if len(set(map(frozenset, known.values()))) < 2:
        return []
    told = (f"{arm} {'several' if len(commits) > 1 else min(commits)[:7]}" for arm, commits in known.items())
    return [f"the arms come from different commits of rlbench: {'; '.join(told)}"]


def statistics(comparison: Comparison) -> list[str]:
    """What is said of an arm on a task."""
    if comparison.protocol.kind == "bandit":
        return ["policies", "chosen [95 %]", "mean of each policy"]
    return ["n", "mean [95 %]", "median", "IQM [95 %]", "sd", "seeds"]


def row(cell: Cell, comparison: Comparison) -> list[str]:
    """The same, in numbers."""
    from rlbench.analysis.compare import ends, number

    digits = comparison.digits
    found = [str(len(cell.scores)), mean(cell, comparison)]
    if cell.iqm is not None:
        found += [number(cell.median, digits), ends(cell.iqm, digits), number(cell.spread, digits)]
    return [*found, each_score(cell, digits)]


def mean(cell: Cell, comparison: Comparison) -> str:
    from rlbench.analysis.compare import ends

    return ends(cell.mean, comparison.digits)


OVER_TASKS = "n", "mean [95 %]", "median of tasks [95 %]", "IQM [95 %]", "optimality gap [95 %]"


def over_tasks(each: Aggregate) -> list[str]:
    """An arm, and what is said of it over tasks."""
    from rlbench.analysis.compare import ends, span

    intervals = each.mean, each.median, each.iqm, each.gap
    return [each.arm, span(each.seeds, "-"), *("" if one is None else ends(one) for one in intervals)]


def cells_table(comparison: Comparison) -> Any:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("task", overflow="fold")
    table.add_column("", overflow="fold")
    *names, last = statistics(comparison)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column(last, overflow="fold")
    task = None
    for cell in in_order(comparison):
        if task not in (None, cell.task):
            table.add_section()
        shown = cell.task if cell.task != task else "", cell.arm, *row(cell, comparison)
        table.add_row(*map(escape, shown))
        task = cell.task
    return table


def aggregates_table(comparison: Comparison) -> Any:
    from rich.markup import escape
    from rich.table import Table

    title = f"over {len(comparison.common)} tasks"
    table = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left", title_style="bold")
    table.add_column("", overflow="fold")
    for name in OVER_TASKS:
        table.add_column(name, justify="right", no_wrap=True)
    for each in comparison.aggregates:
        table.add_row(*map(escape, over_tasks(each)))
    return table


def verdicts(pairs: Sequence[Pair], arms: int) -> list[str]:
    """A sentence for every pair; of many, for those of the best arm."""
    if len(pairs) <= MANY:
        return [pair.sentence() for pair in pairs]
    shown = [pair.sentence() for pair in pairs[: arms - 1]]
    return [*shown, f"{len(pairs) - len(shown)} more pairs: --plain and --json list them"]


def each_score(cell: Cell, digits: int) -> str:
    """Every seed's score; of many, the lowest and the highest."""
    from rlbench.analysis.compare import number

    if len(cell.scores) <= MANY:
        return " ".join(number(score, digits) for score in cell.scores)
    return f"{number(cell.scores.min(), digits)} to {number(cell.scores.max(), digits)}"
