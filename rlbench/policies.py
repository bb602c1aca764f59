"""A trained algorithm's policy on its own."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rlbench.errors import RunError

if TYPE_CHECKING:
    from rlbench.task import Task


def require_policy(algorithm: Any, run: Any) -> None:
    """Raise `RunError` where a run has trained something else than a policy of an actor network."""
    if not hasattr(algorithm, "actor_params"):
        raise RunError(f"the algorithm of {run} has no policy of its own, to be exported, recorded or filmed")


def policy(algorithm: Any, place: int) -> Callable[[Tensor], Tensor]:
    """The policy of the seed in one place: observations `[B, d]` to actions `[B, a]`."""
    params = {name: value[place : place + 1].detach().clone() for name, value in algorithm.actor_params.items()}
    features = algorithm.task.features.of_seed(place)
    return lambda observation: algorithm.action(params, features(observation[None]))[0]


def torchscript(act: Callable[[Tensor], Tensor], task: Task) -> torch.jit.ScriptModule:
    """The policy as a graph of its own, for any number of observations."""
    example = torch.zeros(2, task.env.dims()[0])
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is deprecated in favour of what cannot be loaded without its Python
        return torch.jit.trace(_module(act), example)


def _module(act: Callable[[Tensor], Tensor]) -> torch.nn.Module:
    class Policy(torch.nn.Module):
        def forward(self, observation: Tensor) -> Tensor:
            return act(observation)

    return Policy()
