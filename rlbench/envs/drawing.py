"""Drawing without a display: views of a plane with NumPy; and what MuJoCo needs to draw."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from rlbench.errors import RunError

PIXELS = 64
"""Width and height of a view."""
WHITE, RED, BLUE, BLACK = (255, 255, 255), (255, 0, 0), (0, 0, 255), (0, 0, 0)


class Canvas:
    """Draws on B views of a rectangle of the plane, y upwards, without a display.

    Args:
        low: its lower left corner.
        high: its upper right corner.
        count: B.
        pixels: width and height of a view.
    """

    def __init__(self, low: Sequence[float], high: Sequence[float], count: int, pixels: int = PIXELS) -> None:
        self.low, self.high, self.pixels = np.array(low), np.array(high), pixels
        self.views = np.full((count, pixels, pixels, 3), WHITE, dtype=np.uint8)
        centre = (np.arange(pixels) + 0.5) / pixels
        self.x = self.low[0] + centre * (self.high[0] - self.low[0])
        self.y = (self.low[1] + centre * (self.high[1] - self.low[1]))[::-1, None]

    @property
    def pixel(self) -> float:
        """Width of a pixel in the plane."""
        return float(self.high[0] - self.low[0]) / self.pixels

    def rectangle(self, low: Any, high: Any, colour: tuple[int, int, int]) -> None:
        """The same in every view; at least one pixel wide and high."""
        middle = (np.asarray(low) + high) / 2
        half = np.maximum((np.asarray(high) - low) / 2, self.pixel / 2)
        self.views[:, (np.abs(self.x - middle[0]) <= half[0]) & (np.abs(self.y - middle[1]) <= half[1])] = colour

    def discs(self, middle: np.ndarray, radius: float, colour: tuple[int, int, int]) -> None:
        """One in each view, at `[B, 2]`."""
        square = (self.x - middle[:, :1, None]) ** 2 + (self.y - middle[:, 1:, None]) ** 2
        self.views[square <= radius**2] = colour

    def dots(self, points: np.ndarray, colour: tuple[int, int, int]) -> None:
        """Single pixels in each view, at `[B, P, 2]`; near enough to each other they are a line."""
        place = ((points - self.low) / (self.high - self.low) * self.pixels).astype(np.int64)
        place = place.clip(0, self.pixels - 1)
        self.views[np.arange(len(points))[:, None], self.pixels - 1 - place[..., 1], place[..., 0]] = colour

    def bars(self, start: np.ndarray, end: np.ndarray, radius: float, colour: tuple[int, int, int]) -> None:
        """One with round ends in each view, from `[B, 2]` to `[B, 2]`, its edge smooth: a pixel that is covered in part
        has some of the colour, so that moves by less than a pixel are seen. Where both ends are one, it is a disc.
        """
        place = np.stack(np.broadcast_arrays(self.x, self.y), -1) - start[:, None, None]
        way = (end - start)[:, None, None]
        square = (way**2).sum(-1)
        share = (place * way).sum(-1) / np.where(square > 0, square, 1.0)
        distance = np.linalg.norm(place - share.clip(0, 1)[..., None] * way, axis=-1)
        covered = ((radius - distance) / self.pixel + 0.5).clip(0, 1)[..., None]
        self.views[:] = np.rint(self.views * (1 - covered) + covered * np.array(colour))


def between(corners: np.ndarray, each: int) -> np.ndarray:
    """Points on the lines from corner to corner, `[B, C, 2]` to `[B, (C - 1) each, 2]`."""
    share = (np.arange(each) / each)[:, None]
    lines = corners[:, :-1, None] * (1 - share) + corners[:, 1:, None] * share
    return lines.reshape(len(corners), -1, 2)


def draw_without_a_screen() -> None:
    """Choose how MuJoCo draws where there is no screen: before it is imported."""
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        os.environ.setdefault("MUJOCO_GL", "egl")


def cannot_draw(error: Exception) -> str:
    """Why an environment cannot be drawn on this machine, and what would help."""
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    way = os.environ.get("MUJOCO_GL", "unset")
    return (
        f"this environment cannot be drawn here ({reason}; MUJOCO_GL is {way}): "
        "set MUJOCO_GL=egl (a GPU driver or libegl1) or MUJOCO_GL=osmesa (libosmesa6)"
    )


renderers: dict[tuple[str, int], Any] = {}
"""One a scene and size in a process, for all its environments: each holds a part of the graphics memory."""


def rendering(scene: str, model: Any, size: int) -> Any:
    """What draws a scene's environments; where their things are, their own data tell."""
    import mujoco

    if (scene, size) not in renderers:
        try:
            renderer = mujoco.Renderer(model, size, size)
        except Exception as error:
            raise RunError(cannot_draw(error)) from error
        atexit.register(renderer.close)
        renderers[scene, size] = renderer
    return renderers[scene, size]
