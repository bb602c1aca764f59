"""Learning curves over seeds, and over seeds and tasks (sample efficiency), with their bands."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from rlbench.analysis import arms, statistics
from rlbench.analysis.statistics import Scores

POINTS = 100  # steps of a curve: more are not seen, and cost as much again
RESAMPLES = 500


@dataclass(frozen=True)
class Curve:
    """A statistic over seeds at every step.

    Attributes:
        arm: whose.
        task: on which; None over all of `tasks`.
        tasks: the tasks that it is taken over.
        steps: `[T]`.
        value: `[T]`.
        low, high: `[T]`, the 95 % bootstrap band; NaN where a task has one seed.
        seeds: `[T]`, the least number of seeds of a task.
    """

    arm: str
    task: str | None
    tasks: tuple[str, ...]
    steps: np.ndarray
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    seeds: np.ndarray


Grid = dict[str, np.ndarray]
"""`steps` `[T]` and `values` `[T, seeds]`, NaN where a seed has not come to a step."""


def curves(
    evaluations: pl.DataFrame,
    places: dict[int, arms.Place],
    statistic: Callable[[Scores], np.ndarray] = statistics.iqm,
    over_tasks: bool = False,
    points: int = POINTS,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Curve]:
    """The curve of every arm on every task, or over tasks.

    A step counts with the seeds that have come to it, as long as more than half of them have: a run that is behind, or
    died, thins a curve out and does not end it.

    Args:
        evaluations: `run`, `seed`, `step`, `value` (see `rlbench.analysis.compare.evaluated`).
        places: the arm and task of each run (see `rlbench.analysis.arms.places`).
        statistic: of `rlbench.analysis.statistics`; its scores have the steps as first axis.
        over_tasks: one curve an arm, over the tasks that all arms have, at the steps that these share.
        points: steps of a curve at most, evenly spread.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    grids = {place: grid(rows) for place, rows in by_place(evaluations, places).items()}
    if not over_tasks:
        return [
            drawn(place.arm, place.task, {place.task: one}, statistic, points, resamples, seed)
            for place, one in sorted(grids.items(), key=lambda each: (each[0].task, each[0].arm))
        ]
    names = sorted({place.arm for place in grids})
    shared = [
        task for task in sorted({place.task for place in grids}) if all(arms.Place(arm, task) in grids for arm in names)
    ]
    if not shared:
        return []
    return [
        drawn(arm, None, {task: grids[arms.Place(arm, task)] for task in shared}, statistic, points, resamples, seed)
        for arm in names
    ]


def by_place(evaluations: pl.DataFrame, places: dict[int, arms.Place]) -> dict[arms.Place, list[pl.DataFrame]]:
    """The evaluations of each place, a table a run."""
    found: dict[arms.Place, list[pl.DataFrame]] = defaultdict(list)
    for rows in evaluations.partition_by("run"):
        found[places[rows["run"][0]]].append(rows)
    return found


def grid(runs: Sequence[pl.DataFrame]) -> Grid:
    """All seeds side by side; one that stands in two runs counts once."""
    rows = pl.concat(runs).unique(["seed", "step"], keep="first", maintain_order=True)
    table = rows.sort("seed", "step").pivot("seed", index="step", values="value").sort("step")
    return {"steps": table["step"].to_numpy(), "values": table.drop("step").to_numpy().astype(float)}


def drawn(
    arm: str,
    task: str | None,
    grids: dict[str, Grid],
    statistic: Callable[[Scores], np.ndarray],
    points: int,
    resamples: int,
    seed: int,
) -> Curve:
    """One curve; steps at which the same seeds are there are resampled together."""
    steps = np.array(sorted(set.intersection(*(set(each["steps"].tolist()) for each in grids.values()))), int)
    values = [each["values"][np.isin(each["steps"], steps)] for each in grids.values()]
    present = [~np.isnan(each) for each in values]
    most = np.all([2 * each.sum(1) > each.shape[1] for each in present], axis=0)
    kept = thinned(np.flatnonzero(most), points)
    steps, values, present = steps[kept], [each[kept] for each in values], [each[kept] for each in present]
    value, low, high = np.full((3, len(steps)), np.nan)
    patterns, which = np.unique(np.concatenate(present, axis=1), axis=0, return_inverse=True)
    for pattern in range(len(patterns)):
        at = which == pattern
        scores = [each[at][:, here[at][0]] for each, here in zip(values, present, strict=True)]
        value[at] = statistic(scores)
        if min(each.shape[1] for each in scores) > 1:
            low[at], high[at] = statistics.band(statistic, scores, resamples=resamples, seed=seed)
    seeds = np.min([each.sum(1) for each in present], axis=0, initial=10**9)
    return Curve(arm, task, tuple(grids), steps, value, low, high, seeds)


def thinned(places: np.ndarray, points: int) -> np.ndarray:
    """At most so many of them, evenly spread, first and last among them."""
    if len(places) <= points:
        return places
    return places[np.linspace(0, len(places) - 1, points).round().astype(int)]
