"""What the scripts share that make the tables and figures of this folder's pages from runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rlbench.files import parse_yaml
from rlbench.paths import results_root
from rlbench.tracking.rundir import RunDir

Run = dict[str, Any]
"""What a page needs of a run: a line of its `scores.jsonl`."""


class Finished:
    """A finished run in the results folder."""

    def __init__(self, folder: Path) -> None:
        self.directory = RunDir.open(folder)
        self.config: dict[str, Any] = parse_yaml(self.directory.config())

    def named(self) -> Run:
        """Its place, and the command that made it."""
        path = self.directory.path
        return {"run": "/".join(path.parts[-3:]), "command": " ".join(["rlbench", *self.directory.overrides()])}

    @cached_property
    def minutes(self) -> float:
        """How long it took, all lives together."""
        return round(max(row["time"] for row in self.directory.rows()) / 60, 1)

    def curve(self, metric: str, rounded: Callable[[float], float] = lambda x: round(x, 4)) -> dict[int, list[float]]:
        """A metric's values, one a seed, by the steps at which it was reported."""
        found = self.directory.curve(metric)
        return {step: [rounded(found[step][seed]) for seed in sorted(found[step])] for step in sorted(found)}


def collect(
    page: Path, patterns: Sequence[str], read: Callable[[Finished], Run], order: Callable[[Run], Any]
) -> list[Run]:
    """The runs of a page: those that it knows, and those that are finished now, which its `scores.jsonl` then keeps.

    Args:
        page: the folder of the page.
        patterns: `ALGORITHM/PROBLEM` of its runs, with `*`.
        read: what it needs of one.
        order: by what they are sorted.
    """
    scores = page / "scores.jsonl"
    known = {run["run"]: run for run in map(json.loads, scores.read_text().splitlines())} if scores.exists() else {}
    for pattern in patterns:
        for status in (results_root() / "runs").glob(f"{pattern}/*/status.json"):
            if json.loads(status.read_text())["state"] == "finished":
                run = read(Finished(status.parent))
                known[run["run"]] = run
    runs = sorted(known.values(), key=order)
    scores.write_text("".join(json.dumps(run) + "\n" for run in runs))
    return runs


def by_name(run: Run) -> Any:
    return run["run"]


def write(page: Path, tables: Mapping[str, Sequence[str]]) -> None:
    """Replace what stands in a page's README between the marks of each name."""
    readme = page / "README.md"
    text = readme.read_text()
    for name, lines in tables.items():
        before, rest = text.split(f"<!-- {name} -->\n")
        after = rest.split("<!-- end -->\n", 1)[1]
        text = f"{before}<!-- {name} -->\n" + "\n".join(lines) + f"\n<!-- end -->\n{after}"
    readme.write_text(text)


def spread(values: Any, digits: int) -> str:
    """Mean ± standard deviation over seeds."""
    return f"{np.mean(values):,.{digits}f} ± {np.std(values, ddof=1):,.{digits}f}"
