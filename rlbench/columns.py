"""Large tables as text, in a tenth of the time that rich takes for them."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import zip_longest
from textwrap import wrap

WIDE = 160  # characters to a line of a pipe or a file
NARROW = 12  # characters below which no column is made narrower
GAP = "  "
COLOURS = {
    "finished": "green",
    "pruned": "green",
    "failed": "red",
    "lost": "red",
    "interrupted": "yellow",
    "new": "dim",
    "queued": "dim",
}
"""Of a run's states, as rich calls them; any other is cyan."""
CODES = {"green": "32", "red": "31", "yellow": "33", "cyan": "36", "dim": "2"}
"""The same in ANSI codes."""


def line_width(piped: int = WIDE) -> int:
    """As wide as the terminal, and `piped` where there is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else piped


def shows_colours() -> bool:
    """Whether what is printed may hold ANSI codes (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def folded(
    rows: Sequence[Sequence[str]], width: int, right: Container[int] = (), codes: Mapping[str, str] | None = None
) -> Iterator[str]:
    """The lines of a table. Where it is too wide, its widest columns are folded, the first never.

    Args:
        rows: their cells, in columns.
        width: characters to a line.
        right: which columns end at the same place instead of beginning there.
        codes: the ANSI codes of what is shown in a colour, by the whole text of the cell.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    while sum(widths) + len(GAP) * (len(widths) - 1) > width and max(widths[1:], default=0) > NARROW:
        widths[widths.index(max(widths[1:]), 1)] -= 1
    for first, *others in rows:
        cells = [[first], *(_parts(cell, most) for cell, most in zip(others, widths[1:], strict=True))]
        for line in zip_longest(*cells, fillvalue=""):
            placed = (
                _coloured(part.rjust(most) if column in right else part.ljust(most), (codes or {}).get(part))
                for column, (part, most) in enumerate(zip(line, widths, strict=True))
            )
            yield GAP.join(placed).rstrip()


def _parts(cell: str, most: int) -> list[str]:
    return [cell] if len(cell) <= most else wrap(cell, most)


def _coloured(text: str, code: str | None) -> str:
    return text if code is None else f"\x1b[{code}m{text}\x1b[0m"
