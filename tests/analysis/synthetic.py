"""Results folders made up in seconds: real configurations and the real writer, scores that nobody trained for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from omegaconf import OmegaConf

from rlbench import config, paths
from rlbench.identity import determinants, digest
from rlbench.tracking.rundir import RunDir

SIMULATOR = "Hopper-v4, MuJoCo 3.4.0"
CARD = {"fingerprint": "f" * 16, "id": "hopper-medium"}
ROW = '{"step": %d, "seed": %d, "time": %.3f, "time/updates_per_second": 812.5, "train/loss": %r%s}\n'
SCORES = ', "eval/return": %r, "eval/length": %r, "eval/normalized_score": %r'


class Experiment:
    """Runs that differ in their seeds alone, composed once.

    Args:
        results: the folder that `RLBENCH_RESULTS` would name.
        words: overrides.
        level: the score that it comes to (see `curve`).
        spread: of the scores of its seeds (see `curve`).
        points: rows a seed.
        every: how many rows have one evaluation among them.
        meta: facts in place of the usual ones.
    """

    def __init__(
        self,
        results: Path,
        words: Sequence[str],
        level: float = 60.0,
        spread: float = 5.0,
        points: int = 20,
        every: int = 1,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        self.words, self.level, self.spread, self.points, self.every = words, level, spread, points, every
        self.cfg = config.compose(words)
        self.parts = determinants(config.plain(self.cfg), config.identity(self.cfg))
        self.yaml = OmegaConf.to_yaml(self.cfg, resolve=True)
        self.folder = results / config.run_directory(self.cfg).parent.relative_to(paths.results_root())
        self.meta = {"experiment": digest(self.parts), "simulator": SIMULATOR, "dataset": CARD, "device": "cpu"}
        self.meta |= meta or {}

    @mock.patch.multiple(os, fsync=int)  # these need survive no power cut, and it would take most of the time
    def run(self, seed: int, done: float = 1.0, state: str | None = None) -> RunDir:
        """The run whose first seed is `seed`.

        Args:
            seed: takes the place of the configuration's.
            done: the share of the training that is behind it.
            state: by default finished where it is done, interrupted where it is not.
        """
        seeds, length = self.cfg.seeds, self.cfg.steps
        path = self.folder / digest({**self.parts, "seed": seed, "seeds": seeds})
        text = self.yaml.replace(f"seed: {self.cfg.seed}\n", f"seed: {seed}\n", 1)
        run = RunDir.create(path, text, [*self.words, f"seed={seed}"], self.meta)
        steps = [max(1, length * (k + 1) // self.points) for k in range(round(self.points * done))]
        scores = {
            each: curve(self.level, self.spread, self.points, (int(path.name, 16), each))
            for each in range(seed, seed + seeds)
        }
        with run.metrics.open("a") as file:
            file.write(rows(steps, scores, self.every))
        last = {str(each): float(values[len(steps) - 1]) for each, values in scores.items()}
        run.write_status(
            state=state or ("finished" if done == 1 else "interrupted"), step=steps[-1] if steps else 0,
            steps=length, seeds=seeds, stage="training", seconds=length * done * 1.25e-3, error=None,
            score={"metric": "eval/normalized_score", "step": steps[-1], "values": last} if steps else None,
        )  # fmt: skip
        return run


def write(
    results: Path, words: Sequence[str], level: float = 60.0, *, done: float = 1.0, state: str | None = None, **how: Any
) -> RunDir:
    """One run (see `Experiment`, whose arguments `how` are)."""
    experiment = Experiment(results, words, level, **how)
    return experiment.run(experiment.cfg.seed, done, state)


def write_many(results: Path, levels: Mapping[tuple[str, ...], float], seeds: Iterable[int], **how: Any) -> None:
    """A run for every experiment and seed.

    Args:
        results: the folder that `RLBENCH_RESULTS` would name.
        levels: the overrides of each experiment, and the score that it comes to.
        seeds: of each.
        how: arguments of `Experiment`.
    """
    seeds = list(seeds)
    for words, level in levels.items():
        experiment = Experiment(results, words, level, **how)
        for seed in seeds:
            experiment.run(seed)


def thousand(results: Path, points: int = 1000) -> None:
    """5 algorithms on 4 data sets with 50 seeds each, a run a seed."""
    algos = {"bc": 20.0, "td3_bc": 45.0, "iql": 50.0, "rebrac": 55.0, "sac_n": 30.0}
    offsets = {"medium": 0.0, "medium_replay": -10.0, "expert": 30.0, "mixed": -5.0}
    levels: dict[tuple[str, ...], float] = {
        (f"algo={algo}", f"dataset={dataset}"): level + offset
        for algo, level in algos.items()
        for dataset, offset in offsets.items()
    }
    write_many(results, levels, range(50), points=points)


def curve(level: float, spread: float, points: int, key: Sequence[int]) -> np.ndarray:
    """Scores `[points]` of one seed that rise to `level`, give or take `spread` between seeds.

    Args:
        level: the mean over seeds at the end.
        spread: standard deviation between seeds; an evaluation varies by a fifth of it.
        points: how many.
        key: says which random numbers.
    """
    rng = np.random.default_rng(key)
    end = level + spread * rng.standard_normal()
    return end * -np.expm1(-8 * np.arange(1, points + 1) / points) + 0.2 * spread * rng.standard_normal(points)


def rows(steps: Sequence[int], scores: Mapping[int, np.ndarray], every: int = 1) -> str:
    """Lines of metrics.jsonl: a row a step and seed, scores on every `every`-th step."""
    lines = []
    for place, step in enumerate(steps):
        for seed, values in scores.items():
            score = float(values[place])
            evaluated = SCORES % (32.5 * score, 10 * score, score) if (place + 1) % every == 0 else ""
            lines.append(ROW % (step, seed, step * 1.25e-3, 1 / (1 + place), evaluated))
    return "".join(lines)
