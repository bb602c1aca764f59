"""`rlbench data make policy=RUN`: what is recorded of a trained run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from rlbench.cli import main
from rlbench.data.file import FileDataset
from rlbench.data.transitions import Transitions
from rlbench.envs.control import Control
from rlbench.errors import UsageError
from rlbench.verbs import data as verb

RUN = ["algo=bc", "env=hopper", "dataset=random", "dataset.size=2000", "steps=20", "seeds=2"]
HOPPER = Control("hopper", "Hopper-v4", -20.272305, 3234.3)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of behaviour cloning in one run, trained as a user trains them."""
    root = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLBENCH_RESULTS", str(root))
        assert main(RUN) == 0
    return root


@pytest.fixture
def run(results: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("RLBENCH_RESULTS", str(results))
    (config,) = (results / "runs/bc/hopper-random").glob("*/config.yaml")
    return f"policy={config.parent}"


def read(path: Path) -> Transitions:
    return FileDataset(HOPPER, str(path), "keep", "stored", "keep", clip_actions=False).read()


def actions(run: str, seed: int, observations: np.ndarray, tmp_path: Path) -> np.ndarray:
    """What the exported policy of a seed does, `[n, d]` to `[n, a]`."""
    assert main(["export", run.partition("=")[2], "--out", str(tmp_path / "export")]) == 0
    (file,) = (tmp_path / "export").glob(f"*seed{seed}*.pt")
    with torch.inference_mode():
        return np.asarray(torch.jit.load(str(file))(torch.from_numpy(np.array(observations))))


def test_the_policies_of_a_run_act_in_equal_parts(run: str, tmp_path: Path) -> None:
    to = tmp_path / "made.hdf5"
    assert verb.main(["make", run, "steps=400", "--to", str(to)]) == 0
    data = read(to)
    assert len(data) >= 400
    ends = np.flatnonzero(np.logical_or(data.terminated, data.truncated))
    assert ends[-1] == len(data) - 1
    half = ends[np.searchsorted(ends, 199)] + 1
    for place, part in enumerate((slice(0, half), slice(half, None))):
        np.testing.assert_allclose(data.action[part], actions(run, place, data.observation[part], tmp_path), atol=1e-5)
    assert not list(tmp_path.glob(".*partial"))


def test_noise_has_the_width_that_was_asked_for(run: str, tmp_path: Path) -> None:
    to = tmp_path / "noisy.hdf5"
    assert verb.main(["make", run, "steps=2000", "noise=0.1", "seed=3", "--to", str(to)]) == 0
    data = read(to)
    mean = actions(run, 0, data.observation[:900], tmp_path)
    inside = np.abs(mean) < 0.6  # what is not clipped
    assert inside.sum() > 300
    assert 0.09 < np.std((data.action[:900] - mean)[inside]) < 0.11


def test_a_recording_that_was_killed_goes_on(run: str, results: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole.hdf5", tmp_path / "killed.hdf5"
    words = ["make", run, "steps=25000"]
    assert verb.main([*words, "--to", str(whole)]) == 0
    command = [sys.executable, "-m", "rlbench", "data", *words, "--to", str(killed)]
    process = subprocess.Popen(command, start_new_session=True, env={**os.environ, "RLBENCH_RESULTS": str(results)})
    partial = tmp_path / ".killed.hdf5.partial"
    deadline = time.monotonic() + 120
    while not (kept := list(partial.glob("shard-*.npy"))) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not killed.exists()
    written = {path: path.stat().st_mtime_ns for path in kept if "tmp" not in path.name}
    with pytest.raises(UsageError, match=r"another recording \(steps=25000\)"):
        verb.main(["make", run, "steps=24000", "--to", str(killed)])
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert verb.main([*words, "--to", str(killed)]) == 0
    assert not partial.exists()
    for column in ("observation", "action", "reward", "next_observation", "terminated", "truncated"):
        np.testing.assert_array_equal(getattr(read(killed), column), getattr(read(whole), column))


def test_without_a_place_it_goes_to_the_results(run: str, results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is asked for decides the name, so that the same words find a recording that was stopped."""
    id = Path(run.partition("=")[2]).name
    assert verb.main(["make", "env=hopper", run, "steps=100"]) == 0
    assert verb.main(["make", "env=hopper", f"policy={id}", "steps=100", "noise=0.1", "--format", "minari"]) == 0
    plain, noisy = results / "data" / f"hopper-{id}-100.hdf5", results / "data" / f"hopper-{id}-100-noise0_1-v0"
    assert len(read(plain)) >= 100
    assert len(read(noisy)) >= 100
    said = capsys.readouterr().out
    assert f"dataset=file:{plain} env=hopper" in said
    with pytest.raises(UsageError, match="it exists"):
        verb.main(["make", run, "steps=100"])


def test_slips_are_answered(run: str, tmp_path: Path) -> None:
    taken = tmp_path / "taken.hdf5"
    taken.write_text("mine")
    for words, message in (
        ([run, "stpes=10", "--to", "x.hdf5"], "did you mean steps="),
        ([run, "steps=ten", "--to", "x.hdf5"], "steps=ten is no whole number"),
        ([run, "steps=0", "--to", "x.hdf5"], "at least 1"),
        ([run, "noise=-1", "--to", "x.hdf5"], "at least 0"),
        ([run, "env=walker2d", "--to", "x.hdf5"], "was trained in hopper"),
        ([run, "steps=10", "--to", str(taken)], "it exists"),
    ):
        with pytest.raises(UsageError, match=message):
            verb.main(["make", *words])
    assert taken.read_text() == "mine"
