"""Runs that live only in W&B, as run directories that every command reads.

A run that rlbench made, on whichever machine, comes back as what it was: id, configuration, provenance, all its seeds
in one directory. Any other becomes a run of one seed under an id of its own; its settings stand below `algo`, where
comparisons look for them, its metrics keep their names unless they are renamed.
"""

from __future__ import annotations

import json
import math
import re
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
from rlbench.tracking.wandb import PROVENANCE, STATE, asking

if TYPE_CHECKING:
    from wandb.apis.public import Run

PLACE = re.compile(r"\w[\w.+-]*/\w[\w.+-]*/[0-9a-f]{10}")
STATES = {
    "finished": "finished", "failed": "failed", "crashed": "lost", "killed": "interrupted",
    "preempted": "interrupted", "preempting": "interrupted", "running": "running", "pending": "running",
    "pruned": "pruned", "interrupted": "interrupted", "lost": "lost", "died": "lost",
}  # fmt: skip
"""What W&B, or our mirror of a run, calls a state, and we."""
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
    """A directory to be.

    Attributes:
        place: below `runs/`.
        runs: what W&B knows of it, by seed.
        config: the configuration.
        facts: what `meta.json` is to have.
        ours: whether we made it.
    """

    place: str
    runs: dict[int, Run]
    config: dict[str, Any]
    facts: dict[str, Any]
    ours: bool


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
    with asking():
        import wandb

        try:
            listed = list(wandb.Api().runs(f"{entity}/{project}" if entity else project, per_page=100, lazy=False))
        except (wandb.Error, ValueError) as error:
            raise RunError(f"cannot list {project}: {_why(error)}") from error
        for name, runs in _grouped(listed).items():
            try:
                planned = _of_ours(name, runs) if _place(runs[0]) else _of_others(*runs)
                yield _pulled(planned, root / "runs" / planned.place, renamed)
            except (wandb.Error, OSError, LookupError, TypeError, ValueError, RunError) as error:
                yield Outcome(name, "failed", _why(error))


def _why(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def _place(run: Run) -> str | None:
    """The directory that a W&B run was made from, if we made it."""
    facts = run.config.get("rlbench")
    place = str(facts.get("run")) if isinstance(facts, dict) else ""
    return place if PLACE.fullmatch(place) else None


def _grouped(listed: list[Run]) -> dict[str, list[Run]]:
    """The seeds of each run of ours, by its directory; any other run alone, by its address."""
    groups: dict[str, list[Run]] = {}
    for run in listed:
        groups.setdefault(_place(run) or "/".join(run.path), []).append(run)
    return groups


def _of_ours(place: str, listed: list[Run]) -> _Planned:
    """The directory that the seeds of one run share."""
    runs = dict(sorted((_whole("seed", run.config["seed"]), run) for run in listed))
    config = dict(next(iter(runs.values())).config)
    facts = config.pop("rlbench")
    return _Planned(place, runs, config, {key: facts[key] for key in PROVENANCE if key in facts}, ours=True)


def _of_others(run: Run) -> _Planned:
    settings = {key: value for key, value in run.config.items() if key not in ASIDE}
    found: dict[str, Any] = {}
    for what, words in WORDS.items():
        found[what] = next((settings.pop(word) for word in words if word in settings), None)
    algo, of_algo = _named(found["algo"], run.job_type or run.project)
    env, of_env = _named(found["env"], "unknown")
    dataset, of_dataset = _named(found["dataset"], "none")
    seed, steps = _whole("seed", found["seed"] or 0), found["steps"]
    config = {
        "seed": seed,
        "seeds": 1,
        "steps": None if steps is None else _whole("number of steps", steps),
        "wandb": {"mode": "disabled", "project": run.project, "entity": run.entity, "group": run.group,
                  "tags": list(run.tags or []), "name": run.name},
        "algo": {"name": algo, **of_algo, **settings},
        "env": {"name": env, **of_env},
        "dataset": {"level": dataset, **of_dataset},
    }  # fmt: skip
    place = f"{_slug(algo)}/{_slug(env)}-{_slug(dataset)}/{digest({'wandb': '/'.join(run.path)})}"
    facts = {"experiment": digest({key: config[key] for key in ("algo", "env", "dataset", "steps")})}
    return _Planned(place, {seed: run}, config, facts, ours=False)


def _named(found: Any, otherwise: str) -> tuple[str, dict[str, Any]]:
    """A choice's name, and what else stands with it."""
    if isinstance(found, dict):
        return str(found.get("name") or otherwise), {key: value for key, value in found.items() if key != "name"}
    return str(found or otherwise), {}


def _whole(what: str, value: Any) -> int:
    """A whole number, however a program wrote it: 1000000, 1e6, "1e6".

    Raises:
        ValueError: it is none.
    """
    try:
        return value if isinstance(value, int) else int(float(value))
    except (OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"its {what} is no number: {value!r}") from error


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
    text = f"pulled {len(rows):,} rows of {len(runs)} seed{'s' * (len(runs) != 1)}"
    if (asked := planned.config["seeds"]) > len(runs):
        text += f" ({', '.join(map(str, runs))}): W&B lacks others of its {asked}, so it is not finished"
    return Outcome(planned.place, "pulled", text)


def _rows(run: Run, seed: int, renamed: Mapping[str, str]) -> Iterator[Row]:
    """A run's history: a row a step, finite numbers alone."""
    history = list(run.scan_history())
    axis = next((name for name in AXES if all(name in row for row in history)), "_step")
    merged: dict[int, Row] = {}
    for row in history:
        step = _whole(axis, row[axis])
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
    score = made.score()
    status = {
        "state": _state(planned, rows),
        "step": step,
        "steps": config["steps"],
        "seeds": config["seeds"],
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


def _state(planned: _Planned, rows: list[Row]) -> str:
    """How a run ended, its seeds together."""
    states = list(map(_ended, planned.runs.values()))
    state = next((state for state in states if state != "finished"), "finished")
    # To W&B a run is finished that failed in nothing, one that was stopped early too. Steps of others may be anything.
    if state == "finished" and planned.ours:
        done = {row["seed"] for row in rows if row["step"] >= planned.config["steps"]}
        return "finished" if len(done) == planned.config["seeds"] else "interrupted"
    return state


def _ended(run: Run) -> str:
    """How a W&B run ended: in our own word, where its last life came to write that."""
    said = run.summary_metrics.get(STATE) if run.state in ("finished", "failed") else None
    return STATES.get(said or run.state, "lost")


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
