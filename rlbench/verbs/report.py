"""`rlbench report OUT.html [FILTER...]`: a comparison as one page to be sent to somebody."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from rlbench.cli import Parser
from rlbench.errors import UsageError
from rlbench.files import write_atomically
from rlbench.verbs.compare import add_options, compared

HELP = """\
Write a comparison into one HTML file that opens anywhere, without a network: verdicts, tables, figures with intervals,
where the settings differ, where the numbers come from. The runs are chosen as in `rlbench compare`.

  rlbench report hopper.html hopper
  rlbench report iql.html algo=iql --by algo.expectile"""


def main(argv: Sequence[str]) -> int:
    parser = Parser("report", HELP)
    parser.add_argument("out", type=Path, metavar="OUT.html", help="where to")
    add_options(parser)
    given = parser.read(argv)
    if given.out.suffix != ".html":
        raise UsageError(f"{given.out}: the first word is the file to be written, and ends in .html")
    if not given.out.absolute().parent.is_dir():
        raise UsageError(f"{given.out}: there is no folder {given.out.parent}")

    comparison = compared(given)
    from rlbench.analysis.report import render

    write_atomically(given.out, render(comparison, ["rlbench report", *map(shlex.quote, argv)], given.seed))
    print(given.out)
    return 0
