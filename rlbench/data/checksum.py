"""Checksums of large files, remembered."""

from __future__ import annotations

import hashlib
from pathlib import Path

from rlbench import paths
from rlbench.data.behaviour import file_hash
from rlbench.files import write_atomically


def checksum(path: Path) -> str:
    """sha256 of a file, in hex; computed again only where its path, size or time of change is new.

    Raises:
        OSError: the file or the cache cannot be read, or the cache not be written.
    """
    state = path.stat()
    key = f"{path.resolve()} {state.st_size} {state.st_mtime_ns}"
    note = paths.cache_root() / "data" / "sha256" / hashlib.sha256(key.encode()).hexdigest()
    if not note.exists():
        note.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(note, file_hash(path))
    return note.read_text()
