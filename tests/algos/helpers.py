"""Small problems, and plain per-seed references built of torch.nn, for the tests of the algorithms."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from torch import Tensor, nn

from rlbench.algos.actor_critic import ControlAlgorithm
from rlbench.build import Capturable
from rlbench.data.transitions import Transitions
from rlbench.envs.control import Control
from rlbench.nets.capture import EAGER_UPDATES
from rlbench.nets.mlp import Networks
from rlbench.nets.optim import Params
from rlbench.rng import SeedStreams
from rlbench.task import ControlTask, Features

CONF = Path(__file__).parents[2] / "conf" / "algo"
NOWHERE = Control("nowhere", "Nowhere-v0")
DEFAULT = re.compile(r"(?:\$\{(?:tuned|for_env|least):)+(\[.*?\]|[^,]+),")
"""What a value is where no environment or dataset has one of its own."""


def build(
    name: str,
    data: Transitions | Control,
    seeds: tuple[int, ...] = (0,),
    steps: int = 1000,
    env: Control | None = None,
    device: str = "cpu",
    **changes: Any,
) -> Any:
    """The algorithm with its own YAML file's values, apart from `changes`, on a dataset, in an environment, or both."""
    config = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    module, cls = config["_target_"].rsplit(".", 1)
    values = {k: v for k, v in config.items() if k not in ("defaults", "_target_", "name", "about", "budget")}
    for key, value in values.items():
        if isinstance(value, str) and (default := DEFAULT.match(value)):
            values[key] = yaml.safe_load(default[1])
    assert not set(changes) - set(values)
    offline = isinstance(data, Transitions)
    dims = (data.observation_dim, data.action_dim) if isinstance(data, Transitions) else data.dims()
    task = ControlTask(
        seeds=seeds,
        steps=steps,
        device=torch.device(device),
        env=env or (NOWHERE if isinstance(data, Transitions) else data),
        data=data if isinstance(data, Transitions) else None,
        eval_episodes=4,
        artefacts=None,  # type: ignore[arg-type]  # none of these algorithms trains shared stages
        networks=Networks(*dims),
        features=Features(dims[0]),
    )
    assert offline == (config["about"]["needs"]["data"] == "transitions")
    algorithm = getattr(importlib.import_module(module), cls)(task=task, **values | changes)
    if isinstance(algorithm, Capturable):
        algorithm.capture(compiled=False, after=EAGER_UPDATES)  # as in a run: the same results sooner
    return algorithm


def synthetic(rows: int = 600, observation_dim: int = 4, action_dim: int = 2, seed: int = 0) -> Transitions:
    """Unrelated random columns, in episodes of 20 rows that are terminated or cut by turns."""
    rng = np.random.default_rng(seed)
    last = np.arange(rows) % 20 == 19
    ended = last & (np.arange(rows) % 40 == 39)
    return Transitions.of_columns(
        rng.normal(1.0, 2.0, (rows, observation_dim)),
        rng.uniform(-0.95, 0.95, (rows, action_dim)),
        rng.normal(size=rows),
        rng.normal(1.0, 2.0, (rows, observation_dim)),
        ended,
        last & ~ended,
    )


def bandit(rows: int = 2000, scale: float = 1.0, best: float = 0.5, seed: int = 0) -> Transitions:
    """One-step episodes, actions uniform in (-1, 1), reward -scale (a - best)^2; the mean action is 0."""
    rng = np.random.default_rng(seed)
    action = rng.uniform(-1, 1, (rows, 1))
    state = rng.normal(size=(rows, 1))
    return Transitions.of_columns(
        state, action, -scale * (action[:, 0] - best) ** 2, state, np.ones(rows), np.zeros(rows)
    )


def greedy(algorithm: ControlAlgorithm) -> Tensor:
    """Deterministic actions `[S, 9, a]` at nine one-dimensional observations from -1 to 1."""
    observation = torch.linspace(-1, 1, 9)[None, :, None].expand(len(algorithm.task.seeds), -1, -1)
    with torch.no_grad():
        return algorithm.action(algorithm.actor_params, algorithm.task.features(observation))


def exact_and_independent(
    name: str, data: Transitions | Control, units: tuple[int, int] = (5, 8), **changes: Any
) -> None:
    """Chunks and a reload change no bit, and a seed's result does not depend on the seeds beside it."""
    first, second = units
    whole = build(name, data, (3, 7), **changes)
    metrics = whole.train(first + second)
    parts = build(name, data, (3, 7), **changes)
    parts.train(first)
    resumed = build(name, data, (3, 7), **changes)
    resumed.load_state_dict(deepcopy(parts.state_dict()))
    for other in (parts, resumed):
        again = other.train(second)
        assert again.keys() == metrics.keys()
        for key, value in metrics.items():
            torch.testing.assert_close(again[key], value, rtol=0, atol=0, equal_nan=True)
        for group, params in whole.params.items():
            for key, value in params.items():
                torch.testing.assert_close(other.params[group][key], value, rtol=0, atol=0)
    alone = build(name, data, (7,), **changes)
    alone.train(first + second)
    for group, params in alone.params.items():
        for key, value in params.items():
            torch.testing.assert_close(whole.params[group][key][len(value) :], value, rtol=1e-4, atol=1e-5)


class Columns(NamedTuple):
    """One seed's minibatch."""

    observation: Tensor
    action: Tensor
    reward: Tensor
    next_observation: Tensor
    terminated: Tensor
    row: Tensor = torch.empty(0)


def minibatches(
    data: Transitions, seed: int, size: int, kept: np.ndarray | None = None, purpose: str = "minibatches"
) -> Iterator[Columns]:
    """The minibatches that a seed is to draw, 32 at a time, from the rows `kept` (all)."""
    rows = torch.arange(len(data)) if kept is None else torch.as_tensor(kept)
    stream = SeedStreams((seed,), purpose)
    columns = [data.observation, data.action, data.reward[:, None], data.next_observation, data.terminated[:, None]]
    tensors = [torch.tensor(column) for column in columns]
    while True:
        for index in stream.integers(len(rows), 32, size)[0]:
            yield Columns(*(column[rows[index]] for column in [*tensors, torch.arange(len(data))]))


def reference(params: Params, member: int, layernorm: bool = False) -> nn.Sequential:
    """Member `member` of a ReLU stack as a torch.nn network, LayerNorm after each activation."""
    layers: list[nn.Module] = []
    count = sum(bool(re.fullmatch(r"\d+\.weight", name)) for name in params)
    for i in range(count):
        weight, bias = params[f"{i}.weight"][member], params[f"{i}.bias"][member]
        layer = nn.Linear(*weight.shape)
        with torch.no_grad():
            layer.weight.copy_(weight.T)
            layer.bias.copy_(bias[0])
        layers.append(layer)
        if i < count - 1:
            layers += [nn.ReLU(), nn.LayerNorm(weight.shape[1])] if layernorm else [nn.ReLU()]
    return nn.Sequential(*layers)


def same(network: nn.Sequential, params: Params, member: int, atol: float = 1e-5) -> None:
    """Assert that a reference and member `member` of a stack hold the same weights."""
    layers = [layer for layer in network if isinstance(layer, nn.Linear)]
    for i, layer in enumerate(layers):
        torch.testing.assert_close(params[f"{i}.weight"][member].T, layer.weight.detach(), rtol=0, atol=atol)
        torch.testing.assert_close(params[f"{i}.bias"][member][0], layer.bias.detach(), rtol=0, atol=atol)


def follow(target: nn.Module, source: nn.Module, tau: float) -> None:
    """target <- (1 - tau) target + tau source."""
    with torch.no_grad():
        for old, new in zip(target.parameters(), source.parameters(), strict=True):
            old.mul_(1 - tau).add_(tau * new)


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> float:
    """One step; returns the loss."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()
