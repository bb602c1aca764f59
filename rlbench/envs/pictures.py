"""A wrapper around an environment that shows pictures in place of observations."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np


class Pictures(gymnasium.Wrapper[np.ndarray, np.ndarray, np.ndarray, np.ndarray]):
    """Pictures `[k C, H, W]`, uint8, in place of observations; the first frame of an episode stands for those before.

    Args:
        env: the environment.
        draw: makes a frame of it, `[H, W, C]`.
        frames: k.
        shape: `(C, H, W)`.
    """

    def __init__(
        self,
        env: gymnasium.Env[np.ndarray, np.ndarray],
        draw: Callable[[], np.ndarray],
        frames: int,
        shape: tuple[int, int, int],
    ) -> None:
        super().__init__(env)
        self.draw, self.count = draw, frames
        self.observation_space = gymnasium.spaces.Box(0, 255, (frames * shape[0], *shape[1:]), np.uint8)
        self.recent: deque[np.ndarray] = deque(maxlen=frames)
        """The last k frames, `[C, H, W]` each."""
        self.state = np.zeros(0, dtype=np.float32)
        """What the environment itself shows: of those who record, not of those who learn."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        self.state, info = self.env.reset(seed=seed, options=options)
        self.recent.extend([self.frame()] * self.count)
        return np.concatenate(self.recent), info

    def step(self, action: np.ndarray) -> tuple[np.ndarray, Any, bool, bool, dict[str, Any]]:
        self.state, reward, terminated, truncated, info = self.env.step(action)
        self.recent.append(self.frame())
        return np.concatenate(self.recent), reward, terminated, truncated, info

    def frame(self) -> np.ndarray:
        """The environment as it now is, uint8 `[C, H, W]`."""
        return np.ascontiguousarray(self.draw().transpose(2, 0, 1))
