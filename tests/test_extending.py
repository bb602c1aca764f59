"""docs/extending.md, done as it says."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", re.M | re.S)


def command(words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command of the page, in its folder, with this interpreter."""
    program, *rest = shlex.split(words)
    begin = [sys.executable, "-m", "rlbench"] if program == "rlbench" else [sys.executable]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RLBENCH_RESULTS": str(folder / "results")}
    return subprocess.run([*begin, *rest], cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_page_does_what_it_says(tmp_path: Path) -> None:
    ran = []
    for language, file, text in BLOCK.findall((ROOT / "docs" / "extending.md").read_text()):
        if file:
            path = tmp_path / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        elif language == "sh":
            done = command(text, tmp_path)
            assert done.returncode == 0, f"{text}{done.stdout}{done.stderr}"
            ran.append(done)
    first, conformance, car, walk, shared = ran
    assert "eval/return at step 5,000" in first.stdout
    assert conformance.stdout.count("passed") == 4
    assert "600 of 600 steps" in car.stdout
    assert "disc2d-walk" in walk.stdout
    assert shared.stdout.splitlines()[:2] == first.stdout.splitlines()[:2]  # the same score as of one process
    again = command("rlbench --config-dir mine algo=linear env=disc2d dataset=disc", tmp_path)
    assert "finished already" in again.stdout
    assert again.stdout.endswith(first.stdout)
    listed = command("rlbench runs linear", tmp_path)
    assert listed.stdout.count("finished") == 2
    run = next(tmp_path.glob("results/runs/linear/disc2d-disc/[0-9a-f]*"))
    resumed = command(f"rlbench resume {run.name}", tmp_path)  # without --config-dir: the run knows its plug-ins
    assert "finished already" in resumed.stdout
    for words, said in (
        (f"export {run.name}", "policy-seed0.pt"),
        (f"eval {run.name} --episodes 2", "2 episodes a seed"),
        (f"data make policy={run.name} steps=100", ".hdf5"),
    ):
        done = command(f"rlbench {words}", tmp_path)
        assert (done.returncode, said in done.stdout) == (0, True), f"{words}: {done.stdout}{done.stderr}"
