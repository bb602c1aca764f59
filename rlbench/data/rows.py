"""Rows of texts: JSON lines, zipped or not, or parquet, of one's own or as the users of Hugging Face have them."""

from __future__ import annotations

import gzip
import json
import math
import os
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rlbench.errors import UsageError

SUFFIXES = ".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet"
SPLITS = "train", "test", "validation"


class Rows:
    """The rows of a file, or of the files of a folder.

    Args:
        who: who reads them, for messages.
        path: the file or folder; null: what `hf download` left in the cache of Hugging Face.
        hub: the set's name on the hub; None: there is none.
        otherwise: what says that it is elsewhere than in the cache.

    Raises:
        UsageError: they are not there.
    """

    where = ""
    """The row that is being read, for messages."""

    def __init__(self, who: str, path: str | None, hub: str | None = None, otherwise: str = "") -> None:
        self.who = who
        if path is not None:
            self.path = Path(path).expanduser()
            if not self.path.exists():
                raise UsageError(f"{who}: {self.path.absolute()} does not exist")
        else:
            assert hub is not None
            self.path = cached(hub, who, otherwise)

    def files(self) -> list[Path]:
        """The files that are read."""
        found = [self.path] if self.path.is_file() else sorted(self.path.rglob("*"))
        files = [path for path in found if path.is_file() and path.name.endswith(SUFFIXES)]
        if not files:
            raise self.bad(f"holds no {', '.join(SUFFIXES)}")
        return files

    def rows(self, split: str | None = None) -> Iterator[dict[str, Any]]:
        """The rows of all files, or of those of a split (see `split_of`).

        Raises:
            UsageError: there are none, or a file cannot be read.
        """
        inside = self.path if self.path.is_dir() else self.path.parent
        names = {path: str(path.relative_to(inside)) for path in self.files()}
        files = [path for path, name in names.items() if split in (None, split_of(name))]
        if not files:
            raise self.bad(f"holds no file of the split {split}: with this word in its name, or its folder's")
        for path in files:
            for number, row in enumerate(rows(path, self.bad), 1):
                self.where = f"row {number}" if path == self.path else f"{names[path]}: row {number}"
                yield row

    def of(self, row: Any, name: str, kind: str) -> Any:
        """What the row that is being read, or an object in it, has under a name.

        Args:
            row: the row, or the object.
            name: the name.
            kind: what it is to be, one of `KINDS`.

        Raises:
            UsageError: it is something else, or not there.
        """
        value = row.get(name) if isinstance(row, dict) else None
        if not KINDS[kind](value):
            wrong = f" has no {name}, {kind}" if value is None else f": {name} is to be {kind}"
            raise self.bad(self.where + wrong)
        return value

    def bad(self, what: str) -> UsageError:
        return UsageError(f"{self.who}: {self.path} {what}")


def are_texts(values: Any) -> bool:
    """Whether this is a list of texts."""
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def is_score(score: Any) -> bool:
    """Whether this is a number that another can be compared with."""
    return isinstance(score, int | float) and not isinstance(score, bool) and math.isfinite(score)


KINDS: dict[str, Callable[[Any], bool]] = {
    "a text": lambda value: isinstance(value, str),
    "a text that is not empty": lambda value: isinstance(value, str) and value != "",
    "a number": is_score,
    "a list": lambda value: isinstance(value, list),
    "a list of texts": are_texts,
}
"""What there may be in a row."""


def cached(hub: str, what: str, otherwise: str) -> Path:
    """Where the cache of Hugging Face has a set.

    Args:
        hub: its name on the hub.
        what: who asks, for messages.
        otherwise: what says that it is elsewhere.

    Raises:
        UsageError: it has not.
    """
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface"))
    cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub")).expanduser()
    found = sorted(
        (cache / f"datasets--{hub.replace('/', '--')}" / "snapshots").glob("*"), key=lambda p: p.stat().st_mtime
    )
    if not found:
        fetch = f"`hf download --repo-type dataset {hub}` fetches it, or {otherwise} says where it is"
        raise UsageError(f"{what}: {hub} is not in {cache}\n{fetch}")
    return found[-1]


def split_of(name: str) -> str | None:
    """The split that a path names by a word of its own, the file rather than its folders: test/train.jsonl is train."""
    return next((word for word in reversed(re.findall("[a-z]+", name.lower())) if word in SPLITS), None)


def rows(path: Path, bad: Callable[[str], UsageError]) -> Iterator[dict[str, Any]]:
    """The rows of one file.

    Args:
        path: the file.
        bad: makes the error of what is the matter with it.

    Raises:
        UsageError: it cannot be read, or has something else in it.
    """
    try:
        yield from parquet_rows(path) if path.suffix == ".parquet" else json_rows(path, bad)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:  # damaged, or not in UTF-8
        raise bad(f"cannot be read: {path.name}: {error}") from error


def parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    import polars

    try:
        table = polars.read_parquet(path)
    except polars.exceptions.PolarsError as error:
        raise OSError(error) from error
    except polars.exceptions.PanicException as error:  # no Exception, and its text is about Rust
        raise OSError("it is damaged, or has something in it that polars does not read") from error
    return table.iter_rows(named=True)


def json_rows(path: Path, bad: Callable[[str], UsageError]) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    row = json.loads(line)
                    if "\\ud" in line.lower():  # half a character, which JSON can write and no tokenizer read
                        json.dumps(row, ensure_ascii=False).encode()
                except (ValueError, RecursionError) as error:
                    raise bad(f"line {number} of {path.name} is no JSON: {error}") from error
                if not isinstance(row, dict):
                    raise bad(f"line {number} of {path.name} is no object with a prompt")
                yield row
