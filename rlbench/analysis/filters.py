"""Which runs are meant: words of a path (`hopper`), and values of a key (`algo=iql,cql`, `state=finished`)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlbench.errors import UsageError
from rlbench.spelling import closest

ALIASES: dict[str, tuple[str, ...]] = {
    "algo": ("algo", "algo.name"),  # cocoa-iql is found as that and as cocoa
    "base": ("algo.base.name",),
}
"""Words of the command line that name a choice, and where a run's configuration holds it."""


class Filter:
    """The runs that fit every word.

    Args:
        words: `KEY=VALUE` or `KEY=VALUE,VALUE` for runs whose KEY (of the configuration, dotted, or of the table of
            runs) is one of the values, or begins with one where KEY is `id`; any other word as in `is_meant`.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self.parts = [word for word in words if "=" not in word]
        self.values = [
            (key, value.split(",") if not value.startswith("[") else [value])
            for key, _, value in (word.partition("=") for word in words if "=" in word)
        ]

    def chosen(self, runs: Mapping[Path, Mapping[str, Any]]) -> list[Path]:
        """The runs that fit, of those with these facts.

        Raises:
            UsageError: a key is none that any run has.
        """
        known = {key for facts in runs.values() for key in facts}
        for key, _ in self.values:
            if runs and key not in known and key not in ALIASES:
                near = closest(key, sorted(known))
                raise UsageError(f"no run has a key {key!r}" + (f"\ndid you mean {' or '.join(near)}?" if near else ""))
        return [path for path, facts in runs.items() if self.fits(path, facts)]

    def strangers(self, runs: Mapping[Path, Mapping[str, Any]], damaged: Sequence[Path] = ()) -> list[str]:
        """A sentence on every word, or value of a key, that fits none of the runs by itself; none without runs.

        Args:
            runs: their facts, by directory.
            damaged: directories of runs of which nothing but the path can be read.
        """
        found = []
        for word in self.single() if runs else ():
            meant = Filter([word])
            if any(meant.fits(*run) for run in runs.items()) or any(map(meant.may_fit, damaged)):
                continue
            key, equals, value = word.partition("=")
            if equals:
                names = {each for facts in runs.values() for each in named(key, facts) if isinstance(each, str)}
            else:
                names = {name for path in runs for part in path.parts[-3:-1] for name in (part, part.partition("-")[0])}
            near = closest(value if equals else word, sorted(names)) if key != "id" else []
            found.append(f"{word} fits no run" + (f"; did you mean {' or '.join(near)}?" if near else ""))
        return found

    def require_known(self, runs: Mapping[Path, Mapping[str, Any]], damaged: Sequence[Path] = ()) -> None:
        """Raise `UsageError` where a word, or a value of a key, fits none of the runs (arguments as of `strangers`)."""
        if strangers := self.strangers(runs, damaged):
            raise UsageError("\n".join(strangers))

    def single(self) -> Iterator[str]:
        """The words, one for every value of a key; of states, which come and go, any one of several is enough."""
        yield from self.parts
        for key, values in self.values:
            yield from (f"{key}={value}" for value in ([",".join(values)] if key == "state" else values))

    def fits(self, path: Path, facts: Mapping[str, Any], partly: bool = False) -> bool:
        """Whether a run does.

        Args:
            path: its directory.
            facts: its values, by key.
            partly: there are more facts, which may fit.
        """
        return all(is_meant(part, path) for part in self.parts) and all(
            any(
                is_value(found, value) or (key == "id" and begins(value, found))
                for found in named(key, facts)
                for value in values
            )
            for key, values in self.values
            if not partly or key in facts
        )

    def may_fit(self, path: Path) -> bool:
        """Whether a run may of which nothing but its path can be read."""
        algo, problem, id = path.parts[-3:]
        told = {"algo": algo, "algo.name": algo.partition("-")[0], "env": problem.partition("-")[0], "id": id}
        return self.fits(path, told, partly=True)


def is_meant(word: str, path: Path) -> bool:
    """Whether a run's algorithm, environment or dataset has a word in its name, or its id begins with it."""
    return word in "/".join(path.parts[-3:-1]) or begins(word, path.name)


def begins(word: str, id: str) -> bool:
    """Whether an id begins with a word that is long enough to be meant so."""
    return len(word) >= 4 and id.startswith(word)


def named(key: str, facts: Mapping[str, Any]) -> list[Any]:
    """What a run has under a key, or under what the key stands for."""
    if key == "dataset" and "dataset.id" in facts:  # as it was typed: d4rl/hopper-medium-v2
        source = str(facts["dataset"]).partition("-")[0]
        return [facts["dataset"], f"{source}/{facts['dataset.id']}"]
    return [facts[name] for name in ALIASES.get(key, (key,)) if name in facts]


def is_value(found: Any, typed: str) -> bool:
    """Whether a value of a configuration is what was typed: `1e-3` for 0.001, `null`, `true`, `[256,256]`."""
    value = parsed(typed)
    if isinstance(found, str) and found.startswith("["):  # a list, as the table of runs holds it
        found = parsed(found)
    return found == typed or (bool(found == value) and isinstance(found, bool) == isinstance(value, bool))


def parsed(text: str) -> Any:
    """What JSON text says; other text as it is."""
    try:
        return json.loads(text)
    except ValueError:
        return text
