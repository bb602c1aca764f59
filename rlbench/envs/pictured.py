"""Control environments of which one sees pictures alone: the last few frames, one behind the other."""

from __future__ import annotations

from dataclasses import dataclass, fields
from importlib import import_module
from typing import TYPE_CHECKING, Any

from rlbench.envs.control import Control
from rlbench.envs.problem import common
from rlbench.types import Count

if TYPE_CHECKING:
    import gymnasium

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
        from rlbench.envs.pictures import Pictures

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
