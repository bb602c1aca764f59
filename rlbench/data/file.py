"""Data from a file or folder of the user's own, recognised by what is in it, whatever its name."""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rlbench.data import journal, minari, npz, store
from rlbench.data.checksum import checksum
from rlbench.data.layout import READER, Options, Reader
from rlbench.data.transitions import Transitions
from rlbench.errors import RunError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from rlbench.envs.control import Control

HDF5 = b"\x89HDF"
"""What an HDF5 file begins with."""


class FileDataset:
    """Transitions of one's own, in one of four forms:

    - HDF5 or npz with D4RL's arrays: observations, actions, rewards, terminals (timeouts, next_observations), one row a
      step, episode after episode; `rlbench.data.layout` says what becomes of them;
    - a folder of Minari's, as its DataCollector makes it;
    - what `rlbench.data.recording.Recorder` wrote before its script ended early.

    Args:
        env: where policies learned from the data are judged; its widths and bounds must be the data's.
        path: the file or folder.
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
        self.folder = minari.Folder.at(self.path)
        if not self.path.is_file() and self.folder is None:
            what = (
                "is a folder, and not one of Minari's" if self.path.is_dir() else f"does not exist{self.unfinished()}"
            )
            raise UsageError(f"dataset=file:{path}: {self.path.absolute()} {what}")
        if self.folder is None:
            self.require_form()

    def require_form(self) -> None:
        """Raise `UsageError` where the file cannot be opened: said by `rlbench check`, it costs no run its start."""
        reader = Reader(f"dataset=file:{self.path}", self.env, self.options)
        form = self.form(reader)
        if form == "npz":
            with npz.opened(self.path, reader):
                pass
        if form == "hdf5":
            with reader.opened(self.path):
                pass

    def form(self, reader: Reader) -> Literal["npz", "hdf5", "journal"]:
        """What the file is, by how it begins.

        Raises:
            UsageError: its name says something else.
            RunError: it cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                beginning = file.read(32)
        except OSError as error:
            raise RunError(f"dataset=file:{self.path}: {error}") from error
        if beginning.startswith(b"PK"):
            return "npz"
        if beginning.startswith(journal.MAGIC):
            return "journal"
        if self.path.suffix == ".npz" and not beginning.startswith(HDF5):
            raise reader.bad(npz.UNREADABLE)
        return "hdf5"

    def unfinished(self) -> str:
        """Where a recording lies that was not closed, in words that go on; empty where there is none."""
        partial = self.path.with_name(f"{self.path.name}.partial")
        return f"; what was recorded before its script ended: dataset=file:{partial}" if partial.is_file() else ""

    def identity(self) -> dict[str, Any]:
        """The file's content, whatever its name."""
        return {"source": "file", "sha256": self.sha256(), **asdict(self.options), "reader": READER}

    def sha256(self) -> str:
        """The checksum of what is read."""
        try:
            return self.folder.checksum() if self.folder else checksum(self.path)
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
        data = store.fetch(name, lambda: self.read(progress))
        if progress is not None:
            progress(f"reading {self.path.name}", 1, 1)
        return data

    def read(self, progress: store.Progress | None = None) -> Transitions:
        """The data as the file now has them, from the file.

        Raises: as `load`.
        """
        limit = self.env.time_limit() if self.env.installed else None
        reader = Reader(f"dataset=file:{self.path}", self.env, self.options, limit)
        arrays, facts = self.arrays(reader, progress)
        card = {
            "id": f"file:{self.path.name}",
            "level": "file",
            "about": "a recording",
            "source": str(self.path.absolute()),
            "file": {"sha256": self.sha256(), "rows": len(arrays.get("observations", ()))},
            "reference": {"min": self.env.reference_min, "max": self.env.reference_max},
            **facts,
        }
        return reader.transitions(arrays, card)

    def arrays(self, reader: Reader, progress: store.Progress | None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """The arrays by D4RL's names, and what else is known of them."""
        if self.folder is not None:
            return self.folder.read(reader, progress)
        form = self.form(reader)
        if form == "npz":
            return npz.read(self.path, reader), {}
        if form == "journal":
            return journal.read(self.path, reader)
        return reader.hdf5(self.path), reader.hdf5_card(self.path)
