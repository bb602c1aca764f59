"""Searches without the command line."""

from __future__ import annotations

import importlib
from typing import Any

import torch
import yaml

from rlbench import config, paths
from rlbench.task import Task

CPU = torch.device("cpu")


def problem(name: str, **changes: Any) -> Any:
    """One of conf/env, apart from `changes`."""
    return config.instantiate(yaml.safe_load((paths.conf_root() / "env" / f"{name}.yaml").read_text()) | changes)


def search(name: str, env: Any, seeds: tuple[int, ...] = (0,), **changes: Any) -> Any:
    """An algorithm with its own YAML file's values, apart from `changes`."""
    file = yaml.safe_load((paths.conf_root() / "algo" / f"{name}.yaml").read_text())
    module, cls = file["_target_"].rsplit(".", 1)
    values = {k: v for k, v in file.items() if k not in ("defaults", "_target_", "name", "about", "budget")}
    assert not changes.keys() - values.keys()
    task = Task(seeds, 10_000, CPU, env, None, 1, artefacts=None)  # type: ignore[arg-type]  # no stages
    return getattr(importlib.import_module(module), cls)(task, **{k: number(v) for k, v in (values | changes).items()})


def number(value: Any) -> Any:
    """YAML 1.1 takes 1e-3 for a word."""
    return float(value) if isinstance(value, str) else value
