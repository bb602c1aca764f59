"""Runs that differ in the seed alone become one that trains the seeds together, as `seeds=` does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise

from rlbench.launch.sweep import Planned

ENOUGH = 4  # runs a worker: with fewer, one long run at the end leaves the others idle
LARGEST = 16  # seeds together in a run that is looked for


def plan(cells: Sequence[Planned], most: int, workers: int) -> list[Planned]:
    """The runs to be made for these cells: those that are finished, alone or in company, and packs of the others.

    Args:
        cells: the runs that were asked for.
        most: seeds that may be trained together.
        workers: runs that are worked on at a time.
    """
    found = [(cell, holder(cell)) for cell in cells]
    done = {run.path: run for _, run in found if run is not None}
    return [*done.values(), *packed([cell for cell, run in found if run is None], most, workers)]


def holder(cell: Planned) -> Planned | None:
    """A finished run that has this cell's seed, by itself or among others."""
    if cell.finished():
        return cell
    folder = cell.directory.parent
    if cell.config["seeds"] > 1 or not folder.is_dir():
        return None
    names = {path.name for path in folder.iterdir()} - {cell.directory.name}
    seed = cell.config["seed"]
    for size in range(2, LARGEST + 1 if names else 0):
        for first in range(max(0, seed - size + 1), seed + 1):
            run = with_seeds(cell, range(first, first + size))
            if run.directory.name in names and run.finished():
                return run
    return None


def packed(runs: Sequence[Planned], most: int, workers: int) -> list[Planned]:
    """The runs with neighbouring seeds joined, such that every worker still has its share.

    Args:
        runs: as they were asked for.
        most: seeds that may be trained together.
        workers: runs that are worked on at a time.
    """
    families: dict[str, list[Planned]] = {}
    for run in runs:
        families.setdefault(family(run), []).append(run)
    if not runs:
        return []
    ways = [[pack for each in families.values() for pack in joined(each, size)] for size in range(most, 0, -1)]
    return next((way for way in ways if len(way) % workers == 0 or len(way) >= ENOUGH * workers), ways[-1])


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


def with_seeds(run: Planned, seeds: range) -> Planned:
    """The same run with other seeds."""
    words = [word for word in run.words if word.partition("=")[0] not in ("seed", "seeds")]
    config = {**run.config, "seed": seeds.start, "seeds": len(seeds)}
    return Planned.of([*words, f"seed={seeds.start}", f"seeds={len(seeds)}"], config)
