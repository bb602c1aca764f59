"""D4RL's layout, arrays with one row a step, and how its readers make transitions of it.

Nothing in a file is run: only arrays of numbers that the file itself holds are read.

Beside D4RL's arrays a file may hold pictures: `frames` [M, C, H, W], uint8, each frame once, and `frame` [N, 2], the
numbers of the frames that show each row's observation and its next one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rlbench.data.provenance import refuse_other_task, told
from rlbench.data.transitions import Transitions
from rlbench.errors import UsageError

if TYPE_CHECKING:
    import h5py

    from rlbench.envs.control import Control

READER = 1
"""Raised when the same arrays would be read into another table."""
FLAGS = ("terminals", "timeouts")
PICTURES = ("frames", "frame")
NEEDED = ("observations", "actions", "rewards", "terminals")
CARD = "metadata/card"
"""Where rlbench's own files tell, as JSON, what is known of the data."""
ACTION_SLACK = 1e-3


@dataclass(frozen=True)
class Options:
    """In what the readers of D4RL's layout differ.

    Their ways in these words, in the order of the arguments below:

    - drop, shifted, keep: `d4rl.qlearning_dataset`, and with it IQL's, TD3+BC's and CORL's readers (which also lose the
      file's last row);
    - drop, stored, keep: OfflineRL-Kit and COCOA (which, where next observations are missing, also drop terminal rows:
      not done here, they are the rewarded rows of antmaze);
    - keep, stored, drop: `d4rl.sequence_dataset`, and with it Decision Transformer's reader.

    Args:
        timeout_rows: whether the last row of an episode that was cut is a transition; if not, the row before it ends
            the episode, truncated. A row whose next observation is nowhere cannot be kept, whatever this says.
        next_obs: next observations as the file has them (where it does), or the observations of the row that follows.
        tail: whether the rows after the last flag, an episode that the end of the recording cut, are transitions.
        clip_actions: clip actions that leave the environment's bounds, as a simulator's motors do; else refuse them.
    """

    timeout_rows: Literal["keep", "drop"]
    next_obs: Literal["stored", "shifted"]
    tail: Literal["keep", "drop"]
    clip_actions: bool


@dataclass(frozen=True)
class Reader:
    """Makes transitions of arrays in D4RL's layout.

    A terminated row always stays: nothing lies beyond it, so that it needs no next observation, and gets its own where
    none is known. A row that is flagged both ways is terminated. Missing timeouts are found where the stored next
    observation is not the row that follows, or else by counting steps.

    Args:
        name: what messages call the data, e.g. `dataset=file:x.hdf5`.
        env: where policies learned from the data are judged; its widths and bounds must be the data's.
        options: see there.
        limit: steps after which episodes were cut, for data without timeouts; None: the flags mark every end.
        goes_on: recording went on after a terminated row (antmaze's ant at its goal): the row that follows it holds
            its next observation, unless it is flagged as a timeout too.
    """

    name: str
    env: Control
    options: Options
    limit: int | None = None
    goes_on: bool = False

    @contextmanager
    def opened(self, path: Path) -> Iterator[h5py.File]:
        """An HDF5 file, of which hardly more than the beginning is read yet.

        Raises:
            UsageError: it cannot be read, or what is done inside finds that it cannot.
        """
        import h5py

        try:
            with h5py.File(path, "r") as file:
                yield file
        except OSError as error:
            raise self.bad("it cannot be read as HDF5 (cut short while copied, or another format?)") from error
        except MemoryError as error:
            raise self.bad(f"it tells of more than fits into memory ({error})") from error

    def hdf5(self, path: Path) -> dict[str, np.ndarray]:
        """The arrays of D4RL's layout in a file: float32, flags as they are.

        Raises:
            UsageError: it cannot be read.
        """
        with self.opened(path) as file:
            names = (*NEEDED, "timeouts", "next_observations", *(PICTURES if self.pictured else ()))
            found = {name: numbers(file, name) for name in names}
        return {name: array for name, array in found.items() if array is not None}

    def hdf5_card(self, path: Path) -> dict[str, Any]:
        """What a file tells of itself, where rlbench wrote it."""
        import h5py

        try:
            with h5py.File(path, "r") as file:
                node = own(file, CARD)
                return told(json.loads(node.asstr()[()])) if node is not None and node.shape == () else {}
        except (OSError, ValueError, TypeError, RecursionError):
            return {}

    def transitions(self, arrays: dict[str, np.ndarray], card: dict[str, Any]) -> Transitions:
        """The canonical table of arrays that are rows of one table, finite, and this environment's.

        Args:
            arrays: as `hdf5` gives them; actions are clipped in place.
            card: what is known of the data; what had to be decided here is added to its `about`.

        Raises:
            UsageError: they are not what they should be.
        """
        refuse_other_task(self.name, card, self.env)
        frames = self.numbered(arrays) if self.pictured else None
        self.check(arrays)
        columns, notes = self.columns(arrays)
        if not len(columns["observation"]):
            unfinished = " (dataset.tail=keep keeps an unfinished episode)" if self.options.tail == "drop" else ""
            raise self.bad(f"it holds no complete transition{unfinished}")
        about = "; ".join([card["about"], *notes])
        return Transitions.of_columns(**columns, card={**card, "about": about}, frames=frames)

    @property
    def pictured(self) -> bool:
        """Whether pictures are wanted."""
        from rlbench.envs.pictured import Pictured

        return isinstance(self.env, Pictured)

    def numbered(self, arrays: dict[str, np.ndarray]) -> np.ndarray:
        """Replace observations by the numbers of their frames; returns the frames.

        Raises:
            UsageError: they are not there, or not of this environment.
        """
        from rlbench.data.frames import MOST, numbers

        shape = self.env.frame_shape  # type: ignore[attr-defined]
        frames, frame = (arrays.pop(name, None) for name in PICTURES)
        if frames is None or frame is None:
            raise self.bad("it has no frames and frame: `rlbench data make ... views=NAME` records pictures")
        if frames.dtype != np.uint8 or frames.shape[1:] != shape:
            raise self.bad(
                f"frames are {frames.dtype} {list(frames.shape[1:])}, those of env={self.env.name} "
                f"uint8 {list(shape)}: env.size= says how large they are"
            )
        flags = [arrays[name] != 0 for name in FLAGS if name in arrays]
        if len(flags) < 2 or any(flag.shape != (len(frame),) for flag in flags) or frame.shape[1:] != (2,):
            raise self.bad("pictures need terminals and timeouts, one a row, and frame [N, 2]")
        if len(frames) > MOST or not len(frame) or frame.min() < 0 or frame.max() >= len(frames):
            raise self.bad(f"frame is to be numbers of its {len(frames)} frames, of which there may be {MOST}")
        begins = np.append(True, (flags[0] | flags[1])[:-1])
        first = frame[np.maximum.accumulate(np.where(begins, np.arange(len(frame)), 0)), 0]
        count = self.env.row_dims()[0]
        for name, own in (("observations", frame[:, 0]), ("next_observations", frame[:, 1])):
            arrays[name] = numbers(own.astype(np.int64), first.astype(np.int64), count).astype(np.float32)
        return frames

    def bad(self, what: str) -> UsageError:
        return UsageError(f"{self.name}: {what}")

    def check(self, arrays: dict[str, np.ndarray]) -> None:
        """Refuse arrays that are not rows of one table, not finite, or not this environment's."""
        missing = [name for name in NEEDED if name not in arrays]
        if missing:
            has = ", ".join(sorted(arrays)) or "none"
            raise self.bad(f"it has no {', '.join(missing)} (D4RL's layout needs {', '.join(NEEDED)}; arrays: {has})")
        rows = len(arrays["observations"])
        if rows == 0:
            raise self.bad("it is empty")
        for name, array in arrays.items():
            dimensions = 2 if "observations" in name or name == "actions" else 1
            if array.ndim != dimensions or len(array) != rows:
                shape = list(array.shape)
                wanted = "a vector" if dimensions == 2 else "one number"
                raise self.bad(f"{name} has shape {shape}: wanted {wanted} for each of the {rows} observations")
            if not np.isfinite(array).all():
                row = int(np.flatnonzero(~np.isfinite(array).reshape(rows, -1).all(axis=1))[0])
                raise self.bad(f"{name} holds a NaN or an infinity (first in row {row})")
        for name in FLAGS:
            if name in arrays and not np.isin(arrays[name], (0, 1)).all():
                raise self.bad(f"{name} holds values other than 0 and 1")
        if arrays.get("next_observations", arrays["observations"]).shape != arrays["observations"].shape:
            raise self.bad("next_observations and observations have different widths")
        if self.env.installed:
            self.check_env(arrays["observations"].shape[1], arrays["actions"])

    def check_env(self, observation_dim: int, action: np.ndarray) -> None:
        """Hold widths and bounds against the environment; actions are clipped in place if so wanted."""
        dims = self.env.row_dims()
        if (observation_dim, action.shape[1]) != dims:
            raise self.bad(
                f"observations and actions are {observation_dim} and {action.shape[1]} wide, those of "
                f"env={self.env.name} ({self.env.id}) {dims[0]} and {dims[1]}: choose the env= that the data come from"
            )
        low, high = self.env.action_bounds()
        beyond = np.maximum(low - action, action - high).max(axis=1)
        if self.options.clip_actions:
            np.clip(action, low, high, out=action)
        elif beyond.max() > ACTION_SLACK:
            row = int(beyond.argmax())
            raise self.bad(
                f"actions leave the bounds of env={self.env.name} by up to {beyond[row]:.3g} (row {row}): "
                "scale them, or clip them as the simulator does with dataset.clip_actions=true"
            )
        if (reach := np.abs(action).max()) > 1 + ACTION_SLACK:
            raise self.bad(
                f"actions reach {reach:.3g} in env={self.env.name}, but policies act in [-1, 1]: take "
                "an environment that scales its actions (gymnasium.wrappers.RescaleAction), and scale these alike"
            )

    def columns(self, arrays: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[str]]:
        """Columns of the canonical table, and what had to be decided to get there."""
        observation, notes = arrays["observations"], []
        rows = len(observation)
        terminated = arrays["terminals"] != 0
        stored = arrays.get("next_observations")
        if "timeouts" in arrays:
            cut = arrays["timeouts"] != 0
        elif stored is not None:
            cut = np.append((stored[:-1] != observation[1:]).any(axis=1), False)
            notes.append("timeouts were missing: found where the next observation is not the row that follows")
        elif self.limit is not None:
            cut = count_timeouts(terminated, self.limit)
            notes.append(f"timeouts were missing: counted, {self.limit} steps")
        else:
            cut = np.zeros(rows, dtype=bool)
            notes.append("timeouts were missing")
        truncated = cut & ~terminated

        kept = np.ones(rows, dtype=bool)
        if stored is not None and self.options.next_obs == "stored":
            following = stored
        else:
            following = np.concatenate([observation[1:], observation[-1:]])
            alone = terminated & cut if self.goes_on else terminated
            following[alone] = observation[alone]
            kept &= ~truncated
            kept[-1] = terminated[-1]
            notes.append(f"next observations {'were missing' if stored is None else 'left aside'}: shifted in episodes")
            if not kept.all():
                notes.append(f"{int((~kept).sum())} rows without a known next observation are left out")
            if alone.any():
                notes.append("terminal rows have their own observation as the next")
        if self.options.timeout_rows == "drop":
            kept &= ~truncated
            notes.append("the last rows of episodes that were cut are left out")
        if self.options.tail == "drop":
            flagged = np.flatnonzero(terminated | truncated)
            kept[flagged[-1] + 1 if len(flagged) else 0 :] = False
            notes.append("an unfinished last episode is left out")

        before = np.flatnonzero(truncated[1:] & ~kept[1:])
        truncated[before[kept[before] & ~terminated[before]]] = True
        columns = {
            "observation": observation,
            "action": arrays["actions"],
            "reward": arrays["rewards"],
            "next_observation": following,
            "terminated": terminated,
            "truncated": truncated,
        }
        return {name: column if kept.all() else column[kept] for name, column in columns.items()}, notes


def numbers(file: h5py.File, name: str) -> np.ndarray | None:
    """An array of numbers that an HDF5 file itself holds, None where there is none: what lies in other files is not
    read."""
    node = own(file, name)
    if node is None or not node.shape or node.dtype.kind not in "fiub":
        return None
    return standard(name, np.asarray(node[()]))


def own(file: h5py.File, name: str) -> h5py.Dataset | None:
    """What a name stands for in an HDF5 file, if it is an array or a text that the file itself holds."""
    import h5py

    node = file.get(name)
    if not isinstance(node, h5py.Dataset) or node.file.filename != file.filename or node.is_virtual or node.external:
        return None
    return node


def standard(name: str, array: np.ndarray) -> np.ndarray:
    """`[N, 1]` where one number a row is meant becomes `[N]`; all but flags become float32."""
    if name in PICTURES:
        return array
    if name in ("rewards", *FLAGS) and array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    with np.errstate(over="ignore"):  # an overflow is an infinity, which is refused later
        return array if name in FLAGS else array.astype(np.float32)


def count_timeouts(terminated: np.ndarray, limit: int) -> np.ndarray:
    """Where an episode has gone on for `limit` steps: bool `[N]`."""
    truncated = np.zeros(len(terminated), dtype=bool)
    starts = np.concatenate([[0], np.flatnonzero(terminated) + 1])
    for start, end in zip(starts, [*starts[1:], len(terminated)], strict=True):
        truncated[start + limit - 1 : end : limit] = True
    return truncated & ~terminated


def flat(observations: np.ndarray) -> np.ndarray:
    """Images `[N, ...]` as vectors `[N, d]`."""
    return observations.reshape(len(observations), -1)


def one_hot(actions: np.ndarray, count: int) -> np.ndarray:
    """Choices among `count`, `[N]` or `[N, 1]`, as float32 `[N, count]`.

    Raises:
        ValueError: they are no such choices.
    """
    choices = actions.reshape(len(actions), -1)
    if choices.shape[1:] != (1,) or not np.isin(choices, np.arange(count)).all():
        raise ValueError(f"actions are not whole numbers from 0 to {count - 1}, one a row")
    return np.eye(count, dtype=np.float32)[choices[:, 0].astype(int)]
