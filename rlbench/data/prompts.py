"""Prompts that policies are judged by beside those of the comparisons' kind: a test under a shift (`env.shifted`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rlbench.data.preferences import REQUEST
from rlbench.data.rows import Rows
from rlbench.errors import UsageError
from rlbench.spelling import closest

HUB = "abisee/cnn_dailymail"
NEWEST = "3.0.0"  # the folder of the version that is published last; the others have the same articles


@dataclass(frozen=True)
class Prompt:
    """A prompt.

    Attributes:
        text: what may be cut where it is too long.
        ending: what stays behind it then.
        response: what a judge compares answers with; "" where there is nothing.
    """

    text: str
    ending: str
    response: str

    @property
    def words(self) -> str:
        """All of it."""
        return self.text + self.ending


def own(path: str | None) -> Iterator[Prompt]:
    """A file of one's own: on every line a `prompt` and, for judges, a `response`."""
    if path is None:
        raise UsageError("env.shifted=prompts: which?\nwanted is env.shifted=prompts:FILE")
    rows = Rows("env.shifted=prompts", path)
    for row in rows.rows():
        response = rows.of(row, "response", "a text") if row.get("response") is not None else ""
        yield Prompt(rows.of(row, "prompt", "a text that is not empty"), "", response)


def cnn_dailymail(path: str | None) -> Iterator[Prompt]:
    """The test articles of CNN and Daily Mail, asked for as posts are in `tldr`, and their highlights."""
    rows = Rows("env.shifted=cnn_dailymail", path, HUB, "env.shifted=cnn_dailymail:FOLDER")
    if (rows.path / NEWEST).is_dir():
        rows.path /= NEWEST
    for row in rows.rows(None if rows.path.is_file() else "test"):
        yield Prompt(rows.of(row, "article", "a text"), REQUEST, " " + rows.of(row, "highlights", "a text"))


SOURCES: dict[str, Callable[[str | None], Iterator[Prompt]]] = {"prompts": own, "cnn_dailymail": cnn_dailymail}


def source(word: str) -> Iterator[Prompt]:
    """The prompts that a word names, SOURCE or SOURCE:PATH, read as they are asked for.

    Raises:
        UsageError: there is no such source; what it reads is not there, or not what it should be.
    """
    name, colon, path = word.partition(":")
    if name not in SOURCES:
        near = closest(name, SOURCES)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(SOURCES)}; a file is prompts:FILE"
        raise UsageError(f"env.shifted={word}: no source of prompts {name}\n{hint}")
    return SOURCES[name](path if colon else None)
