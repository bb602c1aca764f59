"""Does A beat B, by how much, and can one trust it? From tables of runs and metrics to numbers and sentences."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl

from rlbench.analysis import arms, statistics
from rlbench.analysis.arms import Place
from rlbench.analysis.protocols import Protocol, kept_episodes
from rlbench.analysis.results import Results, way
from rlbench.analysis.statistics import Interval, Scores
from rlbench.errors import RunError, UsageError
from rlbench.metrics import SCORES, Way, headline
from rlbench.tracking.rundir import decimals

TARGETS = {"eval/normalized_score": 100.0, "eval/success": 1.0}
"""Metrics that mean the same on every task, and the score that the optimality gap is measured from."""
FEW = 5  # seeds below which a bootstrap's interval is clearly too narrow
DOUBLED = "seeds that stand in two runs of an experiment, and count once: {}"


@dataclass(frozen=True)
class Cell:
    """An arm on a task.

    Attributes:
        seeds: the score of each seed; empty for a bandit.
        scores: these scores; of a bandit, the mean of every policy that it chose among.
        mean: with its interval, which takes two seeds (NaN otherwise); of a bandit, the score of the policy chosen.
        iqm: likewise; None for a bandit.
    """

    arm: str
    task: str
    seeds: dict[int, float]
    scores: np.ndarray
    mean: Interval
    iqm: Interval | None = None

    @property
    def median(self) -> float:
        """Of the seeds."""
        return float(np.median(self.scores))

    @property
    def spread(self) -> float:
        """Sample standard deviation over seeds; NaN of one."""
        return float(np.std(self.scores, ddof=1)) if len(self.scores) > 1 else math.nan


@dataclass(frozen=True)
class Aggregate:
    """An arm over all tasks that every arm has; `median` is over the tasks' means, `gap` is None without a target."""

    arm: str
    seeds: tuple[int, int]
    mean: Interval
    median: Interval
    iqm: Interval
    gap: Interval | None


@dataclass(frozen=True)
class Pair:
    """Two arms on the tasks that both have, or on one of them; the first has the better mean (or wins more often).

    Attributes:
        tasks: how many.
        difference: by how much the mean over tasks of the means over seeds of `arm` is better (of a cost: lower); None
            where tasks have scales of their own.
        improvement: the probability that a seed of `arm` scores better than one of `other`.
        p: of a permutation test of `difference`; over all tasks, raised for the number of pairs by Holm's method.
        needed: seeds a side that would tell such a difference.
        digits: decimals of scores that are shown.
        judged: whether high or low scores are good; else the first is no better, only higher.
        tests: pairs for whose number `p` was raised.
        floor: the least `p` that any scores of so many seeds would have.
    """

    arm: str
    other: str
    task: str | None
    tasks: int
    seeds: tuple[int, int]
    other_seeds: tuple[int, int]
    difference: Interval | None
    improvement: Interval
    p: float
    needed: float
    digits: int = 2
    judged: bool = True
    tests: int = 1
    floor: float = 0.0

    @property
    def enough(self) -> bool:
        """Whether there is enough to tell the two apart."""
        return self.p < statistics.SIGNIFICANT

    def sentence(self) -> str:
        """The answer in words."""
        n = f"n = {span(self.seeds)} and {span(self.other_seeds)}" + (" seeds a task" if self.tasks > 1 else " seeds")
        where = f"on {self.task}" if self.task else f"over {self.tasks} tasks"
        chance = f"P({'improvement' if self.judged else 'higher'}) = {ends(self.improvement)}"
        p = "p < 0.001" if self.p < 0.001 else f"p = {self.p:.2g}"
        by = "" if self.difference is None else f" by {ends(self.difference, self.digits)}"
        if self.improvement.value == 0.5 and (self.difference is None or self.difference.value == 0):
            return f"{self.arm} and {self.other} are level {where}; {n}"
        verb = "is higher than" if not self.judged else "beats" if self.enough else "is ahead of"
        verdict = "enough to tell" if self.enough else f"not enough to tell{self.advice()}"
        return f"{self.arm} {verb} {self.other}{by} {where}; {chance}; {n}; {p}: {verdict}"

    def advice(self) -> str:
        """What would be enough."""
        if min(self.seeds[0], self.other_seeds[0]) < 2:
            return " (one seed says nothing of the next)"
        if not math.isfinite(self.needed):
            return ""
        if self.needed > 1000:
            return " (a difference of this size would take over 1,000 seeds each)"
        # With fewer, no arrangement of the labels is rare enough; and those that there are have not sufficed.
        least = max(statistics.least_seeds(self.tasks, self.tests), min(self.seeds[0], self.other_seeds[0]) + 1)
        most = max(least, math.ceil(self.needed))
        among = f" among {self.tests} pairs" if self.tests > 1 else ""
        if self.floor >= statistics.SIGNIFICANT:
            return f" (so few seeds tell nothing{among}, whatever their scores: it takes some {most} each)"
        return f" (some {most} seeds each would tell a difference of this size{among})"


@dataclass
class Comparison:
    """Everything that `rlbench compare` says.

    Attributes:
        metric: what is compared.
        protocol: what counts as the score of a seed.
        way: which values of the metric are better.
        arms: in the order of their means, best first (highest first where neither way is better); of their ranks where
            tasks have scales of their own.
        tasks: in alphabetical order.
        cells: those that there are.
        aggregates: over `common` tasks; empty where no task is shared by all arms, or scales differ.
        common: the tasks that every arm has.
        pairs: over the tasks that two arms share.
        task_pairs: on each single task.
        notes: what a reader has to know.
        runs: the rows of the table of runs that were compared: those of a cell.
        evaluations: `run`, `seed`, `step`, `value` of all their evaluations.
        where: the arm and task of each of these runs.
    """

    metric: str
    protocol: Protocol
    way: Way
    arms: list[str]
    tasks: list[str]
    cells: dict[tuple[str, str], Cell]
    aggregates: list[Aggregate] = field(default_factory=list)
    common: list[str] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    task_pairs: list[Pair] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    runs: pl.DataFrame = field(default_factory=pl.DataFrame)
    evaluations: pl.DataFrame = field(default_factory=pl.DataFrame)
    where: dict[int, Place] = field(default_factory=dict)

    @property
    def cost(self) -> bool:
        """Whether low values of the metric are good."""
        return self.way == "lower"

    @property
    def digits(self) -> int:
        """Decimals of scores that are shown."""
        return decimals(cell.mean.value for cell in self.cells.values())

    @property
    def name(self) -> str:
        """The metric, and which way it goes where that is not the usual one."""
        return self.metric + {"lower": " (lower is better)", "neither": " (neither way is better)"}.get(self.way, "")

    @property
    def sign(self) -> int:
        """Scores times this are the better, the higher they are."""
        return -1 if self.cost else 1

    def scores(self, arm: str, tasks: Sequence[str] | None = None) -> Scores:
        """The scores of an arm, an array a task."""
        return [self.cells[arm, task].scores for task in (self.common if tasks is None else tasks)]

    def merits(self, arm: str, tasks: Sequence[str] | None = None) -> Scores:
        """The same, the higher the better."""
        return [self.sign * scores for scores in self.scores(arm, tasks)]


def compare(
    results: Results,
    protocol: Protocol,
    metric: str | None = None,
    by: Sequence[str] = (),
    at: int | None = None,
    seed: int = 0,
) -> Comparison:
    """Compare all runs of the tables.

    Args:
        results: the tables; whatever their filter lets through.
        protocol: what counts as the score of a seed.
        metric: of the evaluations; by default the one that all runs are judged by.
        by: keys whose values are compared, in place of algorithms with all their settings.
        at: look at runs as if their training had ended at this step.
        seed: of the bootstrap.

    Raises:
        UsageError: there is nothing to compare, or what was asked for does not fit the runs.
    """
    if protocol.kind == "bandit" and at is not None:
        raise UsageError(
            f"--at {at} says nothing to a bandit, which chooses among policies as they were at the end of training\n"
            "leave it out, or choose another --protocol"
        )
    runs, notes = usable(results, at)
    metric = metric or common_metric(results, runs)
    better = way(runs, metric)
    cost = better == "lower"
    evaluations = evaluated(results, runs, metric, at)
    rows = runs.to_dicts()
    places, found = arms.places(rows, by, pooled=protocol.kind == "bandit")
    notes += found
    where = {row["run"]: place for row, place in zip(rows, places, strict=True)}
    if protocol.kind == "bandit":
        cells = bandit_cells(rows, where, metric, protocol, cost, seed, notes)
    else:
        lengths = runs.select("run", pl.lit(at, pl.Int64).fill_null(pl.col("steps")).alias("steps"))
        scores = protocol.scores(evaluations, lengths, cost)
        silent = runs["seeds"].sum() - scores.height
        if silent > 0:
            notes.append(f"seeds left out, for they have no {metric}{by_step(at)}: {silent}")
        cells = seed_cells(scores, where, protocol, seed, notes)
        if not cells:
            raise UsageError(nothing_left(results, runs, metric, protocol, at))
    empty = sorted({(place.arm, place.task) for place in where.values()} - cells.keys())
    if empty:
        notes.append(f"left out, without a score: {', '.join(f'{arm} on {task}' for arm, task in empty)}")
    where = {run: place for run, place in where.items() if (place.arm, place.task) in cells}
    comparison = Comparison(
        metric,
        protocol,
        better,
        *ordered(cells, metric, cost),
        cells,
        notes=notes,
        runs=runs.filter(pl.col("run").is_in(list(where))),
        evaluations=evaluations.filter(pl.col("run").is_in(list(where))),
        where=where,
    )
    aggregate(comparison, seed)
    if protocol.kind != "bandit":
        contrast(comparison, seed)
        few = sorted({len(cell.scores) for cell in cells.values() if len(cell.scores) < FEW})
        if few:
            notes.append(f"intervals over fewer than {FEW} seeds are too narrow: trust the verdicts, which are not")
    return comparison


# -- which runs --------------------------------------------------------------------------------------------------------


def usable(results: Results, at: int | None) -> tuple[pl.DataFrame, list[str]]:
    """The runs that are at the end that is asked for, and a sentence on the others.

    Raises:
        UsageError: there are none, or a word of the filter fits no run.
    """
    results.require_fit()
    done = pl.col("state") == "finished" if at is None else pl.col("step") >= at
    runs, others = results.runs.filter(done), results.runs.filter(~done)
    notes = [f"damaged, left out: {path}: {why}" for path, why in results.damaged.items()]
    if others.height:
        states = Counter(others["state"].to_list())
        counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        reason = "not finished" if at is None else f"not yet at step {at:,}"
        notes.append(f"left out, {reason}: {counts} (`rlbench runs` shows which)")
    if not runs.height:
        raise UsageError(
            "no finished run fits" + (f": {notes[-1]}" if notes else f" in {results.root / 'runs'}")
            if at is None
            else f"no run has come to step {at:,}"
        )
    return runs, notes


def common_metric(results: Results, runs: pl.DataFrame) -> str:
    """The metric that all runs are judged by; one that was never evaluated has no say.

    Raises:
        UsageError: there is none.
    """
    names = [name for name in results.metrics.columns if name.startswith("eval/")]
    rows = results.metrics.filter(pl.col("run").is_in(runs["run"].implode()))
    present = rows.group_by("run").agg(pl.col(names).is_not_null().any())
    judged = present.filter(pl.any_horizontal(False, *names))
    shared = [name for name in names if judged.height and judged[name].all()]
    found = next((name for name in SCORES if name in shared), None) or headline(shared)
    if found is None:
        have = ", ".join(name for name in names if present[name].any()) or "none"
        raise UsageError(f"the runs have no score in common: between them they have {have}\nchoose one: --metric NAME")
    return found


def evaluated(results: Results, runs: pl.DataFrame, metric: str, at: int | None) -> pl.DataFrame:
    """`run`, `seed`, `step`, `value` of every evaluation.

    Raises:
        UsageError: no run has the metric.
    """
    if metric not in results.metrics.columns:
        names = [name for name in results.metrics.columns if name.startswith("eval/")]
        raise UsageError(f"no run has a metric {metric}\nthere are {', '.join(names) or 'none'}")
    rows = results.metrics.select("run", "seed", "step", pl.col(metric).alias("value")).drop_nulls()
    return rows.filter(pl.col("run").is_in(runs["run"].implode()), pl.lit(True) if at is None else pl.col("step") <= at)


def by_step(at: int | None) -> str:
    return "" if at is None else f" by step {at:,}"


def nothing_left(results: Results, runs: pl.DataFrame, metric: str, protocol: Protocol, at: int | None) -> str:
    """Why no seed has a score, and what would give it one."""
    ever = evaluated(results, runs, metric, None)
    if not ever.height:
        return f"none of these runs has {metric}\nleave --metric out: the one that all are judged by is taken"
    rows = evaluated(results, runs, metric, at)
    if not rows.height:
        first = min(ever["step"].to_list())
        return f"no run has {metric}{by_step(at)}\nthe first evaluation is at step {first:,}: --at {first}"
    most = max(rows.group_by("run", "seed").len()["len"].to_list())
    return (
        f"no run has as many evaluations{by_step(at)} as {protocol} asks for: the most is {most}\n"
        f"choose another: --protocol last{'' if most == 1 else most}"
    )


# -- cells -------------------------------------------------------------------------------------------------------------


def seed_cells(
    scores: pl.DataFrame, where: dict[int, Place], protocol: Protocol, seed: int, notes: list[str]
) -> dict[tuple[str, str], Cell]:
    """The scores of every arm on every task; a seed that stands in two runs of an experiment counts once."""
    found: dict[tuple[str, str], dict[int, float]] = {}
    doubled = missing = 0
    for run, each, score in scores.iter_rows():
        place = where[run]
        cell = found.setdefault((place.arm, place.task), {})
        if score is None:
            missing += 1
        elif each in cell:
            doubled += 1
        else:
            cell[each] = score
    if missing:
        notes.append(f"seeds left out, for they have fewer evaluations than {protocol} asks for: {missing}")
    if doubled:
        notes.append(DOUBLED.format(doubled))
    return {
        (arm, task): cell_of(arm, task, dict(sorted(seeds.items())), seed)
        for (arm, task), seeds in found.items()
        if seeds
    }


def cell_of(arm: str, task: str, seeds: dict[int, float], seed: int) -> Cell:
    scores = np.array(list(seeds.values()))
    return Cell(
        arm, task, seeds, scores, stated(statistics.mean, [scores], seed), stated(statistics.iqm, [scores], seed)
    )


def bandit_cells(
    rows: Sequence[dict[str, Any]],
    where: dict[int, Place],
    metric: str,
    protocol: Protocol,
    cost: bool,
    seed: int,
    notes: list[str],
) -> dict[tuple[str, str], Cell]:
    """What the bandit makes of the policies of every arm on every task; a seed of an experiment is one of them."""
    episodes = kept_episodes(rows, metric)
    experiment = {row["run"]: row["experiment"] for row in rows}
    policies: dict[Place, dict[tuple[str, int], list[float]]] = {}
    for (run, each), scores in episodes.items():
        policies.setdefault(where[run], {}).setdefault((experiment[run], each), scores)
    if doubled := len(episodes) - sum(map(len, policies.values())):
        notes.append(DOUBLED.format(doubled))
    cells = {}
    for place, found in policies.items():
        candidates = list(found.values())
        if len({len(scores) for scores in candidates}) > 1:
            raise RunError(f"the policies of {place.arm} on {place.task} have different numbers of episodes kept")
        table = np.array(candidates)
        trials = statistics.bandit(-table if cost else table, max_pulls=protocol.amount, seed=seed)
        value, low, high = (float(each[-1]) for each in (trials.value, trials.low, trials.high))
        chosen = Interval(-value, -high, -low) if cost else Interval(value, low, high)
        cells[place.arm, place.task] = Cell(place.arm, place.task, {}, table.mean(1), chosen)
    return cells


def ordered(cells: dict[tuple[str, str], Cell], metric: str, cost: bool) -> tuple[list[str], list[str]]:
    """Arms, the best first, by the mean over their tasks of the difference to the task's mean; tasks by name.

    Where tasks have scales of their own, the share of arms that come out below takes the place of the difference.
    """
    tasks = sorted({task for _, task in cells})
    lead: dict[str, list[float]] = {arm: [] for arm in sorted({arm for arm, _ in cells})}
    for task in tasks:
        here = {arm: cell.mean.value for (arm, t), cell in cells.items() if t == task}
        values = np.array(list(here.values()))
        scaled = share_scale(metric, tasks)
        for arm, value in zip(here, values - values.mean() if scaled else ranks(values), strict=True):
            lead[arm].append(value)
    return sorted(lead, key=lambda arm: float(np.mean(lead[arm])) * (1 if cost else -1)), tasks


# -- over tasks --------------------------------------------------------------------------------------------------------


def aggregate(comparison: Comparison, seed: int) -> None:
    """Fill in `common` and `aggregates`."""
    cells, notes = comparison.cells, comparison.notes
    comparison.common = [task for task in comparison.tasks if all((arm, task) in cells for arm in comparison.arms)]
    if len(comparison.tasks) < 2:
        return
    for task in comparison.tasks:
        if absent := [arm for arm in comparison.arms if (arm, task) not in cells]:
            notes.append(f"{task} is left out of what is said over tasks: no {', '.join(absent)} there")
    if comparison.metric not in TARGETS:
        notes.append(f"{comparison.metric} has a scale of its own on each task: its means are not averaged over tasks")
        return
    if not comparison.common or comparison.protocol.kind == "bandit":
        return
    target = comparison.sign * TARGETS[comparison.metric]
    for arm in comparison.arms:
        scores = comparison.scores(arm)
        comparison.aggregates.append(
            Aggregate(
                arm,
                sizes(scores),
                stated(statistics.mean, scores, seed),
                stated(statistics.median, scores, seed),
                stated(statistics.iqm, scores, seed),
                stated(lambda each: statistics.optimality_gap(each, target), comparison.merits(arm), seed),
            )
        )
    counts = {len(cell.scores) for cell in cells.values() if cell.task in comparison.common}
    if len(counts) > 1:
        notes.append("tasks differ in their numbers of seeds: in the IQM those with more weigh more")


def contrast(comparison: Comparison, seed: int) -> None:
    """Fill in the pairs."""
    pairs, samples = [], []
    for first, second in combinations(comparison.arms, 2):
        shared = [t for t in comparison.tasks if (first, t) in comparison.cells and (second, t) in comparison.cells]
        if not shared:
            continue
        singles = [pair_of(comparison, first, second, [task], seed) for task in shared]
        comparison.task_pairs += singles
        pairs.append(singles[0] if len(shared) == 1 else pair_of(comparison, first, second, shared, seed))
        samples.append(tested(comparison, pairs[-1].arm, pairs[-1].other, shared))
    tests = len(pairs)
    raised = statistics.holm(statistics.permutation_tests(samples, seed=seed))
    floors = statistics.holm([statistics.least_p(*scores) for scores in samples])
    comparison.pairs = [
        replace(pair, p=p, needed=statistics.seeds_needed(*scores, tests), tests=tests, floor=floor)
        for pair, scores, p, floor in zip(pairs, samples, raised, floors, strict=True)
    ]


def pair_of(comparison: Comparison, first: str, second: str, tasks: Sequence[str], seed: int) -> Pair:
    scores = tested(comparison, first, second, tasks)
    if float(statistics.difference(*scores)) < 0:
        return pair_of(comparison, second, first, tasks, seed)
    x, y = comparison.merits(first, tasks), comparison.merits(second, tasks)
    return Pair(
        first,
        second,
        tasks[0] if len(tasks) == 1 else None,
        len(tasks),
        sizes(x),
        sizes(y),
        stated(statistics.difference, x, seed, y) if share_scale(comparison.metric, tasks) else None,
        statistics.improvement_interval(x, y, seed=seed) if min(*sizes(x), *sizes(y)) > 1 else
        Interval(statistics.improvement(x, y), math.nan, math.nan),
        statistics.permutation_test(*scores, seed=seed),
        statistics.seeds_needed(*scores),
        comparison.digits,
        comparison.way != "neither",
        floor=statistics.least_p(*scores),
    )  # fmt: skip


def tested(comparison: Comparison, first: str, second: str, tasks: Sequence[str]) -> tuple[Scores, Scores]:
    """What two arms are told apart by: their scores, or, where tasks have scales of their own, their ranks."""
    x, y = comparison.merits(first, tasks), comparison.merits(second, tasks)
    if share_scale(comparison.metric, tasks):
        return x, y
    ranked = [np.split(ranks(np.concatenate([a, b])), [len(a)]) for a, b in zip(x, y, strict=True)]
    return [a for a, _ in ranked], [b for _, b in ranked]


def share_scale(metric: str, tasks: Sequence[str]) -> bool:
    """Whether scores of these tasks can be averaged: there is one, or the metric means the same on every task."""
    return len(tasks) < 2 or metric in TARGETS


def require_scale(metric: str, tasks: Sequence[str]) -> None:
    """Raise `UsageError` where scores of these tasks cannot be averaged."""
    if not share_scale(metric, tasks):
        raise UsageError(
            f"{metric} has a scale of its own on each task, and is not averaged over {len(tasks)} of them\n"
            f"choose runs of one task, or a metric that means the same on every task: {', '.join(TARGETS)}"
        )


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0 to 1; ties share theirs."""
    return statistics.wins(values, values).mean(1)


def stated(statistic: Callable[..., np.ndarray], x: Scores, seed: int, *others: Scores) -> Interval:
    """A statistic with its interval, which takes two seeds of every task."""
    samples = x, *others
    if min(len(each) for scores in samples for each in scores) < 2:
        return Interval(float(statistic(*samples)), math.nan, math.nan)
    return statistics.interval(statistic, *samples, seed=seed)


def sizes(scores: Scores) -> tuple[int, int]:
    """The least and the largest number of seeds of a task."""
    return min(map(len, scores)), max(map(len, scores))


def span(count: tuple[int, int], to: str = " to ") -> str:
    """`8`, or `3 to 8`."""
    return str(count[0]) if count[0] == count[1] else f"{count[0]}{to}{count[1]}"


def ends(interval: Interval, digits: int = 2) -> str:
    """`5.31 [2.08, 8.60]`."""
    value, low, high = (number(each, digits) for each in (interval.value, interval.low, interval.high))
    return f"{value} [{low}, {high}]" if low else value


def number(value: float, digits: int = 2) -> str:
    """`1,234.50`; nothing for what is no number."""
    return "" if math.isnan(value) else f"{value:,.{digits}f}"
