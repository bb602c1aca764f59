"""The container recipes: both are given the same files, and those are enough."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def copied_by_docker() -> set[str]:
    """What the Dockerfile copies from the source."""
    lines = re.findall(r"^COPY (.+)$", (ROOT / "launch/Dockerfile").read_text(), re.M)
    return {name for line in lines for name in line.split()[:-1]}


def copied_by_apptainer() -> set[str]:
    """What the definition copies from the source; each must come to lie where it lay."""
    files = re.search(r"^%files\n((?: +.+\n)+)", (ROOT / "launch/rlbench.def").read_text(), re.M)
    assert files is not None
    pairs = dict(line.split() for line in files[1].splitlines())
    assert [name for name, place in pairs.items() if place != f"/src/{name}"] == []
    return set(pairs)


def test_both_recipes_copy_the_same() -> None:
    assert copied_by_docker() == copied_by_apptainer()


@pytest.mark.slow
def test_what_they_copy_is_enough_to_build_rlbench(tmp_path: Path) -> None:
    for name in copied_by_docker():
        source, target = ROOT / name, tmp_path / name
        target.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(tmp_path),
        str(tmp_path),
    ]
    subprocess.run(command, check=True)
    (wheel,) = tmp_path.glob("rlbench-*.whl")
    assert "rlbench/conf/config.yaml" in zipfile.ZipFile(wheel).namelist()


@pytest.mark.parametrize("words", [[], ["base"], ["rlbench", "cpu"]])
def test_provision_says_what_it_takes(words: list[str]) -> None:
    done = subprocess.run([ROOT / "launch/provision", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "launch/provision: what? base TORCH, or rlbench\n"
