"""`rlbench plot KIND [FILTER...] --out FILE`: a figure of a comparison, for a paper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rlbench.cli import Parser
from rlbench.errors import UsageError
from rlbench.verbs.compare import add_options, comparisons

KINDS = {
    "curves": "scores against steps, a panel a task",
    "efficiency": "IQM over all tasks against steps",
    "profile": "share of seeds above each score",
    "improvement": "probability of improvement of every two algorithms",
    "bars": "means of each task with every seed; mean, median, IQM and optimality gap over tasks",
    "frontier": "scores against another metric (--x), a panel a task: every seed, means, and the ways there",
}
HELP = f"""\
Draw a comparison as a vector figure: 95 % bootstrap intervals, colours and dashes that anyone can tell apart, the
legend beside the data. The runs, protocol and arms are chosen as in `rlbench compare`.

{chr(10).join(f"  {kind:<12} {text}" for kind, text in KINDS.items())}

  rlbench plot curves hopper --out curves.pdf
  rlbench plot profile algo=iql,cql --protocol last10 --out profile.svg
  rlbench plot frontier algo=dpo --by algo.beta --x eval/kl --metric eval/reward --out frontier.pdf"""


def main(argv: Sequence[str]) -> int:
    parser = Parser("plot", HELP)
    parser.add_argument("kind", choices=list(KINDS), metavar="KIND", help="one of the above")
    add_options(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="FILE.pdf, FILE.svg or FILE.png")
    parser.add_argument("--log", action="store_true", help="scores on a logarithmic axis (curves, efficiency)")
    parser.add_argument("--x", metavar="NAME", help="of a frontier: the metric to the right")
    given = parser.read(argv)
    if (given.x is not None) != (given.kind == "frontier"):
        raise UsageError("--x NAME, the metric to the right, goes with a frontier, and a frontier takes it")
    if given.log and given.kind not in ("curves", "efficiency"):
        raise UsageError(f"--log: {given.kind} has no axis for it; curves and efficiency have")

    from rlbench.analysis import figures

    figures.require_format(given.out)
    comparison, *across = comparisons(given, [given.metric] if given.x is None else [given.metric, given.x])
    with figures.styled():
        if given.kind == "frontier":
            figure = figures.frontier(comparison, *across)
        else:
            figure = figures.KINDS[given.kind](comparison, given.seed)
        if given.log:
            figures.logarithmic(figure)
        figures.save(figure, given.out)
    for note in comparison.notes:
        print(f"note: {note}")
    print(given.out)
    return 0
