"""Every algorithm in conf/algo keeps the contract; a new one is picked up by itself."""

from pathlib import Path

import pytest

from rlbench.choices import Choices
from rlbench.conformance import CHECKS, Subject

BASES = ["base=iql", "base=mopo"]  # one without and one with a dynamics model of its own
SUBJECTS = [
    [f"algo={name}", *base]
    for name in Choices().options("algo")
    for base in ([[each] for each in BASES] if name == "cocoa" else [[]])
]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("overrides", SUBJECTS, ids=" ".join)
def test_conforms(overrides: list[str], check: str, tmp_path: Path) -> None:
    CHECKS[check](Subject(overrides, tmp_path))
