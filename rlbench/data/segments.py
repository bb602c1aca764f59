"""Segments of behaviour, and which of them are preferred: the data of algorithms that learn from comparisons.

A file of segments is an npz archive, float32 but for the card:

    obs      [N, T, d]  observations
    action   [N, T, a]  actions
    reward   [N, T]     rewards, which the labels may have been made of; nothing learns from them
    NAME     [N]        a label: scores, one a segment, higher is better; there may be several
    NAME     [N / 2]    a label: comparisons of segments i and i + N / 2, 0: the first is preferred, 1: the second, 0.5:
                        neither, anything between: the probability that it is the second
    card     a text     what is known of them, JSON

Segments of pictures have, uint8, `frames` [M, C, H, W], each frame once, and obs [N, T, k] holds the numbers of the k
frames of every picture, the newest last.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rlbench.data.checksum import checksum
from rlbench.data.npz import BROKEN
from rlbench.data.provenance import refuse_other_task, told
from rlbench.envs.control import Control
from rlbench.envs.pictured import Pictured
from rlbench.envs.problem import Problem
from rlbench.errors import RunError, UsageError
from rlbench.types import Count

if TYPE_CHECKING:
    from rlbench.data.store import Progress

ARRAYS = {"obs": 3, "action": 3, "reward": 2}
"""What every file holds, and in how many dimensions."""
BEYOND = 1e-3
"""How far actions may leave [-1, 1]."""


@dataclass(frozen=True)
class Segments:
    """Segments of equal length.

    Attributes:
        observation: float32 `[N, T, d]`.
        action: float32 `[N, T, a]`.
        label: float32; with `comparison`, `[N / 2]`, the probability that segment i + N / 2 is preferred to i; else
            `[N]`, scores.
        mode: which segments are compared: fixed pairs (`comparison`), each with one drawn at random (`rank`), or all of
            a batch with each other (`score`).
        fingerprint: a hash of the content.
        card: where they come from.
        frames: what the observations are numbers of, uint8 `[M, C, H, W]`; None: they are states.
    """

    observation: np.ndarray
    action: np.ndarray
    label: np.ndarray
    mode: Literal["comparison", "rank", "score"]
    fingerprint: str
    card: dict[str, Any]
    frames: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.action)


class PrefSegments:
    """Segments from a file (see above), as `rlbench data label` writes it.

    Args:
        env: where policies learned from them are judged; its widths must be theirs.
        path: the file.
        mode: which segments are compared: fixed pairs (comparison), each with one drawn at random (rank), or all of a
            batch with each other (score).
        label: name of the label in the file.
        capacity: pairs (comparison) or segments that are used, the first; null: all.

    Raises:
        UsageError: there is no such file, or the environment brings comparisons of its own.
    """

    def __init__(
        self,
        env: Problem,
        path: str,
        mode: Literal["comparison", "rank", "score"],
        label: str,
        capacity: Count | None,
    ) -> None:
        if not isinstance(env, Control):
            raise UsageError(
                f"dataset=pref_segments:{path} is of a control problem, and env={env.name} makes its own\n"
                "choose the env= that the segments come from"
            )
        self.env, self.mode, self.label, self.capacity = env, mode, label, capacity
        self.path = Path(path).expanduser()
        if not self.path.is_file():
            raise UsageError(
                f"dataset=pref_segments:{path}: {self.path.absolute()} does not exist\n"
                "`rlbench data label dataset=... oracle=RUN --to FILE.npz` makes such a file"
            )

    def identity(self) -> dict[str, Any]:
        """The file's content, whatever its name, and what is used of it."""
        used = {"mode": self.mode, "label": self.label, "capacity": self.capacity}
        return {"source": "pref_segments", "sha256": self.sha256(), **used}

    def sha256(self) -> str:
        try:
            return checksum(self.path)
        except OSError as error:
            raise RunError(f"dataset=pref_segments:{self.path}: {error}") from error

    def load(self, progress: Progress | None = None) -> Segments:
        """The segments.

        Raises:
            UsageError: the file is no such archive, or does not fit the environment or the mode.
        """
        arrays, labels, card = self.read()
        refuse_other_task(f"dataset=pref_segments:{self.path}", card, self.env)
        self.check(arrays)
        label = self.of_mode(labels, len(arrays["obs"]))
        count = len(label) if self.capacity is None else min(self.capacity, len(label))
        kept = np.arange(count)
        if self.mode == "comparison":
            kept = np.concatenate([kept, len(label) + kept])
        card = {
            "id": f"pref_segments:{self.path.name}",
            "level": "pref_segments",
            "about": "segments of one's own",
            "source": str(self.path.absolute()),
            **card,
            "segments": len(kept),
            "length": arrays["obs"].shape[1],
            "mode": self.mode,
            "label": self.label,
        }
        observation, action = arrays["obs"][kept], arrays["action"][kept]
        return Segments(observation, action, label[:count], self.mode, self.sha256(), card, frames=arrays.get("frames"))

    def read(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, Any]]:
        """The arrays that every file has, the labels, and the card."""
        try:
            with np.load(self.path, allow_pickle=False) as archive:
                found = {name: np.asarray(archive[name]) for name in archive.files}
        except BROKEN as error:
            raise self.bad("it cannot be read as an npz archive of numbers (cut short, or pickled?)") from error
        text = found.pop("card", None)
        try:
            card = told(json.loads(str(text))) if text is not None else {}
        except (ValueError, RecursionError):
            card = {}
        if missing := [name for name in ARRAYS if name not in found]:
            raise self.bad(f"it has no {', '.join(missing)}; arrays: {', '.join(found) or 'none'}")
        if wrong := [name for name, array in found.items() if array.dtype.kind not in "fiub"]:
            raise self.bad(f"{wrong[0]} is not an array of numbers")
        frames = {"frames": found.pop("frames")} if "frames" in found else {}
        numbers = {name: array.astype(np.float32) for name, array in found.items()}
        labels = {name: array for name, array in numbers.items() if name not in ARRAYS}
        return {**{name: numbers[name] for name in ARRAYS}, **frames}, labels, card

    def check(self, arrays: dict[str, np.ndarray]) -> None:
        """Refuse arrays that are not of the same segments, not finite, or not this environment's."""
        shape = arrays["obs"].shape[:2]
        for name, dimensions in ARRAYS.items():
            array = arrays[name]
            if array.ndim != dimensions or array.shape[:2] != shape or 0 in array.shape:
                wanted = "[N, T]" if dimensions == 2 else "[N, T, width]"
                raise self.bad(f"{name} has shape {list(array.shape)}, and obs {list(arrays['obs'].shape)}: {wanted}")
            if not np.isfinite(array).all():
                segment = int(np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(1))[0])
                raise self.bad(f"{name} holds a NaN or an infinity (first in segment {segment})")
        self.check_frames(arrays)
        widths = arrays["obs"].shape[2], arrays["action"].shape[2]
        if self.env.installed and widths != (dims := self.env.row_dims()):
            raise self.bad(
                f"observations and actions are {widths[0]} and {widths[1]} wide, those of env={self.env.name} "
                f"{dims[0]} and {dims[1]}: choose the env= that they come from"
            )
        if (largest := float(np.abs(arrays["action"]).max())) > 1 + BEYOND:
            raise self.bad(f"actions reach {largest:.3g}, and policies act in [-1, 1]: scale them")

    def check_frames(self, arrays: dict[str, np.ndarray]) -> None:
        """Refuse pictures where states are wanted, states where pictures are, and numbers that are of no frame."""
        from rlbench.data.frames import MOST

        frames, wanted = arrays.get("frames"), isinstance(self.env, Pictured)
        if frames is None and wanted:
            raise self.bad("it has no frames: `rlbench data make ... views=NAME` records them, `data label` keeps them")
        if frames is None:
            return
        if not isinstance(self.env, Pictured):
            raise self.bad("its observations are pictures: choose the env= that they come from, env=NAME_pixels")
        if frames.dtype != np.uint8 or frames.shape[1:] != self.env.frame_shape:
            raise self.bad(
                f"frames are {frames.dtype} {list(frames.shape[1:])}, those of env={self.env.name} "
                f"uint8 {list(self.env.frame_shape)}: env.size= says how large they are"
            )
        numbers = arrays["obs"]
        if len(frames) > MOST or numbers.min() < 0 or numbers.max() >= len(frames) or (numbers % 1).any():
            raise self.bad(f"obs are to be numbers of its {len(frames)} frames, of which there may be {MOST}")

    def of_mode(self, labels: dict[str, np.ndarray], segments: int) -> np.ndarray:
        """The label that was asked for, as its mode wants it."""
        if self.label not in labels:
            known = ", ".join(f"dataset.label={name}" for name in labels) or "none"
            raise self.bad(f"it has no label {self.label}; there are: {known}")
        label = labels[self.label]
        if label.ndim != 1 or len(label) not in (segments, segments / 2):
            raise self.bad(f"label {self.label} has shape {list(label.shape)}: one number a segment, or a pair")
        if not np.isfinite(label).all():
            raise self.bad(f"label {self.label} holds a NaN or an infinity")
        if len(label) == segments:
            if self.mode != "comparison":
                return label
            first, second = np.split(label[: segments - segments % 2], 2)
            return preference(first, second)
        if self.mode != "comparison":
            raise self.bad(f"label {self.label} compares pairs: dataset.mode=comparison")
        if label.min() < 0 or label.max() > 1:
            raise self.bad(f"label {self.label} leaves [0, 1]: it is the probability that the second is preferred")
        return label

    def bad(self, what: str) -> UsageError:
        return UsageError(f"dataset=pref_segments:{self.path}: {what}")


def preference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """1 where the second score is higher, 0 where it is lower, 0.5 where they are the same: float32."""
    return ((1 + np.sign(second.astype(np.float64) - first)) / 2).astype(np.float32)


def write(path: Path, arrays: dict[str, np.ndarray], card: dict[str, Any]) -> None:
    """Write a file of segments; it appears when it is complete.

    Raises:
        RunError: it cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.tmp.npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        floats = {name: array if name == "frames" else array.astype(np.float32) for name, array in arrays.items()}
        np.savez_compressed(unfinished, card=np.array(json.dumps(card)), **floats)  # type: ignore[arg-type]
        unfinished.replace(path)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        unfinished.unlink(missing_ok=True)
