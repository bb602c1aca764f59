"""`rlbench data make policy=RUN`: what is recorded of a trained run."""

import fcntl
import json
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


def test_the_step_is_that_of_the_policy(run: str, tmp_path: Path) -> None:
    """Of the newest checkpoint; the status of a run that goes on, or was killed, is further."""
    status = Path(run.partition("=")[2], "status.json")
    before = status.read_text()
    status.write_text(json.dumps({**json.loads(before), "step": 1000}))
    try:
        assert verb.main(["make", run, "steps=50", "--to", str(tmp_path / "made.hdf5")]) == 0
    finally:
        status.write_text(before)
    assert "after 20 steps" in read(tmp_path / "made.hdf5").card["about"]


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
    with (partial / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="another process records into it\nname another place with --to"):
            verb.main([*words, "--to", str(killed)])
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


def test_pictures_are_of_the_states_beside_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a run that acts on states to policies that see: every frame is the drawing of its state, in the file, in the
    transitions and in the segments; an episode's first frame stands for those before."""
    import h5py

    from rlbench import config
    from rlbench.data.segments import PrefSegments

    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path / "results"))
    small = ["algo.start_steps=20", "algo.hidden_dims=[8]", "eval.episodes=1", "tracking=disabled"]
    assert main(["algo=sac", "env=pendulum", "steps=30", *small]) == 0
    (settings,) = (tmp_path / "results/runs/sac/pendulum-online").glob("*/config.yaml")
    run = settings.parent
    to, views = tmp_path / "seen.hdf5", ["env=pendulum_pixels", "env.size=15"]
    make = ["make", f"policy={run}", "steps=400", "noise=0.3"]
    assert verb.main([*make, "views=pendulum_pixels", "env.size=15", "--to", str(to)]) == 0
    with pytest.raises(UsageError, match="views=pointmaze2d_sparse_pixels are not of env=pendulum"):
        verb.main([*make, "views=pointmaze2d_sparse_pixels", "--to", str(tmp_path / "no.hdf5")])
    with pytest.raises(UsageError, match="shows states"):
        verb.main([*make, "views=hopper", "--to", str(tmp_path / "no.hdf5")])

    env = config.instantiate(config.compose(["algo=sac", *views]).env)
    simulator = env.make()

    def drawn(states: np.ndarray) -> np.ndarray:
        found = []
        for cosine, sine, _ in states.reshape(-1, 3):
            simulator.unwrapped.state = np.array([np.arctan2(sine, cosine), 0.0])
            found.append(simulator.frame())
        return np.array(found).reshape(*states.shape[:-1], 3, 15, 15).astype(int)

    with h5py.File(to) as file:
        frames, frame = file["frames"][()], file["frame"][()]
        states, following = file["observations"][()], file["next_observations"][()]
    for column, own in enumerate((states, following)):  # states are float32 there, and a shade may be rounded
        assert np.abs(frames[frame[:, column]] - drawn(own)).max() <= 1
    assert len(frames) == len(frame) + 2

    data = FileDataset(env, str(to), "keep", "stored", "keep", clip_actions=False).load()
    assert data.observation.shape == (len(frame), 3)
    assert data.frames is not None
    for row, oldest in ((0, 0), (1, 0), (3, 1), (199, 197), (200, 200), (201, 200), (203, 201)):
        stack = [oldest, max(oldest, row - 1), row]
        np.testing.assert_array_equal(data.observation[row], frame[stack, 0])
        np.testing.assert_array_equal(data.next_observation[row], [*frame[stack[1:], 0], frame[row, 1]])

    file_of = tmp_path / "segments.npz"
    label = ["label", *views, f"dataset=file:{to}", f"oracle={run}", "segments=10", "length=4"]
    assert verb.main([*label, "--to", str(file_of)]) == 0
    segments = PrefSegments(env, str(file_of), "rank", "rl_sum", None).load()
    plain = tmp_path / "states.npz"
    assert verb.main(["label", "env=pendulum", *label[3:], "--to", str(plain)]) == 0
    of_states = PrefSegments(env.plain, str(plain), "rank", "rl_sum", None).load()
    np.testing.assert_array_equal(segments.label, of_states.label)
    assert segments.frames is not None
    newest = segments.frames[segments.observation[..., -1].astype(int)]
    assert np.abs(newest - drawn(of_states.observation)).max() <= 1
    second = segments.frames[segments.observation[:, 2:, -2].astype(int)]
    assert np.abs(second - drawn(of_states.observation[:, 1:-1])).max() <= 1
    for problem, path, wrong in ((env.plain, file_of, "are pictures"), (env, plain, "has no frames")):
        with pytest.raises(UsageError, match=wrong):
            PrefSegments(problem, str(path), "rank", "rl_sum", None).load()

    learn = [*views, "tracking=disabled", "algo.hidden_dims=[8]", "eval.episodes=1"]
    cpl = ["algo=cpl", f"dataset=pref_segments:{file_of}", "algo.batch_size=4", "algo.bc_steps=2", "steps=4"]
    assert main([*cpl, *learn]) == 0
    assert main(["algo=percent_bc", f"dataset=file:{to}", "steps=3", "algo.batch_size=8", *learn]) == 0
