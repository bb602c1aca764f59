"""Every algorithm in conf/algo keeps the contract; a new one is picked up by itself."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from rlbench.choices import Choices, read
from rlbench.conformance import CHECKS, Subject, close

BASES = ["base=iql", "base=mopo"]  # one without and one with a dynamics model of its own
NAN, INF = float("nan"), float("inf")
LONG = {"algo=cocoa base=mopo", "algo=taxons"}  # their parts are met in others


def subjects() -> Iterator[Any]:
    """What chooses each algorithm; of those of one class, all but the first are slow."""
    met: set[str] = set()
    for name, path in Choices().files["algo"].items():
        target = read(path)["_target_"]
        if name == "moorl_pixels":  # with smaller batches, for it takes long: tests/algos/test_pictures.py
            continue
        for base in [[each] for each in BASES] if name == "cocoa" else [[]]:
            words = [f"algo={name}", *base]
            long = target in met or " ".join(words) in LONG
            yield pytest.param(words, id=" ".join(words), marks=[pytest.mark.slow] if long else [])
        met.add(target)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("overrides", list(subjects()))
def test_conforms(overrides: list[str], check: str, tmp_path: Path) -> None:
    CHECKS[check](Subject(overrides, tmp_path))


@pytest.mark.parametrize(("a", "b"), [(NAN, 1.0), (1.0, NAN), (INF, 1.0), (1.0, INF), (INF, -INF), (NAN, INF)])
def test_what_is_no_number_is_close_to_its_like_alone(a: float, b: float) -> None:
    for value in (a, b):
        close(torch.tensor([0.0, value]), torch.tensor([0.0, value]), "loss", 1e-5)
    with pytest.raises(AssertionError, match="loss of seed 3 is off by"):
        close(torch.tensor([0.0, a]), torch.tensor([0.0, b]), "loss", 1e-5)


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.parametrize("overrides", list(subjects()))
def test_resumes_on_a_gpu(overrides: list[str], tmp_path: Path) -> None:
    CHECKS["resumes"](Subject([*overrides, "hardware.device=cuda"], tmp_path))
