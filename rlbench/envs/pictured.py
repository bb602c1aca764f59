"""Control environments of which one sees pictures alone: the last few frames, one behind the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, fields
from importlib import import_module
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from rlbench.envs.control import Control
from rlbench.envs.problem import common
from rlbench.types import Count

if TYPE_CHECKING:
    from rlbench.task import ControlTask, Task

COLOURS = 3


@dataclass(frozen=True)
class Pictured(Control):
    """Another environment's pictures in place of its observations; states, rewards and scores are the same.

    The module that registers the environment draws it: it has `drawing(env, size)`, which returns a function that makes
    a frame `[size, size, 3]`, uint8, of the environment as it now is.

    Args:
        frames: k, frames in a picture: what moves is seen in several only.
        size: width and height of a frame.
    """

    frames: Count = 3
    size: Count = 64

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """`(C, H, W)`."""
        return COLOURS, self.size, self.size

    @property
    def plain(self) -> Control:
        """The environment with its states."""
        return Control(**{field.name: getattr(self, field.name) for field in fields(Control)})

    def make(self, **kwargs: Any) -> gymnasium.Env:
        env = super().make(**kwargs)
        module = import_module(self.id.rpartition(":")[0])
        return Pictures(env, module.drawing(env.unwrapped, self.size), self.frames, self.frame_shape)

    def row_dims(self) -> tuple[int, int]:
        """Data hold the numbers of k frames."""
        return self.frames, self.dims()[1]

    def task(self, task: Task) -> ControlTask:
        from rlbench.nets.pictures import PictureNetworks
        from rlbench.task import ControlTask, Pixels

        networks = PictureNetworks(*self.row_dims(), self.frame_shape)
        return ControlTask(**common(task), networks=networks, features=Pixels(self.frames))


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
