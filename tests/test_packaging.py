"""What is declared, locked and shipped is what is used."""

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import rlbench

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

EXTRAS = (
    *("video", "onnx", "minari", "robotics", "ogbench", "minigrid", "search", "dashboard", "views"),
    *("language", "evolution", "box2d", "metaworld", "dm_control"),
)


def declared(*extras: str) -> dict[str, Requirement]:
    """Requirements of the package and of some extras, by normalised name."""
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in PROJECT["optional-dependencies"][extra])]
    requirements = [Requirement(line) for line in lines]
    return {canonicalize_name(r.name): r for r in requirements if r.name != "rlbench"}


def locked() -> dict[str, str]:
    """Versions of the lock file, by normalised name."""
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def imported(folder: Path) -> set[str]:
    """Top-level names of everything imported in a folder, inside functions too."""
    names = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    return names - sys.stdlib_module_names - {"rlbench"}


def distributions(names: set[str]) -> set[str]:
    """The distribution that each importable name comes from."""
    known = packages_distributions()
    return {canonicalize_name(known.get(name, [name])[0]) for name in names}


def test_every_import_is_declared() -> None:
    assert distributions(imported(ROOT / "rlbench")) - declared(*EXTRAS).keys() == set()


def test_every_dependency_is_imported() -> None:
    bounded = {"mujoco"}  # gymnasium imports it; we declare it for its bounds
    assert declared().keys() - bounded - distributions(imported(ROOT / "rlbench")) == set()


def test_lock_satisfies_the_bounds() -> None:
    lock = locked()
    for name, requirement in declared(*EXTRAS, "dev").items():
        assert name in lock, f"{name} is missing from requirements.lock: make lock"
        assert lock[name] in requirement.specifier


@pytest.mark.parametrize("version", ["3.5.0", "4.0.0"])
def test_mujoco_with_other_contact_dynamics_is_refused(version: str) -> None:
    assert version not in declared()["mujoco"].specifier


def test_make_alone_lists_every_command() -> None:
    shown = subprocess.run(["make", "-C", ROOT], capture_output=True, text=True, check=True).stdout
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    assert set(re.findall(r"^make ([\w-]+) +\w", shown, re.MULTILINE)) == set(phony[1].split())


@pytest.mark.slow
def test_wheel_carries_everything_and_runs_elsewhere(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, ROOT], check=True)
    (wheel,) = tmp_path.glob("rlbench-*.whl")
    assert wheel.name.startswith(f"rlbench-{rlbench.__version__}-")

    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if ".dist-info/" not in name}
    source = {f"rlbench/{path.relative_to(ROOT)}" for path in (ROOT / "conf").rglob("*") if path.is_file()}
    files = [path for path in (ROOT / "rlbench").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert shipped == source | {str(path.relative_to(ROOT)) for path in files}

    target, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    elsewhere.mkdir()
    subprocess.run([*pip, "install", "--no-deps", "--target", target, wheel], check=True)
    environment = {**os.environ, "PYTHONPATH": str(target)}

    def run(*command: str | Path) -> str:
        options = {"cwd": elsewhere, "env": environment, "capture_output": True, "text": True, "check": True}
        return subprocess.run(command, **options).stdout  # type: ignore[call-overload]

    place = run(sys.executable, "-P", "-c", "import rlbench; print(rlbench.__file__)")
    assert Path(place.strip()).is_relative_to(target)
    listed = run(target / "bin" / "rlbench", "list", "algo")
    assert [name for path in (ROOT / "conf" / "algo").glob("*.yaml") if (name := path.stem) not in listed] == []
