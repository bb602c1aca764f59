"""Small model-based problems: `env=disc2d`, and ensembles whose weights are written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlbench import config
from rlbench.artefacts import Artefacts
from rlbench.data.transitions import Transitions
from rlbench.envs.control import Control
from rlbench.nets.ensemble import Model
from rlbench.nets.mlp import Networks
from rlbench.task import ControlTask, Features

TINY = [
    "algo.dynamics.hidden_dims=[16, 16]",
    "algo.dynamics.weight_decay=[0, 0, 0]",
    "algo.dynamics.members=3",
    "algo.dynamics.elites=2",
    "algo.dynamics.max_epochs=2",
]
ROLLOUTS = ["rollout_every=4", "rollout_starts=24", "rollout_length=3", "rollout_sets=2", "hidden_dims=[16, 16]"]
COCOA = ["algo.embedding_dims=[16]", "algo.embedding_width=2", "algo.seeker_epochs=2", "algo.seeker_hidden_dims=[16]"]


def composed(*words: str, rows: int = 600) -> Any:
    """A configuration on `env=disc2d` with a dataset of so many rows."""
    return config.compose(["env=disc2d", "dataset=disc", f"dataset.rows={rows}", *words])


def build(
    cfg: Any,
    cache: Path,
    seeds: Sequence[int] = (0,),
    steps: int = 1000,
    env: Control | None = None,
    data: Any = None,
    device: str = "cpu",
) -> Any:
    """The algorithm of a configuration, its stages under `cache`."""
    env = env or config.instantiate(cfg.env)
    return config.instantiate(cfg.algo, task=make_task(cfg, cache, seeds, steps, env, data, device))


def make_task(
    cfg: Any,
    cache: Path,
    seeds: Sequence[int],
    steps: int = 1000,
    env: Control | None = None,
    data: Any = None,
    device: str = "cpu",
) -> ControlTask:
    env = env or config.instantiate(cfg.env)
    data = data if data is not None else config.instantiate(cfg.dataset, env=env).load()
    return ControlTask(
        seeds=tuple(seeds),
        steps=steps,
        device=torch.device(device),
        env=env,
        data=data,
        eval_episodes=2,
        artefacts=Artefacts(cache, torch.device(device)),
        networks=Networks(data.observation_dim, data.action_dim),
        features=Features(data.observation_dim),
    )


def linear_model(mean: Tensor, std: Tensor, inputs: int, elites: list[int], seeds: int = 1) -> Model:
    """A model that adds `mean` `[E, out]` to any state, with standard deviations `std` `[E, out]`, for every seed."""
    members, out = mean.shape
    state = {
        "params": {
            "0.weight": torch.zeros(members, inputs, 2 * out),
            "0.bias": torch.cat([mean, 2 * std.log()], -1)[:, None],
            "log_var_max": torch.full((1, 1, 1, out), 50.0),
            "log_var_min": torch.full((1, 1, 1, out), -50.0),
        },
        "mean": torch.zeros(1, 1, inputs),
        "std": torch.ones(1, 1, inputs),
        "elites": torch.tensor([elites]),
    }
    return Model(state, seeds)


def r_squared(predicted: Tensor, target: Tensor) -> float:
    """Least coefficient of determination among the columns of `[N, d]`."""
    residual = (predicted - target).square().mean(0)
    return float((1 - residual / target.var(0)).min())


def columns(data: Transitions, rows: slice | np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """State, action, next state of some rows, `[1, n, ...]`."""
    s, a, following = (torch.tensor(x[rows])[None] for x in (data.observation, data.action, data.next_observation))
    return s, a, following
