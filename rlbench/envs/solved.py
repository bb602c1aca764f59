"""Control problems that are solved: what is preferred in them, and how good a policy is, is known exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np

from rlbench.envs.problem import Problem, common
from rlbench.types import BelowOne

if TYPE_CHECKING:
    from torch import Tensor

    from rlbench.task import ControlTask, Task


class Behaviour(NamedTuple):
    """Segments of a behaviour policy."""

    observation: np.ndarray
    """`[N, T, d]`"""
    action: np.ndarray
    """`[N, T, a]`, one-hot where actions are choices."""
    reward: np.ndarray
    """`[N, T]`"""
    advantage: np.ndarray
    """A*(s_t, a_t), `[N, T]`, up to a constant."""


@dataclass(frozen=True)
class Solved(Problem):
    """A problem with a known optimum; a subclass says which.

    Args:
        name: the word after `env=`.
        gamma: discount.
    """

    actions: ClassVar[Literal["unbounded", "choices"]]

    name: str
    gamma: BelowOne

    def dims(self) -> tuple[int, int]:
        """Widths of observation and action."""
        raise NotImplementedError

    def behave(self, segments: int, length: int, rng: np.random.Generator) -> Behaviour:
        """Segments of the problem's behaviour policy."""
        raise NotImplementedError

    def judge(self, policy: Callable[[Tensor], Tensor], task: Task) -> dict[str, np.ndarray]:
        """How good a policy is, float64 `[S]` a metric.

        Args:
            policy: maps observations `[S, B, d]` to actions `[S, B, a]` (choices: to their probabilities).
            task: whose seeds the policies are of.
        """
        raise NotImplementedError

    def task(self, task: Task) -> ControlTask:
        from rlbench.nets.mlp import Networks
        from rlbench.task import Features, SolvedTask

        observation_dim, action_dim = self.dims()
        networks, features = Networks(observation_dim, action_dim), Features(observation_dim)
        return SolvedTask(**common(task), networks=networks, features=features, actions=self.actions)

    def discounts(self, length: int) -> Any:
        """1, gamma, gamma^2, ...: `[length]`."""
        return self.gamma ** np.arange(length)
