"""The matmul backend: exact, and the same for every run on a machine."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from rlbench.nets import amx, matmul
from rlbench.nets.mlp import linear


@pytest.fixture(autouse=True)
def _as_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RLBENCH_CACHE", str(tmp_path / "cache"))
    before = matmul.in_use()
    matmul._remembered.cache_clear()
    yield
    matmul._remembered.cache_clear()
    matmul.use(before)


def is_float32(backend: str) -> bool:
    if matmul.use(backend) != backend:
        return False
    generator = torch.Generator().manual_seed(0)  # of a size that none of them leaves to another
    x, weight, bias = (torch.randn(2, *shape, generator=generator) for shape in ((200, 300), (300, 400), (1, 400)))
    exact = x.double() @ weight.double() + bias
    return bool((linear(x, weight, bias) - exact).norm() / exact.norm() < matmul.EXACT)


def test_the_choice_computes_in_float32() -> None:
    choice = matmul.choose_matmul_backend()
    assert matmul.in_use() == choice
    assert is_float32(choice)


def test_the_choice_is_remembered(tmp_path: Path) -> None:
    matmul.choose_matmul_backend()
    path = tmp_path / "cache" / "matmul.json"
    (machine,) = json.loads(path.read_text())
    path.write_text(json.dumps({machine: "highest"}))
    matmul._remembered.cache_clear()
    assert matmul.choose_matmul_backend() == "highest"
    for backend in ("medium", "amx") if amx.available() else ("medium",):
        path.write_text(json.dumps({machine: backend}))
        matmul._remembered.cache_clear()
        assert matmul.choose_matmul_backend() == (backend if is_float32(backend) else "highest")
    path.write_text(json.dumps({machine: "nonsense"}))
    matmul._remembered.cache_clear()
    assert matmul.choose_matmul_backend() in matmul.BACKENDS


def test_processes_that_begin_together_choose_the_same(tmp_path: Path) -> None:
    """Each would measure something else on a busy machine; the second takes what the first has found."""
    choice = matmul.choose_matmul_backend()
    path = tmp_path / "cache" / "matmul.json"
    (machine,) = json.loads(path.read_text())
    path.unlink()
    script = "from rlbench.nets import matmul; print('begun', flush=True); print(matmul.choose_matmul_backend())"
    with FileLock(path.with_suffix(".lock")):
        second = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        assert second.stdout is not None
        assert second.stdout.readline() == "begun\n"
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(2)
        other = "amx" if choice == "highest" and amx.available() else "highest"
        path.write_text(json.dumps({machine: other}))
    assert second.communicate(timeout=60)[0] == f"{other}\n"
    assert json.loads(path.read_text()) == {machine: other}


def test_what_cannot_be_had_here_is_mkl_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amx, "available", lambda: False)
    assert matmul.use("amx") == matmul.in_use() == torch.get_float32_matmul_precision() == "highest"


def test_a_compiler_that_fails_leaves_the_others(tmp_path: Path) -> None:
    script = "from rlbench.nets import matmul; print(matmul.choose_matmul_backend())"
    environment = {**os.environ, "CXX": "false", "RLBENCH_CACHE": str(tmp_path / "cache")}
    run = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.strip() in ("highest", "medium")
    assert not run.stderr


def test_the_choice_is_made_anew_where_there_is_one_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler that was missing when the first run began must not be missed for ever."""
    if not amx.available():
        pytest.skip("needs a processor with AMX, and a C++ compiler")
    with monkeypatch.context() as without:
        without.setattr(amx, "available", lambda: False)
        assert matmul.choose_matmul_backend() != "amx"
    path = tmp_path / "cache" / "matmul.json"
    path.write_text(json.dumps(dict.fromkeys(json.loads(path.read_text()), "highest")))
    matmul._remembered.cache_clear()
    matmul.choose_matmul_backend()
    first, second = json.loads(path.read_text())
    assert "amx" in second
    assert "amx" not in first


def test_a_cache_that_cannot_be_written_costs_only_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RLBENCH_CACHE", str(tmp_path / "file" / "below"))
    assert matmul.choose_matmul_backend() in matmul.BACKENDS
