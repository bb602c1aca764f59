"""Runs that differ in the seed alone become one that trains the seeds together, as `seeds=` does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from rlbench.launch.sweep import Planned, is_seed
from rlbench.tracking.rundir import ID, RunDir

ENOUGH = 4  # runs a worker: with fewer, one long run at the end leaves the others idle


def plan(cells: Sequence[Planned], most: int, workers: int) -> list[Planned]:
    """The runs to be made for these cells: those that are finished, alone or in company, and packs of the others.

    Args:
        cells: the runs that were asked for.
        most: seeds that may be trained together.
        workers: runs that are worked on at a time.
    """
    sizes: dict[Path, set[int]] = {}
    found = [(cell, holder(cell, sizes)) for cell in cells]
    done = {run.path: run for _, run in found if run is not None}
    return [*done.values(), *packed([cell for cell, run in found if run is None], most, workers)]


def moved(runs: Sequence[Planned], most: int, workers: int) -> list[Planned]:
    """The runs of a sweep that goes on elsewhere: what has not begun is packed for the workers there."""
    begun = [run for run in runs if run.directory.exists()]
    waiting = [each for run in runs if not run.directory.exists() for each in apart(run)]
    return [*begun, *packed(waiting, most, workers)]


def mended(runs: Sequence[Planned], most: int, workers: int) -> list[Planned]:
    """The runs of a sweep that goes on: a seed that diverged leaves its pack, whose others begin anew without it."""
    good, others = [], []
    for run in runs:
        diverged = run.status().get("diverged") if run.packed else None
        if diverged:
            good += [each for each in apart(run) if each.config["seed"] in diverged]
            others += [each for each in apart(run) if each.config["seed"] not in diverged]
        else:
            good.append(run)
    return [*good, *packed(others, most, workers)]


def holder(cell: Planned, sizes: dict[Path, set[int]] | None = None) -> Planned | None:
    """A finished run that has this cell's seed, by itself or among others.

    Args:
        cell: a run that was asked for.
        sizes: what `companies` found in folders that were looked into before.
    """
    if cell.finished():
        return cell
    if cell.config["seeds"] > 1:
        return None
    seed, folder = cell.config["seed"], cell.directory.parent
    sizes = {} if sizes is None else sizes
    if folder not in sizes:
        sizes[folder] = companies(folder)
    for size in sizes[folder]:
        for first in range(max(0, seed - size + 1), seed + 1):
            run = with_seeds(cell, range(first, first + size))
            if run.finished():
                return run
    return None


def companies(folder: Path) -> set[int]:
    """How many seeds were trained together in the finished runs of a folder, where it was more than one."""
    runs = [RunDir(path) for path in folder.glob("*") if ID.fullmatch(path.name)]
    return {run.status()["seeds"] for run in runs if run.finished()} - {1}


def packed(runs: Sequence[Planned], most: int, workers: int) -> list[Planned]:
    """The runs with neighbouring seeds joined, such that every worker has its share.

    Args:
        runs: as they were asked for.
        most: seeds that may be trained together.
        workers: runs that are worked on at a time.
    """
    families: dict[str, list[Planned]] = {}
    for run in runs:
        families.setdefault(family(run), []).append(run)
    ways = [[joined(each, size) for each in families.values()] for size in range(most, 0, -1)]
    shared = (way for way in ways if is_shared([len(packs) for packs in way], workers))
    return [pack for packs in next(shared, ways[-1]) for pack in packs]


def is_shared(packs: Sequence[int], workers: int) -> bool:
    """Whether so many packs of each family occupy all workers to the end: families may differ in length."""
    return sum(packs) >= ENOUGH * workers or all(n % workers == 0 for n in packs)


def family(run: Planned) -> str:
    """The same for runs that may be joined: single seeds with all else alike."""
    alone = run.config["seeds"] == 1
    return json.dumps({key: value for key, value in run.config.items() if key != "seed" or not alone}, sort_keys=True)


def joined(runs: Sequence[Planned], size: int) -> list[Planned]:
    """The runs of one family in packs of neighbouring seeds, at most `size` and as equal as can be."""
    ordered = sorted(runs, key=lambda run: run.config["seed"])
    stretches = [[ordered[0]]]
    for before, run in pairwise(ordered):
        if run.config["seed"] == before.config["seed"] + 1:
            stretches[-1].append(run)
        else:
            stretches.append([run])
    return [one(part) for stretch in stretches for part in parts(stretch, -(-len(stretch) // size))]


def parts(runs: Sequence[Planned], n: int) -> list[Sequence[Planned]]:
    """`n` parts that differ in length by one at most."""
    return [runs[i * len(runs) // n : (i + 1) * len(runs) // n] for i in range(n)]


def one(runs: Sequence[Planned]) -> Planned:
    """A single run with the seeds of all of them."""
    first, last = runs[0].seeds, runs[-1].seeds
    return runs[0] if len(runs) == 1 else with_seeds(runs[0], range(first.start, last.stop))


def apart(run: Planned) -> list[Planned]:
    """The runs that were joined into one."""
    return [with_seeds(run, range(seed, seed + 1)) for seed in run.seeds] if run.packed else [run]


def with_seeds(run: Planned, seeds: range) -> Planned:
    """The same run with other seeds."""
    words = [word for word in run.words if not is_seed(word)]
    config = {**run.config, "seed": seeds.start, "seeds": len(seeds)}
    count = [f"seeds={len(seeds)}"] if len(seeds) > 1 else []
    return Planned.of([*words, f"seed={seeds.start}", *count], config, packed=len(seeds) > 1)
