"""Data from a file in D4RL's HDF5 layout, recognised by what is in it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rlbench import paths
from rlbench.data import store
from rlbench.data.behaviour import file_hash
from rlbench.data.layout import READER, Options, Reader
from rlbench.data.transitions import Transitions
from rlbench.errors import RunError, UsageError
from rlbench.files import write_atomically

if TYPE_CHECKING:
    from rlbench.envs.control import Control


class FileDataset:
    """Transitions of an HDF5 file with D4RL's arrays: observations, actions, rewards, terminals (timeouts,
    next_observations), one row a step, episode after episode. `rlbench.data.layout` says what becomes of them.

    Args:
        env: where policies learned from the data are judged; its widths and bounds must be the data's.
        path: the file.
        timeout_rows: keep or drop the last row of an episode that was cut.
        next_obs: take stored next observations, or the observations of the rows that follow.
        tail: keep or drop an unfinished last episode.
        clip_actions: clip actions that leave the environment's bounds, as a simulator's motors do; else refuse them.

    Raises:
        UsageError: there is no such file, or it is not such a file.
    """

    def __init__(
        self,
        env: Control,
        path: str,
        timeout_rows: Literal["keep", "drop"],
        next_obs: Literal["stored", "shifted"],
        tail: Literal["keep", "drop"],
        clip_actions: bool,
    ) -> None:
        self.env = env
        self.options = Options(timeout_rows, next_obs, tail, clip_actions)
        self.path = Path(path).expanduser()
        if not self.path.is_file():
            what = "is a folder, not a file" if self.path.is_dir() else "does not exist"
            raise UsageError(f"dataset=file:{path}: {self.path.absolute()} {what}")

    def identity(self) -> dict[str, Any]:
        """The file's content, whatever its name."""
        return {"source": "file", "sha256": self.sha256(), **asdict(self.options), "reader": READER}

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
        limit = self.env.time_limit() if self.env.installed else None
        reader = Reader(f"dataset=file:{self.path}", self.env, self.options, limit)
        arrays = reader.hdf5(self.path)
        card = {
            "id": f"file:{self.path.name}",
            "level": "file",
            "about": f"read from {self.path.name}",
            "env": self.env.id,
            "file": {"sha256": self.sha256(), "rows": len(arrays.get("observations", ()))},
            "reference": {"min": self.env.reference_min, "max": self.env.reference_max},
        }
        return reader.transitions(arrays, card)
