"""Data from a file in D4RL's HDF5 layout, recognised by what is in it."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlbench import paths
from rlbench.data import store
from rlbench.data.behaviour import file_hash
from rlbench.data.transitions import Transitions
from rlbench.errors import RunError, UsageError
from rlbench.files import write_atomically

if TYPE_CHECKING:
    import h5py

    from rlbench.envs.control import Control

READER = 1
"""Raised when the same file would be read into another table."""
ACTION_SLACK = 1e-3


class FileDataset:
    """Transitions of an HDF5 file with D4RL's arrays: observations, actions, rewards, terminals (timeouts,
    next_observations), one row a step, episode after episode.

    Missing next observations are taken from the row that follows in the episode. A row whose next observation is
    nowhere is left out, and the row before it then ends the episode, truncated; except where the task terminated:
    there nothing lies beyond, and the row stays with its own observation as the next one. Missing timeouts are found
    where the next observation is not the row that follows, or else by counting steps up to the environment's limit.

    Args:
        env: where policies learned from the data are judged; its widths and bounds must be the data's.
        path: the file.
        clip_actions: clip actions that leave the environment's bounds, as a simulator's motors do; else refuse them.

    Raises:
        UsageError: there is no such file, or it is not such a file.
    """

    def __init__(self, env: Control, path: str, clip_actions: bool) -> None:
        self.env = env
        self.clip_actions = clip_actions
        self.path = Path(path).expanduser()
        if not self.path.is_file():
            what = "is a folder, not a file" if self.path.is_dir() else "does not exist"
            raise UsageError(f"dataset=file:{path}: {self.path.absolute()} {what}")

    def identity(self) -> dict[str, Any]:
        """The file's content, whatever its name."""
        return {"source": "file", "sha256": self.sha256(), "clip_actions": self.clip_actions, "reader": READER}

    def sha256(self) -> str:
        """The file's checksum, remembered by path, size and time of change."""
        try:
            state = self.path.stat()
            key = f"{self.path.resolve()} {state.st_size} {state.st_mtime_ns}"
            note = paths.cache_root() / "data" / "sha256" / hashlib.sha256(key.encode()).hexdigest()
            if not note.exists():
                note.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(note, file_hash(self.path))
            return note.read_text()
        except OSError as error:
            raise RunError(f"dataset=file:{self.path}: {error}") from error

    def load(self, progress: store.Progress | None = None) -> Transitions:
        """The data, converted to a table unless the cache has it.

        Raises:
            UsageError: the file is damaged, holds other arrays than expected, or does not fit the environment.
        """
        stem = re.sub(r"[^\w.-]", "_", self.path.stem)[:60]
        # What is known of the environment decides what is checked, and goes into the card.
        key = hashlib.sha256(repr((self.identity(), self.env, self.env.installed)).encode()).hexdigest()[:10]
        name = f"file-{stem}-{self.env.name}-{key}"
        if progress is not None:
            progress(f"reading {self.path.name}", 0, 1)
        data = store.fetch(name, self.read)
        if progress is not None:
            progress(f"reading {self.path.name}", 1, 1)
        return data

    def read(self) -> Transitions:
        import h5py

        try:
            with h5py.File(self.path, "r") as file:
                arrays = read_arrays(file)
        except OSError as error:
            raise self.bad("it cannot be read as HDF5 (cut short while copied, or another format?)") from error
        self.check(arrays)
        columns, notes = self.transitions(arrays)
        if not len(columns["observation"]):
            raise self.bad("it holds no complete transition")
        card = {
            "id": f"file:{self.path.name}",
            "level": "file",
            "about": f"read from {self.path.name}" + "".join(f"; {note}" for note in notes),
            "env": self.env.id,
            "file": {"sha256": self.sha256(), "rows": len(arrays["observations"])},
            "reference": {"min": self.env.reference_min, "max": self.env.reference_max},
        }
        return Transitions.of_columns(**columns, card=card)

    def bad(self, what: str) -> UsageError:
        return UsageError(f"dataset=file:{self.path}: {what}")

    def check(self, arrays: dict[str, np.ndarray]) -> None:
        """Refuse arrays that are not rows of one table, not finite, or not this environment's."""
        needed = ("observations", "actions", "rewards", "terminals")
        missing = [name for name in needed if name not in arrays]
        if missing:
            has = ", ".join(sorted(arrays)) or "none"
            raise self.bad(f"it has no {', '.join(missing)} (D4RL's layout needs {', '.join(needed)}; arrays: {has})")
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
        for name in ("terminals", "timeouts"):
            if name in arrays and not np.isin(arrays[name], (0, 1)).all():
                raise self.bad(f"{name} holds values other than 0 and 1")
        if arrays.get("next_observations", arrays["observations"]).shape != arrays["observations"].shape:
            raise self.bad("next_observations and observations have different widths")
        if self.env.installed:
            self.check_env(arrays["observations"].shape[1], arrays["actions"])

    def check_env(self, observation_dim: int, action: np.ndarray) -> None:
        """Hold widths and bounds against the environment; actions are clipped in place if so wanted."""
        dims = self.env.dims()
        if (observation_dim, action.shape[1]) != dims:
            raise self.bad(
                f"observations and actions are {observation_dim} and {action.shape[1]} wide, those of "
                f"env={self.env.name} ({self.env.id}) {dims[0]} and {dims[1]}: choose the env= that the data come from"
            )
        low, high = self.env.action_bounds()
        beyond = np.maximum(low - action, action - high).max(axis=1)
        if self.clip_actions:
            np.clip(action, low, high, out=action)
        elif beyond.max() > ACTION_SLACK:
            row = int(beyond.argmax())
            raise self.bad(
                f"actions leave the bounds of env={self.env.name} by up to {beyond[row]:.3g} (row {row}): "
                "scale them, or clip them as the simulator does with dataset.clip_actions=true"
            )

    def transitions(self, arrays: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[str]]:
        """Columns of the canonical table, and what had to be decided to get there."""
        observation, notes = arrays["observations"], []
        rows = len(observation)
        terminated = arrays["terminals"] != 0
        stored = arrays.get("next_observations")
        if "timeouts" in arrays:
            truncated = (arrays["timeouts"] != 0) & ~terminated
        elif stored is not None:
            truncated = np.zeros(rows, dtype=bool)
            truncated[:-1] = (stored[:-1] != observation[1:]).any(axis=1) & ~terminated[:-1]
            notes.append("timeouts were missing: found where the next observation is not the row that follows")
        else:
            limit = self.env.time_limit() if self.env.installed else None
            truncated = count_timeouts(terminated, limit or rows + 1)
            notes.append(f"timeouts were missing: counted, {limit} steps" if limit else "timeouts were missing")
        known = np.ones(rows, dtype=bool)
        if stored is None:
            following = np.concatenate([observation[1:], observation[-1:]])
            known = ~truncated
            known[-1] = terminated[-1]
            following[terminated] = observation[terminated]
            before = np.flatnonzero(truncated[1:])
            truncated[before[known[before] & ~terminated[before]]] = True
            notes.append("next observations were missing: shifted within episodes")
            if not known.all():
                notes.append(f"{int((~known).sum())} rows without a known next observation are left out")
            if terminated.any():
                notes.append("terminal rows have their own observation as the next")
        else:
            following = stored
        columns = {
            "observation": observation,
            "action": arrays["actions"],
            "reward": arrays["rewards"],
            "next_observation": following,
            "terminated": terminated,
            "truncated": truncated,
        }
        return {name: column[known] for name, column in columns.items()}, notes


def read_arrays(file: h5py.File) -> dict[str, np.ndarray]:
    """The arrays of D4RL's layout that a file has; `[N, 1]` where one number a row is meant becomes `[N]`."""
    import h5py

    arrays = {}
    for name in ("observations", "actions", "rewards", "terminals", "timeouts", "next_observations"):
        node = file.get(name)
        if isinstance(node, h5py.Dataset) and node.dtype.kind in "fiub":
            array = np.asarray(node[()])
            if name in ("rewards", "terminals", "timeouts") and array.ndim == 2 and array.shape[1] == 1:
                array = array[:, 0]
            flag = name in ("terminals", "timeouts")
            with np.errstate(over="ignore"):  # an overflow is an infinity, which is refused later
                arrays[name] = array if flag else array.astype(np.float32)
    return arrays


def count_timeouts(terminated: np.ndarray, limit: int) -> np.ndarray:
    """Where an episode has gone on for `limit` steps: bool `[N]`."""
    truncated = np.zeros(len(terminated), dtype=bool)
    starts = np.concatenate([[0], np.flatnonzero(terminated) + 1])
    for start, end in zip(starts, [*starts[1:], len(terminated)], strict=True):
        truncated[start + limit - 1 : end : limit] = True
    return truncated & ~terminated
