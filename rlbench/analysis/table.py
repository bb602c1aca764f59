"""Published against reproduced, cell by cell: what there is, what is missing, and what to run for it."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from rlbench.analysis import arms
from rlbench.analysis.compare import common_metric, evaluated
from rlbench.analysis.filters import Filter
from rlbench.analysis.protocols import Protocol
from rlbench.analysis.published import Published, load
from rlbench.analysis.results import Results, dotted, way
from rlbench.errors import UsageError
from rlbench.identity import essence

MEASURE = "last"
"""The protocol of runs for which nothing is published."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Wanted:
    """An experiment that a table has a cell for.

    Attributes:
        facts: its configuration, keys dotted, with what the table of runs knows beyond it.
        words: the overrides of each run that it takes, and the seeds that this run has; empty where the experiment is
            known from its runs alone.
    """

    facts: Mapping[str, Any]
    words: tuple[tuple[tuple[str, ...], tuple[int, ...]], ...] = ()


@dataclass(frozen=True)
class Ours:
    """What runs of one's own came to.

    Attributes:
        metric: of what.
        scores: of each seed.
        simulator, data: in which and on which.
    """

    metric: str
    scores: dict[int, float]
    simulator: str
    data: str

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.scores.values())))

    @property
    def spread(self) -> float | None:
        """Sample standard deviation over seeds; None of one."""
        return float(np.std(list(self.scores.values()), ddof=1)) if len(self.scores) > 1 else None


@dataclass(frozen=True)
class Line:
    """One row: an arm on a task, held against one published figure, or against none."""

    arm: str
    task: str
    measure: str
    published: Published | None
    ours: Ours | None
    todo: str

    @property
    def difference(self) -> float | None:
        """Ours minus the published."""
        return None if self.published is None or self.ours is None else self.ours.mean - self.published.value

    @property
    def joint(self) -> float | None:
        """The joint spread: the root of the sum of both squared standard deviations over seeds.

        None where either is not known: a figure without a spread says nothing of what lies within it.
        """
        theirs = None if self.published is None else self.published.deviation
        ours = None if self.ours is None else self.ours.spread
        return None if theirs is None or ours is None else math.hypot(theirs, ours)

    @property
    def within(self) -> str:
        """Whether the difference lies within the joint spread: yes, no, or nothing where that cannot be said."""
        return (
            ""
            if self.difference is None or self.joint is None
            else "yes"
            if abs(self.difference) <= self.joint
            else "no"
        )


def lines(results: Results, wanted: Sequence[Wanted] | None, sources: Sequence[str] = ()) -> list[Line]:
    """The rows of a table.

    Args:
        results: the runs.
        wanted: the experiments of a sweep, which have their cells whether they were run or not; None: what was run.
        sources: keys of the sources to be held against; all where there is none.

    Raises:
        UsageError: a source is not known, or there are neither runs nor cells.
    """
    known = sorted({figure.key for figure in load()})
    for source in sources:
        if source not in known:
            raise UsageError(f"no source {source!r}\nthere are {', '.join(known)}")
    figures = [figure for figure in load() if figure.words and (not sources or figure.key in sources)]
    runs = results.runs.to_dicts()
    if wanted is None:
        wanted = [Wanted(row) for row in representatives(runs)]
    if not wanted:
        raise UsageError(
            f"no runs in {results.root / 'runs'}\nrlbench table -m OVERRIDES lists what a sweep has to run"
        )
    scores = Scores(results)
    found = []
    for cell, place in zip(wanted, named([cell.facts for cell in wanted]), strict=True):
        own = [row for row in runs if row["experiment"] == cell.facts["experiment"] and same_place(row, cell)]
        held: list[Published | None] = [figure for figure in figures if chooses(figure, cell.facts)]
        for figure in held or [None]:
            measure = figure.measure if figure is not None else MEASURE
            came: list[Ours | None] = [*scores.of(own, measure, None if figure is None else figure.metric)]
            found += [Line(place.arm, place.task, measure, figure, ours, missing(cell, own)) for ours in came or [None]]
    return found


def representatives(runs: Sequence[Row]) -> list[Row]:
    """One run of every experiment, in every simulator and on every data set that it was run on."""
    found: dict[tuple[Any, ...], Row] = {}
    for row in runs:
        found.setdefault((row["experiment"], *(row[key] for key in arms.PROVENANCE)), row)
    return list(found.values())


def named(facts: Sequence[Mapping[str, Any]]) -> list[arms.Place]:
    """The arm and task of every cell; all have the same keys, as the rows of a table of runs have."""
    keys = dict.fromkeys(key for each in facts for key in each)
    places, _ = arms.places([{key: each.get(key) for key in keys} for each in facts])
    return places


def chooses(figure: Published, facts: Mapping[str, Any]) -> bool:
    """Whether a published figure is of such a run: the same method, on the same data."""
    return Filter(figure.words).fits(Path(facts["algo"], facts["problem"], "0"), facts)


class Scores:
    """The scores of finished runs by protocol, each computed once."""

    def __init__(self, results: Results) -> None:
        self.results = results
        self.finished = results.runs.filter(pl.col("state") == "finished")
        self.known: dict[tuple[str, str], dict[int, dict[int, float]]] = {}

    def of(self, rows: Sequence[Row], measure: str, metric: str | None) -> list[Ours]:
        """What came of an experiment: once for every simulator and data set that it was run on."""
        done = [row for row in rows if row["state"] == "finished"]
        if not done:
            return []
        if metric is None:
            numbers = [row["run"] for row in done]
            metric = common_metric(self.results, self.finished.filter(pl.col("run").is_in(numbers)))
        table = self.by_run(measure, metric)
        found: dict[tuple[Any, ...], dict[int, float]] = {}
        for row in done:
            seeds = found.setdefault(tuple(row[key] for key in arms.PROVENANCE), {})
            for seed, score in table.get(row["run"], {}).items():
                seeds.setdefault(seed, score)
        return [
            Ours(metric, dict(sorted(seeds.items())), str(simulator), described(done[0], fingerprint))
            for (simulator, fingerprint), seeds in found.items()
            if seeds
        ]

    def by_run(self, measure: str, metric: str) -> dict[int, dict[int, float]]:
        if (measure, metric) not in self.known:
            lengths = self.finished.select("run", "steps")
            found = evaluated(self.results, self.finished, metric, None)
            rows = Protocol.of(measure).scores(found, lengths, way(self.finished, metric) == "lower")
            table: dict[int, dict[int, float]] = {}
            for run, seed, score in rows.drop_nulls().iter_rows():
                table.setdefault(run, {})[seed] = score
            self.known[measure, metric] = table
        return self.known[measure, metric]


def same_place(row: Row, cell: Wanted) -> bool:
    """Whether a run belongs into a cell that is known from a run: it has the same provenance."""
    return all(cell.facts.get(key) in (None, row[key]) for key in arms.PROVENANCE)


def described(row: Row, fingerprint: str | None) -> str:
    """The data set of a run, in words."""
    return str(row["dataset"]) + (f" {fingerprint[:8]}" if fingerprint else "")


def missing(cell: Wanted, own: Sequence[Row]) -> str:
    """The command that makes a cell whole; empty where it is, or where nobody said what it takes."""
    done = [row for row in own if row["state"] == "finished"]
    have = {seed for row in done for seed in range(row["seed"], row["seed"] + row["seeds"])}
    if not cell.words:
        unfinished = [row["id"] for row in own if row["state"] != "finished"]
        return "; ".join(f"rlbench resume {id}" for id in unfinished)
    lacking = [(words, seeds) for words, seeds in cell.words if not have >= set(seeds)]
    if not lacking:
        return ""
    first, *others = (words for words, _ in lacking)
    typed = [word for word in first if all(word in words for words in others)]
    if others:
        typed.append("seed=" + ",".join(str(seeds[0]) for _, seeds in lacking))
    sweep = others or any(word.startswith("experiment=") for word in typed)  # which may be one of many runs
    return " ".join(["rlbench", *(["-m"] if sweep else []), *map(shlex.quote, typed)])


def planned(words: Sequence[str], config_dirs: Sequence[str] = ()) -> list[Wanted]:
    """The experiments of a sweep, as `rlbench -m WORDS` would run it.

    Args:
        words: overrides.
        config_dirs: the user's folders of choices.
    """
    from rlbench import config

    facts: dict[str, Mapping[str, Any]] = {}
    runs: dict[str, list[tuple[tuple[str, ...], tuple[int, ...]]]] = {}
    for cell, content in config.compose_sweep(config.expand(words, True, config_dirs), config_dirs):
        experiment = config.experiment_id(content)
        if experiment not in facts:
            algo, problem = config.run_directory(content).parts[-3:-1]
            flat = {key: json.dumps(v) if isinstance(v, list) else v for key, v in dotted(essence(content), "")}
            flat |= {"algo": algo, "problem": problem, "env": flat["env.name"], "dataset": flat["dataset.level"]}
            facts[experiment] = flat | {"experiment": experiment, **dict.fromkeys(arms.PROVENANCE)}
        typed = (*cell, *(f"--config-dir={folder}" for folder in config_dirs))
        seeds = range(content["seed"], content["seed"] + content["seeds"])
        runs.setdefault(experiment, []).append((typed, tuple(seeds)))
    return [Wanted(facts[experiment], tuple(each)) for experiment, each in runs.items()]
