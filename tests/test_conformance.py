"""Every algorithm in conf/algo keeps the contract; a new one is picked up by itself."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlbench.choices import Choices, read
from rlbench.conformance import CHECKS, Subject

BASES = ["base=iql", "base=mopo"]  # one without and one with a dynamics model of its own


def subjects() -> Iterator[Any]:
    """What chooses each algorithm; of those of one class, which differ in settings, all but the first are slow."""
    met: set[str] = set()
    for name, path in Choices().files["algo"].items():
        target = read(path)["_target_"]
        marks = [pytest.mark.slow] if target in met else []
        met.add(target)
        for base in [[each] for each in BASES] if name == "cocoa" else [[]]:
            words = [f"algo={name}", *base]
            yield pytest.param(words, id=" ".join(words), marks=marks)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("overrides", subjects())
def test_conforms(overrides: list[str], check: str, tmp_path: Path) -> None:
    CHECKS[check](Subject(overrides, tmp_path))
