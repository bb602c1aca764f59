"""`rlbench check`: compose and validate, say what would run, run nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from omegaconf import OmegaConf

from rlbench import config
from rlbench.cli import cells, configurations, one_of_each, request
from rlbench.launch.sweep import Planned

TEXT = "Compose and validate, say what would run and where it would lie, run nothing. Takes what a run takes."


def main(argv: list[str]) -> int:
    asked = request(argv, "check", TEXT)
    runs = one_of_each(cells(asked))
    require_environments(runs)
    if asked.config_only:
        print(configurations(runs, asked), end="")
        return 0
    found = [summary(run) for run in runs]
    if asked.json:
        print(json.dumps(found if asked.multirun else found[0], indent=2))
        return 0
    for run in found:
        data = f", data {run['dataset']}" if run["dataset"] else ""
        print(
            f"{run['algorithm']} on {run['env']}{data}: seed {run['seeds']}, {run['steps']:,} steps, "
            f"evaluated every {run['eval_every']:,} on {run['eval_episodes']} episodes, {run['device']}\n"
            f"  {run['directory']}: " + (run["state"] or f"{run['trials']} trials")
        )
    return 0


def require_environments(runs: Sequence[Planned]) -> None:
    """Refuse runs whose environment could not be built here.

    Raises:
        RunError: a package that one needs is not installed.
        UsageError: the settings of one contradict each other.
    """
    for env in {json.dumps(run.config["env"]): run.config["env"] for run in runs}.values():
        config.instantiate(env).require()


def summary(run: Planned) -> dict[str, Any]:
    """What a run is and what there is of it; of a search, what its trials have in common, and how many there are."""
    cfg = OmegaConf.create(run.config)
    trials = cfg.search.trials if "trial" in run.config else None
    directory = run.directory.parent if trials else run.directory
    base = f" over {cfg.algo.base.name}" if "base" in cfg.algo else ""
    return {
        "id": directory.name,
        "directory": str(directory),
        "state": None if trials else run.status().get("state", "new"),
        "trials": trials,
        "algorithm": cfg.algo.name + base,
        "env": cfg.env.name,
        "dataset": cfg.dataset.get("path", cfg.dataset.level) if "_target_" in cfg.dataset else None,
        "seeds": f"{cfg.seed} to {cfg.seed + cfg.seeds - 1}" if cfg.seeds > 1 else str(cfg.seed),
        "steps": cfg.steps,
        "eval_every": cfg.eval.every,
        "eval_episodes": cfg.eval.episodes,
        "device": cfg.hardware.device,
    }
