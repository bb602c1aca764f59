"""The copy of the code that queued jobs run."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import rlbench
from rlbench.launch.code import BESIDE, choices, freeze
from rlbench.tracking import meta

SNAIL = Path(__file__).parent / "snail"


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path / "results"))
    return tmp_path / "results"


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SNAIL, tmp_path / "mine"))


def asked(code: Path, text: str) -> list[str]:
    """What Python prints that has the copy in front."""
    path = os.pathsep.join([str(code), str(Path(rlbench.__file__).parents[1])])
    command = [sys.executable, "-P", "-c", text]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_the_copy_takes_the_place_of_its_origin(mine: Path) -> None:
    code = freeze({"snail": str(mine)}, [str(mine)])
    assert freeze({"snail": str(mine)}, [str(mine)]) == code
    imports = f"import sys; sys.path.append('{code / BESIDE}'); import rlbench, snail"
    show = "from rlbench.paths import conf_root; print(rlbench.__file__, conf_root(), snail.__file__, sep='\\n')"
    origins = asked(code, f"{imports}; {show}")
    assert [Path(origin).relative_to(code).parts[0] for origin in origins] == ["rlbench", "rlbench", "snail.py"]
    assert (choices(code, 0) / "algo/snail.yaml").read_text() == (mine / "algo/snail.yaml").read_text()
    assert (code / BESIDE / "lcg.py").exists()
    assert {path.name for path in code.parent.iterdir()} == {code.name}
    for path in Path(rlbench.__file__).parent.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert (
                code / "rlbench" / path.relative_to(Path(rlbench.__file__).parent)
            ).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("edited", ["snail.py", "lcg.py", "algo/snail.yaml"])
def test_another_version_is_another_copy(mine: Path, edited: str) -> None:
    before = freeze({"snail": str(mine)}, [str(mine)])
    with (mine / edited).open("a") as file:
        file.write("# edited\n")
    assert freeze({"snail": str(mine)}, [str(mine)]) != before


def test_a_plug_in_may_be_a_package(tmp_path: Path) -> None:
    (tmp_path / "mine/deep/er").mkdir(parents=True)
    for name in ("deep/__init__.py", "deep/er/__init__.py", "deep/er/data.bin"):
        (tmp_path / "mine" / name).write_text("")
    (tmp_path / "mine/huge.bin").write_text("nobody imports it")
    code = freeze({"deep": str(tmp_path / "mine")})
    assert (code / "deep/er/data.bin").exists()
    assert not list(code.rglob("huge.bin"))


def test_the_copy_knows_its_commit() -> None:
    code = freeze({})
    known = json.loads(asked(code, "import json; from rlbench.tracking import meta; print(json.dumps(meta.git()))")[0])
    assert known == meta.git()
