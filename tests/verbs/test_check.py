"""`rlbench check`: what it says before a run would, and what it does not read for it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from rlbench.cli import main
from rlbench.data.file import FileDataset
from tests.data.helpers import OPTIONS, control

ROWS = 4_000_000  # of two numbers: 32 MB


def recorded(path: Path) -> Path:
    """A recording of which the first bytes and the table of contents are a small part."""
    rows = np.zeros((ROWS, 2), np.float32)
    if path.suffix == ".npz":
        np.savez(path, observations=rows)
    else:
        with h5py.File(path, "w") as file:
            file["observations"] = rows
    return path


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.npz", b"x", "it cannot be read as npz"),
        ("x.npz", b"PK", "it cannot be read as npz"),
        ("x.hdf5", b"x", "it cannot be read as HDF5"),
        ("x.hdf5", b"\x89HDF\r\n\x1a\n", "it cannot be read as HDF5"),
        ("x", b"", "it cannot be read as HDF5"),
    ],
)
def test_a_file_that_cannot_be_opened_is_refused(
    tmp_path: Path, name: str, content: bytes, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert main(["check", "algo=bc", "env=hopper", f"dataset=file:{path}"]) == 2
    assert f"dataset=file:{path}: {said}" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["x.npz", "x.hdf5"])
def test_a_file_that_was_cut_short_is_refused_and_a_whole_one_is_not_read(tmp_path: Path, name: str) -> None:
    path, env = recorded(tmp_path / name), control("hopper")
    FileDataset(env, str(path), **OPTIONS)  # h5py is imported
    began = time.process_time()
    FileDataset(env, str(path), **OPTIONS)
    assert time.process_time() - began < 0.1
    path.write_bytes(path.read_bytes()[:-1000])
    assert main(["check", "algo=bc", "env=hopper", f"dataset=file:{path}"]) == 2


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("rlbench.envs.curling.find_spec", lambda _: None)
    assert main(["check", "algo=cma_es", "env=curling"]) == 1
    assert "env=curling needs Box2D: pip install 'rlbench[box2d]'" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["algo=hdpo"], ["algo=cma_es", "env=ant_obstacles"], ["algo=sac", "env=hopper"]])
def test_an_environment_is_asked_without_torch(words: list[str]) -> None:
    code = "import sys; from rlbench.cli import main; sys.exit(main(sys.argv[1:]) or 'torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code, "check", *words], check=True)
