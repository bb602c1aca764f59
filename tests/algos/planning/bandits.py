"""Instances with known answers, and policies on them without the command line."""

from __future__ import annotations

import importlib
from typing import Any

import torch
import yaml

from rlbench import config, paths
from rlbench.envs.recovering_bandit import Random, RecoveringBandit
from rlbench.task import Task


def instance(name: str) -> RecoveringBandit:
    """One of conf/env."""
    return config.instantiate(yaml.safe_load((paths.conf_root() / "env" / f"{name}.yaml").read_text()))


E1 = instance("recovering_bandit")
HAND = instance("recovering_bandit_hand")
STEP = instance("recovering_bandit_step")
PATIENCE = instance("recovering_bandit_patience")


def random(N: int, K: int, D: int, seed: int) -> RecoveringBandit:
    return Random("random", K, D, N, seed)


def policy(
    name: str, env: RecoveringBandit, steps: int, seeds: tuple[int, ...] = (0,), data: Any = None, **changes: Any
) -> Any:
    """An algorithm with its own YAML file's values, apart from `changes`."""
    file = yaml.safe_load((paths.conf_root() / "algo" / f"{name}.yaml").read_text())
    module, cls = file["_target_"].rsplit(".", 1)
    values = {k: v for k, v in file.items() if k not in ("defaults", "_target_", "name", "about", "budget")}
    assert not changes.keys() - values.keys()
    task = Task(seeds, steps, torch.device("cpu"), env, data, 1, artefacts=None)  # type: ignore[arg-type]  # no stages
    return getattr(importlib.import_module(module), cls)(task, **values | changes)
