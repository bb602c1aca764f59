"""OGBench's data sets: a recording in their simulator, read by OGBench's own loader and by ours."""

import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlbench import config
from rlbench.data.transitions import Transitions
from rlbench.errors import RunError, UsageError

ogbench = pytest.importorskip("ogbench")
ID = "pointmaze-medium-navigate-singletask-v0"
TASK = "pointmaze-medium-singletask-v0"
TRAJECTORIES, STEPS = 3, 40


@pytest.fixture
def recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file as OGBench's are, where OGBench keeps them: three trajectories, the second of them past the goal."""
    import gymnasium

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RLBENCH_CACHE", str(tmp_path / "cache"))
    env = gymnasium.make(TASK)
    rng = np.random.default_rng(0)
    rows: dict[str, list[Any]] = {"observations": [], "actions": [], "terminals": [], "qpos": [], "qvel": []}
    for trajectory in range(TRAJECTORIES):
        observation, _ = env.reset(seed=trajectory)
        simulator: Any = env.unwrapped
        if trajectory == 1:
            simulator.set_xy(np.asarray(simulator.cur_goal_xy) + 0.1)
            observation = simulator.get_xy()
        for step in range(STEPS):
            action = rng.uniform(-1, 1, 2).astype(np.float32)
            rows["observations"].append(np.asarray(observation, np.float32))
            rows["actions"].append(action)
            rows["terminals"].append(np.float32(step == STEPS - 1))
            rows["qpos"].append(simulator.data.qpos.copy())
            rows["qvel"].append(simulator.data.qvel.copy())
            observation = env.step(action)[0]
    path = tmp_path / ".ogbench/data/pointmaze-medium-navigate-v0.npz"
    path.parent.mkdir(parents=True)
    arrays: dict[str, Any] = {name: np.array(values) for name, values in rows.items()}
    np.savez(path, **arrays)
    shutil.copy(path, path.with_name("pointmaze-medium-navigate-v0-val.npz"))
    return path


def load(*words: str) -> Transitions:
    cfg = config.compose(["algo=bc", f"dataset=ogbench/{ID}", *words])
    return config.instantiate(cfg.dataset, env=config.instantiate(cfg.env)).load()


def test_rows_are_those_of_ogbench_own_loader(recording: Path) -> None:
    data = load()
    _, theirs, _ = ogbench.make_env_and_datasets(ID, dataset_dir=str(recording.parent))
    assert len(data) == TRAJECTORIES * (STEPS - 1)
    np.testing.assert_array_equal(data.observation, theirs["observations"])
    np.testing.assert_array_equal(data.next_observation, theirs["next_observations"])
    np.testing.assert_array_equal(data.action, theirs["actions"])
    np.testing.assert_array_equal(data.reward, theirs["rewards"])
    np.testing.assert_array_equal(data.terminated, theirs["masks"] == 0)
    assert 0 < data.terminated.sum() < len(data)
    ends = (theirs["terminals"] == 1) & (theirs["masks"] == 1)
    np.testing.assert_array_equal(data.truncated, ends)


@pytest.mark.usefixtures("recording")
def test_what_is_here_needs_no_network(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    first = load()
    recording.unlink()  # what was made of it is in the cache
    config.fetch(config.compose(["algo=bc", f"dataset=ogbench/{ID}"]), lambda *_: None)
    np.testing.assert_array_equal(load().table, first.table)


def test_the_name_says_the_environment() -> None:
    cfg = config.compose(["algo=bc", f"dataset=ogbench/{ID}"])
    assert cfg.env.id == TASK
    assert cfg.env.name == "ogbench_pointmaze-medium"
    assert config.instantiate(cfg.env).dims() == (2, 2)
    task = config.compose(["algo=bc", "dataset=ogbench/cube-single-play-singletask-task2-v0"])
    assert task.env.id == "cube-single-singletask-task2-v0"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["dataset=ogbench"], "dataset=ogbench needs a name"),
        (["env=ogbench"], "env=ogbench needs a name"),
        (["dataset=ogbench/pointmaze-medium-navigate-v0"], "dataset=ogbench/pointmaze-medium-navigate-singletask-v0"),
        (["dataset=ogbench/../../secret"], "no data set"),
    ],
)
def test_slips_are_answered(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        config.compose(["algo=bc", *words])


@pytest.mark.usefixtures("recording")
def test_another_environment_is_refused() -> None:
    with pytest.raises(UsageError, match=f"choose env=ogbench/{TASK}"):
        load("env=hopper")
    cfg = config.compose(["algo=sac", "dataset=none", "env=ogbench/pointmaze-mediun-singletask-v0"])
    with pytest.raises(UsageError, match=f"did you mean {TASK}"):
        config.instantiate(cfg.env).dims()


def test_damage_is_told(recording: Path) -> None:
    whole = recording.read_bytes()
    recording.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match="cut short"):
        load()
    with np.load(shutil.copy(recording.with_name(f"{recording.stem}-val.npz"), recording)) as archive:
        arrays: dict[str, Any] = {name: archive[name] for name in archive.files if name != "qpos"}
    np.savez(recording, **arrays)
    with pytest.raises(UsageError, match="qpos"):
        load()


def test_what_cannot_be_judged_is_not_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlbench.data.ogbench.ADDRESS", "http://127.0.0.1:9/")
    monkeypatch.setattr("rlbench.envs.control.find_spec", lambda _: None)
    with pytest.raises(RunError, match=r"is not installed: pip install 'rlbench\[ogbench\]'"):
        config.fetch(config.compose(["algo=bc", f"dataset=ogbench/{ID}"]), lambda *_: None)


def test_an_absent_set_says_where_to_put_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RLBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("rlbench.data.ogbench.ADDRESS", "http://127.0.0.1:9/")
    with pytest.raises(RunError) as error:
        load()
    first, second = str(error.value).split("\n")
    assert "http://127.0.0.1:9/pointmaze-medium-navigate-v0.npz" in first
    assert second.startswith(f"put the file at {tmp_path / 'cache/ogbench/pointmaze-medium-navigate-v0.npz'}, or take")
    assert second.endswith("env=hopper dataset=medium")
