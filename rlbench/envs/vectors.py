"""Vectors in place of what environments other than control problems show and take."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from operator import getitem
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, Space


def as_vectors(env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    """The environment, its observations joined if they are a Dict, its actions one-hot if they are choices."""
    if isinstance(env.observation_space, Dict) and list(boxes(env.observation_space)):
        env = JoinedObservation(env)
    return OneHotAction(env) if isinstance(env.action_space, Discrete) else env


def boxes(space: Space[Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where the boxes of a space are: the names that lead to each, in the order in which gymnasium flattens them."""
    if isinstance(space, Box):
        yield path
    if isinstance(space, Dict):
        for name in sorted(space.spaces):
            yield from boxes(space.spaces[name], (*path, name))


class JoinedObservation(gymnasium.ObservationWrapper[np.ndarray, Any, dict[str, Any]]):
    """The boxes of a Dict, one behind the other, float32 `[d]`; what else is in it, texts and choices, is left aside.

    Args:
        env: with such observations.
    """

    def __init__(self, env: gymnasium.Env[dict[str, Any], Any]) -> None:
        super().__init__(env)
        self.paths = list(boxes(env.observation_space))
        parts: list[Any] = [reduce(getitem, path, env.observation_space) for path in self.paths]  # type: ignore[arg-type]
        low, high = (
            np.concatenate([np.float32(box).reshape(-1) for box in limits])
            for limits in zip(*((part.low, part.high) for part in parts), strict=True)
        )
        self.observation_space = Box(low, high, dtype=np.float32)

    def observation(self, observation: dict[str, Any]) -> np.ndarray:
        parts: list[Any] = [reduce(getitem, path, observation) for path in self.paths]
        return np.concatenate([np.asarray(part, dtype=np.float32).reshape(-1) for part in parts])


class OneHotAction(gymnasium.ActionWrapper[Any, np.ndarray, Any]):
    """An action `[n]` is the choice of its largest entry.

    Args:
        env: with n choices.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        choices: Any = env.action_space
        self.start = int(choices.start)
        self.action_space = Box(-1.0, 1.0, (int(choices.n),), np.float32)

    def action(self, action: np.ndarray) -> int:
        return self.start + int(np.argmax(action))
