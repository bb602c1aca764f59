"""The store of datasets: one folder each, written once, memory-mapped ever after.

`<cache>/data/<name>/transitions.npy` is the table, `frames.npy` the frames that it holds numbers of, where there are
such, `card.json` what is known of it. A folder appears complete or not
at all; while one process makes it, others that want it wait.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from rlbench import paths
from rlbench.data.transitions import Transitions
from rlbench.errors import RunError

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

FILES = {"transitions.npy": "bytes", "frames.npy": "frames_bytes"}
"""The arrays of a data set, and what its card calls their sizes; the second is there for pictures alone."""

log = logging.getLogger(__name__)


class DamagedError(Exception):
    """A stored dataset is not what was written."""


def fetch(name: str, make: Callable[[], Transitions]) -> Transitions:
    """The dataset stored under `name`, made and stored first where it is missing or damaged.

    Args:
        name: a file name, unique to all that determines the content.
        make: makes the data.

    Raises:
        RunError: the cache cannot be written.
    """
    folder = paths.cache_root() / "data" / name
    try:
        return read(folder)
    except DamagedError:
        pass  # most often it is not there yet; another process may be making it
    with _locked(folder):
        if folder.exists():
            try:
                return read(folder)
            except DamagedError as damage:
                log.warning("%s is damaged (%s): it is made again", folder, damage)
                shutil.rmtree(folder)
        data = make()
        try:
            write(folder, data)
        except OSError as error:
            raise RunError(f"cannot write {folder}: {error.strerror or error}") from error
        return read(folder)


def has(name: str) -> bool:
    """Whether a dataset is stored under this name, damaged or not."""
    return (paths.cache_root() / "data" / name / "card.json").is_file()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = FileLock(folder.with_name(folder.name + ".lock"))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise RunError(
            f"cannot write the dataset cache {folder.parent} ({error.strerror}): set RLBENCH_CACHE to another place"
        ) from error
    try:
        yield
    finally:
        lock.release()


def write(folder: Path, data: Transitions) -> None:
    """Store a dataset; the folder appears when it is complete."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        card = {
            **data.card,
            "observation_dim": data.observation_dim,
            "action_dim": data.action_dim,
            **data.statistics(),
            "fingerprint": data.hash(),
        }
        for (name, size), array in zip(FILES.items(), (data.table, data.frames), strict=True):
            if array is None:
                continue
            with (partial / name).open("wb") as file:
                np.save(file, array, allow_pickle=False)
                card[size] = file.tell()
                _flush(file)
        with (partial / "card.json").open("w") as file:
            json.dump(card, file, indent=2)
            _flush(file)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _flush(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def read(folder: Path) -> Transitions:
    """A stored dataset, memory-mapped read-only; its size is checked, its content is not (see `verify`).

    Raises:
        DamagedError: files are missing, unreadable or of the wrong size.
    """
    card = read_card(folder)
    arrays: list[np.ndarray | None] = []
    for name, size in FILES.items():
        path = folder / name
        try:
            if size == "frames_bytes" and size not in card:
                arrays.append(None)
                continue
            if path.stat().st_size != card[size]:
                raise DamagedError(f"{name} has {path.stat().st_size} bytes of {card[size]}")
            arrays.append(np.load(path, mmap_mode="r", allow_pickle=False))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DamagedError(f"{name}: {error}") from error
    table, frames = arrays
    try:
        return Transitions(table, card["observation_dim"], card["action_dim"], card, frames)  # type: ignore[arg-type]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(f"transitions.npy: {error}") from error


def read_card(folder: Path) -> dict[str, Any]:
    """The card alone.

    Raises:
        DamagedError: it is missing or unreadable.
    """
    try:
        card: dict[str, Any] = json.loads((folder / "card.json").read_text())
    except (OSError, ValueError) as error:
        raise DamagedError(f"card.json: {error}") from error
    return card


def verify(folder: Path) -> Transitions:
    """`read`, with the content held against the fingerprint.

    Raises:
        DamagedError: it differs.
    """
    data = read(folder)
    if data.hash() != data.card["fingerprint"]:
        raise DamagedError("transitions.npy is not what was written (sha256)")
    return data


def stored() -> list[Path]:
    """The folders of the store, by name."""
    return sorted(card.parent for card in (paths.cache_root() / "data").glob("*/card.json"))
