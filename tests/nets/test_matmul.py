"""The matmul backend: exact, and the same for every run on a machine."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from rlbench.nets import matmul


@pytest.fixture(autouse=True)
def _as_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RLBENCH_CACHE", str(tmp_path / "cache"))
    before = torch.get_float32_matmul_precision()
    matmul._remembered.cache_clear()
    yield
    matmul._remembered.cache_clear()
    torch.set_float32_matmul_precision(before)


def is_float32(precision: str) -> bool:
    torch.set_float32_matmul_precision(precision)
    a, b = (torch.randn(200, 300, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    exact = a.double() @ b.double().T
    return bool((a @ b.T - exact).norm() / exact.norm() < matmul.EXACT)


def test_the_choice_computes_in_float32() -> None:
    choice = matmul.choose_matmul_backend(64)
    assert torch.get_float32_matmul_precision() == choice
    assert is_float32(choice)


def test_the_choice_is_remembered(tmp_path: Path) -> None:
    matmul.choose_matmul_backend(64)
    path = tmp_path / "cache" / "matmul.json"
    (machine,) = json.loads(path.read_text())
    path.write_text(json.dumps({machine: "highest"}))
    matmul._remembered.cache_clear()
    assert matmul.choose_matmul_backend(64) == "highest"
    path.write_text(json.dumps({machine: "medium"}))
    matmul._remembered.cache_clear()
    assert matmul.choose_matmul_backend(64) == ("medium" if is_float32("medium") else "highest")
    path.write_text(json.dumps({machine: "nonsense"}))
    matmul._remembered.cache_clear()
    assert matmul.choose_matmul_backend(64) in ("highest", "medium")


def test_a_cache_that_cannot_be_written_costs_only_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RLBENCH_CACHE", str(tmp_path / "file" / "below"))
    assert matmul.choose_matmul_backend(64) in ("highest", "medium")
