"""Files that are whole or not there, or one process's alone; and YAML read fast."""

import fcntl
import os
from pathlib import Path
from typing import IO, Any

from rlbench.errors import UsageError


def parse_yaml(text: str) -> Any:
    """What a YAML text holds; with libyaml, where it is there, ten times as fast."""
    import yaml

    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def take(file: IO[Any], busy: str) -> None:
    """Have an open file for this process alone, until it is closed.

    Raises:
        UsageError: another process has it, says `busy`.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(busy) from error


def write_atomically(path: Path, data: bytes | memoryview | str) -> None:
    """Write a file such that a reader sees the old content or the new, whatever happens, a power cut included."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
