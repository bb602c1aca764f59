"""Makes the behaviour policies of embedded data: trains SAC, keeps snapshots, chooses which make which level.

What makes "medium" a fair task is not its mean return alone: a checkpoint whose mean action is far better than its
sampled actions makes data that cloning the best episodes solves at once. So candidates are tried: behaviour cloning
must stay near the data's mean, and cloning the best fifth of the episodes must gain little over it.
"""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rlbench import __version__, config, paths
from rlbench.artefacts import Artefacts
from rlbench.data.behaviour import RANDOM, file_hash
from rlbench.data.embedded import join
from rlbench.data.recorder import measure, record
from rlbench.data.transitions import Transitions, summary
from rlbench.envs.control import Control
from rlbench.errors import UsageError
from rlbench.nets.mlp import Networks
from rlbench.task import ControlTask, Features

SCREEN_EPISODES = 20
MANIFEST_EPISODES = 100
TRIAL_ROWS = 50_000
TRIAL_UPDATES = 5_000
TRIAL_EPISODES = 20
TRIAL_SEEDS = (0, 1, 2)
TRIALS = 6
REPLAY_POLICIES = 5
MIXED_FRACTIONS = (0.1, 1 / 3, 0.5, 0.75, 1.0)
NEAR = 0.25
"""Cloning may be so far from the data's mean, relative to it."""
GAIN = 1.2
"""Cloning the best fifth of the episodes may be so much better (or worse) than cloning all."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Snapshot:
    """A policy of the training run and its measured normalised scores."""

    step: int
    path: Path
    sampled: float
    mode: float


@dataclass(frozen=True)
class Trial:
    """One candidate for "medium", normalised scores: of the data, of cloning them, of cloning their best fifth (means
    over `TRIAL_SEEDS`)."""

    steps: list[int]
    data: float
    data_std: float
    bc: float
    best_bc: float
    fair: bool

    @property
    def offence(self) -> float:
        """At most 1 for a fair candidate."""
        gain = max(self.best_bc / self.bc, self.bc / self.best_bc)
        return max(abs(self.bc / self.data - 1) / NEAR, gain / GAIN)


def task_of(env: Control, seeds: tuple[int, ...], steps: int, data: Transitions | None) -> ControlTask:
    dims = env.dims()
    device = torch.device("cpu")
    artefacts = Artefacts(paths.cache_root() / "artefacts")
    return ControlTask(seeds, steps, device, env, data, TRIAL_EPISODES, artefacts, Networks(*dims), Features(dims[0]))


def train(env: Control, sac: dict[str, Any], steps: int, seed: int, every: int, folder: Path, say: Say) -> None:
    """Train SAC and save the policy every `every` steps as `<folder>/<step>.npz`, float16.

    Args:
        sac: the algorithm's part of the config.
    """
    algorithm = config.instantiate(sac, task=task_of(env, (seed,), steps, None))
    folder.mkdir(parents=True, exist_ok=True)
    while algorithm.step < steps:
        metrics = algorithm.train(min(every, steps - algorithm.step))
        arrays = {}
        for name, value in algorithm.actor_params.items():
            layer, kind = name.split(".")
            arrays[f"{kind[0]}{layer}"] = value[0].numpy().astype(np.float16)
        bounds = {"log_std_min": np.float32(sac["log_std_min"]), "log_std_max": np.float32(sac["log_std_max"])}
        np.savez(folder / f"{algorithm.step}.npz", **arrays, **bounds)  # type: ignore[arg-type]
        say(f"step {algorithm.step:,}: last return {float(metrics['train/return'][0]):.0f}")


def select(env: Control, bc: dict[str, Any], snapshots: Path, to: Path, training: dict[str, Any], say: Say) -> None:
    """Choose the policies of every level among snapshots; write them and their manifest to a folder.

    Args:
        env: the environment.
        bc: behaviour cloning's part of the config.
        snapshots: folder of `<step>.npz`.
        to: folder to write.
        training: how the snapshots were made, for the manifest.

    Raises:
        UsageError: there are too few snapshots to choose from.
    """
    screened = screen(env, snapshots, say)
    expert = max(screened, key=lambda s: s.sampled)
    trials = []
    for candidate in candidates(screened, expert.sampled / 3):
        trials.append(trial(env, bc, candidate))
        say(line(trials[-1]))
        if trials[-1].fair:
            break
    medium = min(trials, key=lambda t: t.offence).steps
    earlier = [s.step for s in screened if s.step <= max(medium)]
    spread = np.linspace(0, len(earlier) - 1, REPLAY_POLICIES).round().astype(int)
    replay = sorted({earlier[i] for i in spread} | set(medium))
    levels = {
        "medium": medium,
        "medium_replay": replay,
        "expert": [expert.step],
        "mixed": mixed(screened, expert, {*replay, expert.step}),
    }
    policies = write(env, snapshots, to, sorted({step for steps in levels.values() for step in steps}))
    manifest = {
        "env": env.name,
        "id": env.id,
        "training": training,
        "levels": {level: [str(step) for step in steps] for level, steps in levels.items()},
        "policies": policies,
        "snapshots": [{"step": s.step, "sampled": round(s.sampled, 2), "mode": round(s.mode, 2)} for s in screened],
        "trials": [asdict(t) for t in trials],
    }
    (to / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    say(f"wrote {len(policies) - 1} policies and manifest.json to {to}")


def screen(env: Control, folder: Path, say: Say) -> list[Snapshot]:
    """Normalised scores of all snapshots, by step."""
    found = []
    for step in sorted(int(path.stem) for path in folder.glob("*.npz") if path.stem.isdigit()):
        path = folder / f"{step}.npz"
        sampled, mode = (measure(env, path, SCREEN_EPISODES, [step], kind)[0].mean() for kind in (True, False))
        found.append(Snapshot(step, path, float(env.score(sampled)), float(env.score(mode))))
        say(f"snapshot {step:,}: score {found[-1].sampled:.1f} with sampled actions, {found[-1].mode:.1f} without")
    if len(found) < 6:
        raise UsageError(f"{folder} has {len(found)} snapshots (<step>.npz): at least 6 are needed to choose from")
    return found


def candidates(screened: list[Snapshot], target: float) -> list[list[Snapshot]]:
    """Triples worth a trial, best first: near the target, alike, their mean actions little better than sampled ones."""
    near = sorted(screened, key=lambda s: abs(s.sampled - target))[:10]

    def badness(triple: tuple[Snapshot, ...]) -> float:
        scores = [s.sampled for s in triple]
        return float(
            abs(np.mean(scores) - target) + np.std(scores) + np.mean([abs(s.mode - s.sampled) for s in triple])
        )

    ranked = sorted(combinations(sorted(near, key=lambda s: s.step), 3), key=badness)
    return [list(triple) for triple in ranked[:TRIALS]]


def trial(env: Control, bc: dict[str, Any], candidate: list[Snapshot]) -> Trial:
    """Clone the mix of a candidate's policies, all episodes and the best fifth."""
    ends = [TRIAL_ROWS * (i + 1) // len(candidate) for i in range(len(candidate))]
    quotas = np.diff([0, *ends]).tolist()
    steps = [s.step for s in candidate]
    parts: list[tuple[Path | None, int]] = [(s.path, rows) for s, rows in zip(candidate, quotas, strict=True)]
    data = Transitions(join(record(env, parts, steps, "trial", None), ends), *env.dims())
    scores = env.score(data.episode_returns()[data.finished])

    def cloned(fraction: float) -> float:
        task = task_of(env, TRIAL_SEEDS, TRIAL_UPDATES, data)
        algorithm = config.instantiate({**bc, "best_fraction": fraction}, task=task)
        algorithm.train(TRIAL_UPDATES)
        return float(algorithm.evaluate()["eval/normalized_score"].mean())

    result = Trial(steps, float(scores.mean()), float(scores.std()), cloned(1.0), cloned(0.2), fair=False)
    return Trial(**{**asdict(result), "fair": result.offence <= 1})


def line(trial: Trial) -> str:
    return (
        f"medium = {trial.steps}: data {trial.data:.1f} +- {trial.data_std:.1f}, BC {trial.bc:.1f}, "
        f"best-20% BC {trial.best_bc:.1f}: {'fair' if trial.fair else 'not fair'}"
    )


def mixed(screened: list[Snapshot], expert: Snapshot, shipped: set[int]) -> list[int]:
    """Five policies of rising quality; those that other levels carry already are preferred."""
    chosen: list[Snapshot] = []
    for fraction in MIXED_FRACTIONS:
        target = fraction * expert.sampled

        def distance(s: Snapshot, target: float = target) -> float:
            return abs(s.sampled - target) + (0.0 if s.step in shipped else 0.05 * expert.sampled)

        chosen.append(min((s for s in screened if s not in chosen), key=distance))
    return [s.step for s in sorted(chosen, key=lambda s: s.sampled)]


def write(env: Control, snapshots: Path, to: Path, steps: list[int]) -> dict[str, Any]:
    """Copy policies, measure them well, and return the manifest's entries."""
    to.mkdir(parents=True, exist_ok=True)
    for old in to.glob("*.npz"):
        old.unlink()
    entries: dict[str, Any] = {RANDOM: measured(env, None, 0)}
    for step in steps:
        path = to / f"{step}.npz"
        shutil.copyfile(snapshots / path.name, path)
        entries[path.stem] = {"step": step, "sha256": file_hash(path), **measured(env, path, step)}
    return entries


def measured(env: Control, path: Path | None, step: int) -> dict[str, Any]:
    """Return and length of a policy with sampled actions."""
    returns, lengths = measure(env, path, MANIFEST_EPISODES, [step, 1])
    return {
        "episodes": MANIFEST_EPISODES,
        "return": {name: round(value, 3) for name, value in summary(returns).items()},
        "length": {name: round(value, 3) for name, value in summary(lengths).items()},
        "score": round(float(env.score(returns.mean())), 2),
    }


def versions() -> dict[str, str]:
    """Of everything that a trained policy depends on."""
    packages = {package: version(package) for package in ("torch", "numpy", "mujoco", "gymnasium")}
    return {"rlbench": __version__, "python": platform.python_version(), **packages}
