"""Searches without the command line."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import torch
import yaml

from rlbench import config, paths
from rlbench.algos.evolution.agents import Agents
from rlbench.task import Task

CPU = torch.device("cpu")


def problem(name: str, **changes: Any) -> Any:
    """One of conf/env, apart from `changes`."""
    return config.instantiate(yaml.safe_load((paths.conf_root() / "env" / f"{name}.yaml").read_text()) | changes)


def search(name: str, env: Any, seeds: tuple[int, ...] = (0,), **changes: Any) -> Any:
    """An algorithm with its own YAML file's values for the problem, apart from `changes`."""
    found = config.compose_plain([f"algo={name}", f"env={env.name}"])["algo"]
    module, cls = found["_target_"].rsplit(".", 1)
    values = {k: v for k, v in found.items() if k not in ("_target_", "name", "about", "budget")}
    assert not changes.keys() - values.keys()
    task = Task(seeds, 10_000, CPU, env, None, 1, artefacts=None)  # type: ignore[arg-type]  # no stages
    return getattr(importlib.import_module(module), cls)(task, **values | changes)


def agents(behaviour: np.ndarray, first: int = 0) -> Agents:
    """Agents of which only the behaviour matters."""
    n = len(behaviour)
    zeros = np.zeros(n)
    return Agents(
        id=first + np.arange(n), parent=np.full(n, -1), ancestor=np.full(n, -1), genome=np.zeros((n, 3)), reward=zeros,
        area=np.full(n, -1), outcome=np.zeros((n, 2)), views=np.zeros((n, 0, 64, 64, 3), np.uint8), behaviour=behaviour,
        surprise=zeros, novelty=zeros, followed=np.zeros(n, dtype=bool),
    )  # fmt: skip
