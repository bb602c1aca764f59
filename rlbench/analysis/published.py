"""Published results, from `published.yaml`: figures that others report, each with its source."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rlbench.files import parse_yaml

NUMBER = r"-?\d*\.?\d+"
CELL = re.compile(
    rf"(?P<mark>[~<]?)(?P<value>{NUMBER})(?:±(?P<spread>{NUMBER})|\.\.(?P<upto>{NUMBER})"
    rf"|\[(?P<low>{NUMBER}),(?P<high>{NUMBER})\])?"
)


@dataclass(frozen=True)
class Published:
    """One figure.

    Attributes:
        source: who reports it, and where.
        key: a short name of the source.
        method: what it is the result of, as the source calls it.
        task: on what: a data set of D4RL, or what the source says.
        metric: of what.
        value: the figure; the lower end of a range.
        upto: the upper end of a range.
        interval: the ends of its interval.
        mark: `~` about, `<` below, or nothing.
        spread: the ± that the source prints.
        population: whether that is a standard deviation without Bessel's correction.
        seeds: over how many.
        episodes: of one evaluation.
        protocol: the source's; None where it states none.
        measure: the protocol by which runs of one's own are held against it.
        data: `d4rl` where the task is a data set of D4RL.
        words: what chooses such runs here, `algo=iql dataset=d4rl/hopper-medium-v2`; empty where nothing does.
        note: what a reader should know.
        verified: whether the figure was held against its source.
    """

    source: str
    key: str
    method: str
    task: str
    metric: str
    value: float
    upto: float | None
    interval: tuple[float, float] | None
    mark: str
    spread: float | None
    population: bool
    seeds: int | None
    episodes: int | None
    protocol: str | None
    measure: str
    data: str | None
    words: tuple[str, ...]
    note: str
    verified: bool

    @property
    def deviation(self) -> float | None:
        """The spread as a sample's standard deviation."""
        if self.spread is None or not self.population or self.seeds is None:
            return self.spread
        return self.spread * math.sqrt(self.seeds / (self.seeds - 1))


@cache
def load() -> tuple[Published, ...]:
    """Every figure, in the order of the file."""
    content = read()
    return tuple(figure for table in content["tables"] for figure in figures(table, content["methods"]))


def read() -> dict[str, Any]:
    """The file as it is."""
    text = (Path(__file__).parent / "published.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = parse_yaml(text)
    return content


def figures(table: dict[str, Any], methods: dict[str, str]) -> Iterator[Published]:
    """The cells of one table that hold a figure."""
    data = table.get("data")
    for task, row in table["rows"].items():
        for method, text in zip(table["columns"], str(row).split(), strict=True):
            if text == "-":
                continue
            match = CELL.fullmatch(text)
            if match is None:
                raise ValueError(f"published.yaml: {table['key']}, {task}, {method}: {text!r}")
            found = {name: float(match[name]) for name in ("value", "spread", "upto", "low", "high") if match[name]}
            choice = methods.get(method) if data == "d4rl" else None
            yield Published(
                source=table["source"],
                key=table["key"],
                method=method,
                task=task,
                metric=table.get("metric", "eval/normalized_score"),
                value=found["value"],
                upto=found.get("upto"),
                interval=(found["low"], found["high"]) if "low" in found else None,
                mark=match["mark"],
                spread=found.get("spread"),
                population=table.get("spread") == "population",
                seeds=table.get("seeds"),
                episodes=table.get("episodes"),
                protocol=table.get("protocol"),
                measure=table.get("measure") or table.get("protocol") or "last",
                data=data,
                words=(*choice.split(), f"dataset={data}/{task}") if choice else (),
                note=table.get("note", ""),
                verified=table.get("verified", True),
            )
