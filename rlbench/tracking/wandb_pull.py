"""Runs that live only in W&B, as run directories that every command reads.

A run that rlbench made, on whichever machine, comes back as what it was: id, configuration, provenance, all its seeds
in one directory. Any other becomes a run of one seed under an id of its own; its settings stand below `algo`, where
comparisons look for them, its metrics keep their names unless they are renamed.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from rlbench.errors import RunError
from rlbench.files import write_atomically
from rlbench.identity import digest
from rlbench.tracking.rundir import Row, RunDir, alone
from rlbench.tracking.wandb import PROVENANCE, alone_and_quiet

if TYPE_CHECKING:
    from wandb.apis.public import Run

PLACE = re.compile(r"\w[\w.+-]*/\w[\w.+-]*/[0-9a-f]{10}")
STATES = {
    "finished": "finished", "failed": "failed", "crashed": "lost", "killed": "interrupted",
    "preempted": "interrupted", "preempting": "interrupted", "running": "running", "pending": "running",
}  # fmt: skip
"""What W&B calls a state, and we."""
WORDS: dict[str, tuple[str, ...]] = {
    "algo": ("algo", "algorithm", "algo_name", "alg", "agent"),
    "env": ("env", "env_id", "env_name", "environment", "task"),
    "dataset": ("dataset", "dataset_id", "dataset_name"),
    "seed": ("seed",),
    "steps": ("steps", "total_timesteps", "max_timesteps", "total_steps", "num_steps"),
}
"""Where the configurations of others say what a run is: the first that there is."""
ASIDE = "name", "run_name", "exp_name", "group", "project", "entity", "device", "checkpoints_path", "save_path"
"""What the configurations of others hold that changes no result."""
AXES = "step", "global_step", "env_step", "trainer/global_step"
"""Where the rows of others say how far training was; else W&B's own count."""


@dataclass(frozen=True)
class Outcome:
    """What became of one run."""

    name: str
    kind: Literal["pulled", "already here", "failed"]
    text: str


@dataclass(frozen=True)
class _Planned:
    """A directory to be: what W&B knows of it, by seed."""

    place: str
    runs: dict[int, Run]
    config: dict[str, Any]
    facts: dict[str, Any]


def pull(project: str, entity: str | None, root: Path, renamed: Mapping[str, str]) -> Iterator[Outcome]:
    """Make directories of a project's runs. What was made here, or pulled and has not changed since, stays as it is.

    Args:
        project: its name.
        entity: whose it is; None: the account's own.
        root: the results folder.
        renamed: names of metrics, and what they are to be called.

    Yields:
        What became of each run.

    Raises:
        RunError: W&B or the project cannot be reached.
    """
    alone_and_quiet()
    import wandb

    try:
        listed = list(wandb.Api().runs(f"{entity}/{project}" if entity else project, per_page=100, lazy=False))
    except (wandb.Error, ValueError) as error:
        raise RunError(f"cannot list {project}: {_why(error)}") from error
    for planned in _plan(listed):
        try:
            yield _pulled(planned, root / "runs" / planned.place, renamed)
        except (wandb.Error, OSError, ValueError, RunError) as error:
            yield Outcome(planned.place, "failed", _why(error))


def _why(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def _plan(listed: list[Run]) -> Iterator[_Planned]:
    """Which directories there will be; the seeds of one run of ours share one."""
    ours: dict[str, dict[int, Run]] = {}
    for run in listed:
        facts = run.config.get("rlbench")
        if isinstance(facts, dict) and PLACE.fullmatch(str(facts.get("run"))):
            ours.setdefault(facts["run"], {})[int(run.config["seed"])] = run
        else:
            yield _of_others(run)
    for place, seeds in ours.items():
        runs = dict(sorted(seeds.items()))
        config = dict(next(iter(runs.values())).config)
        facts = config.pop("rlbench")
        yield _Planned(
            place, runs, {**config, "seeds": len(runs)}, {key: facts[key] for key in PROVENANCE if key in facts}
        )


def _of_others(run: Run) -> _Planned:
    settings = {key: value for key, value in run.config.items() if key not in ASIDE}
    found: dict[str, Any] = {}
    for what, words in WORDS.items():
        found[what] = next((settings.pop(word) for word in words if word in settings), None)
    algo, of_algo = _named(found["algo"], run.job_type or run.project)
    env, of_env = _named(found["env"], "unknown")
    dataset, of_dataset = _named(found["dataset"], "none")
    seed, steps = int(found["seed"] or 0), found["steps"]
    config = {
        "seed": seed,
        "seeds": 1,
        "steps": None if steps is None else int(steps),
        "wandb": {"mode": "disabled", "project": run.project, "entity": run.entity, "group": run.group,
                  "tags": list(run.tags or []), "name": run.name},
        "algo": {"name": algo, **of_algo, **settings},
        "env": {"name": env, **of_env},
        "dataset": {"level": dataset, **of_dataset},
    }  # fmt: skip
    place = f"{_slug(algo)}/{_slug(env)}-{_slug(dataset)}/{digest({'wandb': '/'.join(run.path)})}"
    facts = {"experiment": digest({key: config[key] for key in ("algo", "env", "dataset", "steps")})}
    return _Planned(place, {seed: run}, config, facts)


def _named(found: Any, otherwise: str) -> tuple[str, dict[str, Any]]:
    """A choice's name, and what else stands with it."""
    if isinstance(found, dict):
        return str(found.get("name") or otherwise), {key: value for key, value in found.items() if key != "name"}
    return str(found or otherwise), {}


def _slug(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", text).lstrip(".+-") or "unknown"


def _pulled(planned: _Planned, path: Path, renamed: Mapping[str, str]) -> Outcome:
    runs = planned.runs
    signs = {str(seed): f"{run.state} {run.heartbeat_at}" for seed, run in runs.items()}
    with alone(path):
        if path.exists():
            meta = RunDir(path).meta()
            if "pulled" not in meta or meta["resumed"]:
                return Outcome(planned.place, "already here", "already here, made here")
            if meta["pulled"]["signs"] == signs:
                return Outcome(planned.place, "already here", "already here")
        rows = sorted(
            (row for seed, run in runs.items() for row in _rows(run, seed, renamed)),
            key=lambda row: (row["step"], row["seed"]),
        )
        _write(planned, path, rows, signs)
    return Outcome(planned.place, "pulled", f"pulled {len(rows):,} rows of {len(runs)} seed{'s' * (len(runs) != 1)}")


def _rows(run: Run, seed: int, renamed: Mapping[str, str]) -> Iterator[Row]:
    """A run's history: a row a step, finite numbers alone."""
    history = list(run.scan_history())
    axis = next((name for name in AXES if all(name in row for row in history)), "_step")
    merged: dict[int, Row] = {}
    for row in history:
        step = int(row[axis])
        metrics = merged.setdefault(step, {"step": step, "seed": seed})
        for key, value in row.items():
            is_number = type(value) in (int, float) and math.isfinite(value)
            if is_number and key not in (axis, "step", "seed") and not key.startswith("_"):
                metrics[renamed.get(key, key)] = value
    yield from (row for row in merged.values() if len(row) > 2)


def _write(planned: _Planned, path: Path, rows: list[Row], signs: dict[str, str]) -> None:
    """Put the directory in its place, whole."""
    runs = list(planned.runs.values())
    place = path.with_name(f".{path.name}.new")
    shutil.rmtree(place, ignore_errors=True)
    step = rows[-1]["step"] if rows else 0
    config = {**planned.config, "steps": planned.config["steps"] or step}
    meta = {
        "began": runs[0].created_at,
        "simulator": None,
        **planned.facts,
        "pulled": {"urls": {str(seed): run.url for seed, run in planned.runs.items()}, "signs": signs},
    }
    made = RunDir.create(place, yaml.safe_dump(config, sort_keys=False), [], meta)
    made.append(rows)
    states = [STATES.get(run.state, "lost") for run in runs]
    score = made.score()
    status = {
        "state": next((state for state in states if state != "finished"), "finished"),
        "step": step,
        "steps": config["steps"],
        "seeds": len(runs),
        "stage": "training",
        "seconds": max((float(run.summary_metrics.get("_runtime", 0)) for run in runs), default=0.0),
        "speed": None,
        "score": score and asdict(score),
        "error": None,
        "diverged": [],
        "heartbeat": max(_moment(run.heartbeat_at or run.created_at) for run in runs),
        "pid": 0,
        "host": "W&B",
    }
    write_atomically(place / "status.json", json.dumps(status) + "\n")
    if path.exists():
        made.replace(path)
    else:
        place.rename(path)


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
