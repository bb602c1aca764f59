"""A random finite Markov decision process whose maximum-entropy optimum is computed exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from rlbench.envs.solved import Behaviour, Solved
from rlbench.errors import UsageError
from rlbench.metrics import Ways
from rlbench.types import Count, NonNegativeInt, Positive

if TYPE_CHECKING:
    from torch import Tensor

    from rlbench.task import Task

DIRICHLET = 0.3
"""Concentration of the transition probabilities."""


@dataclass(frozen=True)
class MaxEntTab(Solved):
    """P(.|s, a) ~ Dirichlet(0.3), r(s, a) ~ N(0, 1); the behaviour is uniform. States are one-hot vectors.

    Ziebart et al., "Maximum Entropy Inverse Reinforcement Learning" (AAAI 2008): V(s) = alpha log sum_a exp(Q(s, a) /
    alpha), pi*(a|s) = exp(A*(s, a) / alpha).

    Args:
        name: the word after `env=`.
        gamma: discount.
        alpha: temperature, what a nat of entropy is worth.
        states: how many.
        choices: actions in every state.
        unseen: so many of them, the last, are never taken by the behaviour.
        seed: of transitions and rewards.
    """

    actions: ClassVar[Literal["choices"]] = "choices"
    metric_directions: ClassVar[Ways] = {"eval/total_variation": "lower", "eval/unseen": "lower"}

    alpha: Positive
    states: Count
    choices: Count
    unseen: NonNegativeInt
    seed: NonNegativeInt

    def require(self) -> None:
        if self.unseen >= self.choices:
            raise UsageError(f"env.unseen={self.unseen} leaves the behaviour none of the {self.choices} choices")

    def simulator(self) -> str:
        return f"{self.name}, {self.states} states, {self.choices} choices, seed {self.seed}"

    def dims(self) -> tuple[int, int]:
        return self.states, self.choices

    @cached_property
    def process(self) -> tuple[np.ndarray, np.ndarray]:
        """Transition probabilities `[S, A, S]` and rewards `[S, A]`."""
        rng = np.random.default_rng(self.seed)
        shape = self.states, self.choices
        return rng.dirichlet(np.full(self.states, DIRICHLET), shape), rng.normal(size=shape)

    @cached_property
    def advantage(self) -> np.ndarray:
        """A*, `[S, A]`, by soft value iteration."""
        following, reward = self.process
        value, change = np.zeros(self.states), np.inf
        while change > 1e-13:
            q = reward + self.gamma * following @ value
            top = q.max(1)
            new = top + self.alpha * np.log(np.exp((q - top[:, None]) / self.alpha).sum(1))
            value, change = new, np.abs(new - value).max()
        return q - value[:, None]

    @property
    def optimum(self) -> np.ndarray:
        """pi*, `[S, A]`."""
        policy = np.exp(self.advantage / self.alpha)
        return policy / policy.sum(1, keepdims=True)

    def returns(self, policy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Exact discounted return of policies `[..., S, A]` from a uniform start, without and with the entropy: `[...]`
        each."""
        following, reward = self.process
        step = np.einsum("...sa,sat->...st", policy, following)
        entropy = -(policy * np.log(np.maximum(policy, 1e-300))).sum(-1)
        earned = (policy * reward).sum(-1)
        gains = np.stack([earned, earned + self.alpha * entropy], -1)
        values = np.linalg.solve(np.eye(self.states) - self.gamma * step, gains)
        return values[..., 0].mean(-1), values[..., 1].mean(-1)

    def behave(self, segments: int, length: int, rng: np.random.Generator) -> Behaviour:
        following, reward = self.process
        ladder = following.cumsum(-1)
        action = rng.integers(self.choices - self.unseen, size=(segments, length))
        state = np.empty((segments, length), dtype=np.int64)
        state[:, 0] = rng.integers(self.states, size=segments)
        for t in range(length - 1):
            steps = ladder[state[:, t], action[:, t]] < rng.random((segments, 1))
            state[:, t + 1] = np.minimum(steps.sum(1), self.states - 1)  # the last rung may be a rounding below 1
        one_hot = np.eye(self.states)[state], np.eye(self.choices)[action]
        return Behaviour(*one_hot, reward[state, action], self.advantage[state, action])

    def judge(self, policy: Callable[[Tensor], Tensor], task: Task) -> dict[str, np.ndarray]:
        """Exact returns, and the largest total variation distance from pi* in any state."""
        import torch

        states = torch.eye(self.states, device=task.device).expand(len(task.seeds), -1, -1)
        found = policy(states).double().cpu().numpy()
        found /= found.sum(-1, keepdims=True)
        plain, soft = self.returns(found)
        metrics = {
            "eval/return": plain,
            "eval/soft_return": soft,
            "eval/soft_regret": self.returns(self.optimum)[1] - soft,
            "eval/total_variation": (np.abs(found - self.optimum).sum(-1) / 2).max(-1),
        }
        if self.unseen:
            metrics["eval/unseen"] = found[..., -self.unseen :].sum(-1).mean(-1)
        return metrics
