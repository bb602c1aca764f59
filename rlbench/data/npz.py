"""Flat npz files: D4RL's arrays, one row a step, in numpy's own format."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from rlbench.data.layout import Reader, standard

NAMES = {
    "observations": ("observations",),
    "actions": ("actions",),
    "rewards": ("rewards",),
    "terminals": ("terminals", "terminations"),
    "timeouts": ("timeouts", "truncations"),
    "next_observations": ("next_observations",),
}
"""D4RL's name of each array, and the names it may have in a file."""
BROKEN = (OSError, ValueError, EOFError, NotImplementedError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error)
"""What numpy and zipfile raise where a file is cut short, altered, encrypted or in a format of its own."""
UNREADABLE = "it cannot be read as npz (cut short while copied, or altered?)"


@contextmanager
def opened(path: Path, reader: Reader) -> Iterator[np.lib.npyio.NpzFile]:
    """A file, of which only the table of contents is read yet.

    Raises:
        UsageError: it is damaged, or what is done inside finds it to be.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            yield archive
    except BROKEN as error:
        raise reader.bad(UNREADABLE) from error


def read(path: Path, reader: Reader) -> dict[str, np.ndarray]:
    """The arrays of a file by D4RL's names. Pickled objects, which could run code, are never loaded.

    Raises:
        UsageError: it is damaged, or an array is not one of numbers.
    """
    arrays = {}
    with opened(path, reader) as archive:
        for name, spellings in NAMES.items():
            found = [each for each in spellings if each in archive.files]
            if len(found) > 1:
                raise reader.bad(f"it has both {found[0]} and {found[1]}, which mean the same")
            for each in found:
                arrays[name] = numbers(archive, each, reader)
    return {name: standard(name, array) for name, array in arrays.items()}


def numbers(archive: np.lib.npyio.NpzFile, name: str, reader: Reader) -> np.ndarray:
    try:
        array = np.asarray(archive[name])  # bytes, where a member is no array
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise reader.bad(f"{name} holds Python objects, which are not loaded: they could run code") from error
        raise
    if array.dtype.kind not in "fiub":
        raise reader.bad(f"{name} is not an array of numbers")
    return array
