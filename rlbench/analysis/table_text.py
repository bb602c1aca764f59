"""Tables of published and reproduced results as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from rlbench.analysis.published import Published
from rlbench.analysis.table import Line

COLUMNS = (
    *("task", "method", "published", "n", "protocol", "source"),
    *("here", "n", "protocol", "data, simulator"),
    *("difference", "within spread", "to run"),
)
NUMBERS = (
    *("task", "method", "metric", "published", "published_upto", "published_spread", "published_sd", "published_n"),
    *("published_protocol", "source", "verified", "mean", "sd", "n", "protocol", "data", "simulator"),
    *("difference", "joint_sd", "within", "to_run"),
)
MEANS = "mean over tasks", "source", "tasks", "published", "here", "difference"


def averages(rows: Sequence[Line]) -> Iterator[tuple[str, str, int, float, float]]:
    """Arm, source, tasks, published and own mean, over the tasks of a source that were reproduced; two or more."""
    groups: dict[tuple[str, str, str], list[Line]] = {}
    for line in rows:
        if line.published is not None and line.ours is not None:
            groups.setdefault((line.arm, line.published.source, line.published.method), []).append(line)
    for found in groups.values():
        if len({line.task for line in found}) == len(found) > 1:
            theirs = [line.published.value for line in found if line.published]
            ours = [line.ours.mean for line in found if line.ours]
            yield found[0].arm, origin(found[0]), len(found), float(np.mean(theirs)), float(np.mean(ours))


def shown(line: Line) -> list[str]:
    """A row in words, for a person."""
    published, ours = line.published, line.ours
    return [
        line.task,
        line.arm,
        "" if published is None else figure(published),
        "" if published is None else str(published.seeds or "?"),
        "" if published is None else published.protocol or "not stated",
        origin(line),
        pm(ours.mean, ours.spread) if ours is not None else "missing" if line.todo else "too few evaluations",
        "" if ours is None else str(len(ours.scores)),
        line.measure,
        "" if ours is None else f"{ours.data}, {ours.simulator}",
        "" if line.difference is None else f"{line.difference:+.2f}",
        line.within,
        line.todo,
    ]


def origin(line: Line) -> str:
    """`corl, IQL`: who reports it, and by which name."""
    return "" if line.published is None else f"{line.published.key}, {line.published.method}"


def figure(published: Published) -> str:
    """`67.53 ± 4.36`, `about 61`, `40 to 50`."""
    text = (
        pm(published.value, published.spread)
        if published.upto is None
        else f"{published.value:g} to {published.upto:g}"
    )
    prefix = {"~": "about ", "<": "below "}.get(published.mark, "")
    return prefix + text + ("" if published.verified else " (not verified)")


def pm(value: float, spread: float | None) -> str:
    return f"{value:.2f}" + ("" if spread is None else f" ± {spread:.2f}")


def markdown(rows: Sequence[Line]) -> str:
    """For a page: the table, the averages, and the sources in full."""
    body = [shown(line) for line in rows]
    for line in body:
        line[-1] = f"`{line[-1]}`" if line[-1] else ""
    text = [row_of(COLUMNS), "|" + "---|" * len(COLUMNS), *(row_of(line) for line in body)]
    if means := list(averages(rows)):
        text += ["", row_of(MEANS), "|" + "---|" * len(MEANS)]
        text += [
            row_of([arm, key, str(tasks), f"{published:.2f}", f"{ours:.2f}", f"{ours - published:+.2f}"])
            for arm, key, tasks, published, ours in means
        ]
    return "\n".join([*text, *(f"\n{key}: {source}" for source, key in sources(rows).items())]) + "\n"


def aligned(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table of names and their numbers."""
    yield row_of(header)
    yield "|---" + "|---:" * (len(header) - 1) + "|"
    yield from map(row_of, rows)


def row_of(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def sources(rows: Sequence[Line]) -> dict[str, str]:
    """The sources in full, and their short names."""
    held = [line.published for line in rows if line.published is not None]
    return {each.source + (f"; {each.note}" if each.note else ""): each.key for each in held}


def comma_separated(rows: Sequence[Line]) -> str:
    """For a program: one number a column, nothing rounded."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(NUMBERS)
    for line in rows:
        published, ours = line.published, line.ours
        theirs: list[Any] = [""] * 8
        if published is not None:
            theirs = [
                published.value, published.upto, published.spread, published.deviation, published.seeds,
                published.protocol, published.source, published.verified,
            ]  # fmt: skip
        own: list[Any] = [""] * 6
        if ours is not None:
            own = [ours.mean, ours.spread, len(ours.scores), line.measure, ours.data, ours.simulator]
        metric = ours.metric if ours else published.metric if published else ""
        writer.writerow(
            [line.task, line.arm, metric, *theirs, *own, line.difference, line.joint, line.within, line.todo]
        )
    return out.getvalue()


def latex(rows: Sequence[Line]) -> str:
    """For a paper, with booktabs: what is missing stands in comments."""
    text = [r"\begin{tabular}{llrrlrrlrc}", r"\toprule"]
    heads = "task", "method", "published", "$n$", "source", "here", "$n$", "protocol", "difference", "within spread"
    text += [" & ".join(heads) + r" \\", r"\midrule"]
    for line in rows:
        cells = shown(line)
        kept = [cells[place] for place in (0, 1, 2, 3, 5, 6, 7, 8, 10, 11)]
        text.append(" & ".join(escaped(cell) for cell in kept) + r" \\" + (f"  % {line.todo}" if line.todo else ""))
    text += [r"\bottomrule", r"\end{tabular}"]
    return "\n".join([*text, *(f"% {key}: {source}" for source, key in sources(rows).items())]) + "\n"


def escaped(text: str) -> str:
    """Text as LaTeX has it."""
    for character in "&%#_":
        text = text.replace(character, f"\\{character}")
    return text.replace("±", r"$\pm$")


FORMATS = {"md": markdown, "csv": comma_separated, "latex": latex}
