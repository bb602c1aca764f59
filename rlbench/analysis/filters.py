"""Which runs are meant: words of a path (`hopper`), and values of a key (`algo=iql,cql`, `state=finished`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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
            runs) is one of the values; any other word as in `is_meant`.
    """

    def __init__(self, words: Sequence[str]) -> None:
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

    def fits(self, path: Path, facts: Mapping[str, Any], partly: bool = False) -> bool:
        """Whether a run does.

        Args:
            path: its directory.
            facts: its values, by key.
            partly: there are more facts, which may fit.
        """
        return all(is_meant(part, path) for part in self.parts) and all(
            any(is_value(found, value) for found in named(key, facts) for value in values)
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
    return word in "/".join(path.parts[-3:-1]) or (len(word) >= 4 and path.name.startswith(word))


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
