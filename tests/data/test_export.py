"""What is exported reads back equal to the bit, by others too; what is recorded survives its script."""

import json
import os
import subprocess
import sys
import textwrap
import warnings
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import minari as package
import numpy as np
import pytest

from rlbench import config
from rlbench.cli import main
from rlbench.data import export, journal
from rlbench.data.file import FileDataset
from rlbench.data.minari import Minari
from rlbench.data.recording import Recorder
from rlbench.data.transitions import Transitions
from rlbench.errors import RunError, UsageError
from tests.data.helpers import control


def load(path: Path) -> Transitions:
    return FileDataset(control(), str(path), "keep", "stored", "keep", clip_actions=False).load()


def recorded(last: str = "", **card: Any) -> Transitions:
    """Hopper rows, random ones: episodes of 1, 5 (terminated), 4 (truncated) and 3 steps (as `last` says)."""
    rng = np.random.default_rng(0)
    lengths = (1, 5, 4, 3)
    states = [rng.normal(size=(steps + 1, 11)).astype(np.float32) for steps in lengths]
    ends = np.cumsum(lengths) - 1
    terminated, truncated = np.zeros(13, dtype=bool), np.zeros(13, dtype=bool)
    terminated[ends[:2]] = truncated[ends[2]] = True
    terminated[-1], truncated[-1] = last == "terminated", last == "truncated"
    return Transitions.of_columns(
        np.concatenate([each[:-1] for each in states]),
        rng.uniform(-1, 1, size=(13, 3)),
        rng.normal(size=13),
        np.concatenate([each[1:] for each in states]),
        terminated,
        truncated,
        {"id": "x", "about": "rows of a test", "env": "Hopper-v4", **card},
    )


ENDS = ["", "terminated", "truncated"]


@pytest.mark.parametrize("last", ENDS)
def test_d4rls_form_reads_back_with_h5py_and_here(last: str, tmp_path: Path) -> None:
    facts = {"versions": {"mujoco": "3.6.0"}, "licence": "MIT", "reference": {"min": 1.0, "max": 5.0}}
    data = recorded(last, **facts)
    export.write(data, control(), tmp_path / "x.hdf5", "d4rl")
    with h5py.File(tmp_path / "x.hdf5") as file:
        for name, column in (
            ("observations", data.observation),
            ("actions", data.action),
            ("rewards", data.reward),
            ("next_observations", data.next_observation),
        ):
            assert file[name].dtype == np.float32
            assert file[name][()].tobytes() == np.ascontiguousarray(column).tobytes()
        for name, column in (("terminals", data.terminated), ("timeouts", data.truncated)):
            assert file[name].dtype == bool
            np.testing.assert_array_equal(file[name][()], column)
        assert json.loads(file["metadata/card"][()])["about"] == "rows of a test"
    back = load(tmp_path / "x.hdf5")
    assert back.table.tobytes() == data.table.tobytes()
    told = ("env", "versions", "licence", "reference")
    assert {name: back.card[name] for name in told} == {name: data.card[name] for name in told}
    assert back.card["about"] == "rows of a test"
    assert back.finished.tolist() == data.finished.tolist() == [True, True, True, last != ""]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "x.hdf5"]


@pytest.mark.parametrize("last", ENDS)
def test_minaris_form_reads_back_with_minari_and_here(last: str, tmp_path: Path) -> None:
    data = recorded(last, versions={"mujoco": "3.3.0"}, reference={"min": 1.0, "max": 5.0}, author="A. Person")
    place = tmp_path / "minari" / "mine" / "hopper" / "test-v3"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export.write(data, control(), place, "minari")
    assert package.list_local_datasets().keys() == {"mine/hopper/test-v3"}
    dataset = package.load_dataset("mine/hopper/test-v3")
    assert (dataset.total_episodes, dataset.total_steps) == (4, 13)
    assert dataset.recover_environment().spec.id == "Hopper-v4"
    for episode, start, end in zip(dataset.iterate_episodes(), data.episode_starts, data.episode_ends, strict=True):
        assert "EpisodeData" in repr(episode)
        rows = slice(start, end)
        observations = np.concatenate([data.observation[rows], data.next_observation[end - 1 : end]])
        for found, wanted in (
            (episode.observations, observations),
            (episode.actions, data.action[rows]),
            (episode.rewards, data.reward[rows]),
        ):
            assert found.dtype == np.float32
            assert found.tobytes() == np.ascontiguousarray(wanted).tobytes()
        np.testing.assert_array_equal(episode.terminations, data.terminated[rows])
        np.testing.assert_array_equal(episode.truncations, data.truncated[rows])
    np.testing.assert_allclose(package.get_normalized_score(dataset, np.array([1.0, 3.0])), [0.0, 0.5])
    back = Minari(control(), "mine/hopper/test-v3", clip_actions=False).load()
    assert back.table.tobytes() == data.table.tobytes()
    assert back.finished.tolist() == [True, True, True, last != ""]
    assert back.card["about"] == "rows of a test"
    assert (back.card["reference"], back.card["author"]) == ({"min": 1.0, "max": 5.0}, "A. Person")
    assert back.card["versions"]["mujoco"] == "3.3.0"


def test_a_folder_elsewhere_is_minaris_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export.write(recorded(), control(), tmp_path / "here" / "test-v0", "minari")
    assert os.environ["MINARI_DATASETS_PATH"] == str(tmp_path / "minari")
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["test-v0"]
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "here"))
    assert package.load_dataset("test-v0").total_steps == 13


@pytest.mark.parametrize(("recorded_in", "spec"), [("Hopper-v5", "Hopper-v5"), ("no_such_module:Own-v0", None)])
def test_the_recordings_environment_is_kept_and_never_imported(
    recorded_in: str, spec: str | None, tmp_path: Path
) -> None:
    export.write(recorded(env=recorded_in), control(), tmp_path / "test-v0", "minari")
    written = json.loads((tmp_path / "test-v0" / "data" / "metadata.json").read_text())
    assert (json.loads(written["env_spec"])["id"] if "env_spec" in written else None) == spec


def test_what_minaris_layout_cannot_hold_is_refused_and_d4rls_can(tmp_path: Path) -> None:
    data = recorded()
    data.next_observation[2] += 1
    with pytest.raises(UsageError, match=r"next observation of row 2 .*--format d4rl"):
        export.write(data, control(), tmp_path / "test-v0", "minari")
    assert list(tmp_path.iterdir()) == []
    export.write(data, control(), tmp_path / "test.hdf5", "d4rl")


@pytest.mark.parametrize(
    ("to", "form", "right"),
    [
        ("x.hdf5", None, "d4rl"),
        ("x.h5", None, "d4rl"),
        ("x", "d4rl", "d4rl"),
        ("x-v0", None, "minari"),
        ("a/x-v12", "minari", "minari"),
        ("x", None, "say which: --format d4rl|minari"),
        ("x.hdf5", "minari", "ends with a version, e.g. x-v0"),
    ],
)
def test_the_name_says_the_form(to: str, form: str | None, right: str) -> None:
    if right in export.FORMATS:
        assert export.form_of(Path(to), form) == right
    else:
        with pytest.raises(UsageError) as error:
            export.form_of(Path(to), form)
        assert right in str(error.value)


def test_nothing_is_overwritten_and_failures_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.hdf5").write_text("dear to me")
    with pytest.raises(UsageError, match="it exists"):
        export.write(recorded(), control(), tmp_path / "x.hdf5", "d4rl")
    assert (tmp_path / "x.hdf5").read_text() == "dear to me"
    with pytest.raises(RunError, match="cannot write"):
        export.write(recorded(), control(), tmp_path / "x.hdf5" / "y.hdf5", "d4rl")
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "minari" else find_spec(name))
    with pytest.raises(RunError, match=r"pip install 'rlbench\[minari\]'"):
        export.write(recorded(), control(), tmp_path / "x-v0", "minari")


def test_the_command_line_exports_and_imports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["env=hopper", "dataset=random", "dataset.size=700"]
    table = config.instantiate(config.compose(["algo=bc", *words]).dataset, env=control()).load().table
    for name in ("a.hdf5", "a-v0"):
        assert main(["data", "export", *words, "--to", str(tmp_path / name)]) == 0
        episodes = len(load(tmp_path / name).episode_ends)
        said = f"700 rows in {episodes} episodes, read back equal to the bit: dataset=file:{tmp_path / name}"
        assert said in capsys.readouterr().out
        assert load(tmp_path / name).table.tobytes() == table.tobytes()
    assert main(["data", "import", str(tmp_path / "a-v0"), "--to", str(tmp_path / "b.hdf5")]) == 0
    assert load(tmp_path / "b.hdf5").table.tobytes() == table.tobytes()
    for wrong, message in (
        (["export", *words], "--to PLACE is missing"),
        (["export", *words, "--to", str(tmp_path / "a.hdf5")], "it exists"),
        (["export", "dataset=none", "--to", str(tmp_path / "c.hdf5")], "has no data"),
        (["import", "--to", str(tmp_path / "c.hdf5")], "needs a file or folder"),
        (["import", "env=hopper", "--to", str(tmp_path / "c.hdf5")], "needs a file or folder"),
        (["import", str(tmp_path / "none"), "--to", str(tmp_path / "c.hdf5")], "does not exist"),
        (
            ["import", str(tmp_path / "a-v0"), "env=walker2d", "--to", str(tmp_path / "c.hdf5")],
            "was recorded in Hopper",
        ),
    ):
        assert main(["data", *wrong]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "c.hdf5").exists()


def test_minaris_collector_is_imported(tmp_path: Path) -> None:
    pytest.importorskip("jax", reason="Minari's collector needs it")
    collector = package.DataCollector(gymnasium.make("Hopper-v4"))
    steps, played = played_by_chance(collector, 60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        collector.create_dataset("mine/collected-v0")
    assert main(["data", "import", str(tmp_path / "minari/mine/collected-v0"), "--to", str(tmp_path / "x.hdf5")]) == 0
    check_recording(load(tmp_path / "x.hdf5"), steps, played)


# -- recording ---------------------------------------------------------------------------------------------------------


def played_by_chance(env: Any, steps: int) -> tuple[list[Any], int]:
    """Random steps as `step` gave them, with the observation and action before them; and how many episodes ended."""
    env.action_space.seed(0)
    observation, _ = env.reset(seed=0)
    seen, episodes = [], 0
    for _ in range(steps):
        action = env.action_space.sample()
        following, reward, terminated, truncated, _ = env.step(action)
        seen.append((observation.copy(), action.copy(), reward, following.copy(), terminated))
        observation = following
        if terminated or truncated:
            observation, _ = env.reset()
            episodes += 1
    return seen, episodes


def check_recording(data: Transitions, seen: list[Any], episodes: int) -> None:
    observation, action, reward, following, terminated = (np.array(each) for each in zip(*seen, strict=True))
    np.testing.assert_array_equal(data.observation, observation.astype(np.float32))
    np.testing.assert_array_equal(data.action, action)
    np.testing.assert_array_equal(data.reward, reward.astype(np.float32))
    np.testing.assert_array_equal(data.next_observation, following.astype(np.float32))
    np.testing.assert_array_equal(data.terminated, terminated)
    assert len(data.episode_ends) == episodes + (not terminated[-1])
    assert data.finished.all()


def test_a_recording_of_one_maze_is_none_of_another(tmp_path: Path) -> None:
    with Recorder(control("maze2d_umaze").make(), tmp_path / "x.hdf5") as maze:
        maze.reset(seed=0)
        for _ in range(20):
            maze.step(maze.action_space.sample())
    for here in ("maze2d_umaze", "maze2d_large"):
        data = FileDataset(control(here), str(tmp_path / "x.hdf5"), "keep", "stored", "keep", clip_actions=True)
        if here == "maze2d_umaze":
            assert len(data.load()) == 20
        else:
            with pytest.raises(UsageError, match="with layout=umaze, which is not env=maze2d_large"):
                data.load()


def test_a_recorder_writes_what_was_played(tmp_path: Path) -> None:
    with Recorder(gymnasium.make("Hopper-v4"), tmp_path / "x.hdf5") as env:
        seen, episodes = played_by_chance(env, 60)
        assert not (tmp_path / "x.hdf5").exists()
    check_recording(load(tmp_path / "x.hdf5"), seen, episodes)
    assert load(tmp_path / "x.hdf5").card["versions"]["mujoco"] == version("mujoco")
    with pytest.raises(UsageError, match="was recorded in Hopper-v4, which is not env=walker2d"):
        FileDataset(control("walker2d"), str(tmp_path / "x.hdf5"), "keep", "stored", "keep", clip_actions=True).load()
    assert load(tmp_path / "x.hdf5").truncated[-1] == 1  # close broke the last episode off
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "x.hdf5"]
    env.close()  # once more does no harm
    with h5py.File(tmp_path / "x.hdf5") as file:
        assert json.loads(file["metadata/card"][()])["env"] == "Hopper-v4"
    with pytest.raises(UsageError, match="exists: record into another file"):
        Recorder(gymnasium.make("Hopper-v4"), tmp_path / "x.hdf5")


SCRIPT = """
    import os, sys, gymnasium
    from rlbench.data.recording import Recorder
    env = Recorder(gymnasium.make("Hopper-v4"), sys.argv[1])
    env.action_space.seed(0)
    env.reset(seed=0)
    episodes = 0
    while True:
        *_, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            env.reset()
            episodes += 1
            if episodes == 5:
                env.step(env.action_space.sample())
                if sys.argv[2] == "kill":
                    os.kill(os.getpid(), 9)
                raise RuntimeError("the script is wrong")
"""


@pytest.mark.parametrize("death", ["kill", "error"])
def test_a_recording_survives_its_script(death: str, tmp_path: Path) -> None:
    path, partial = tmp_path / "x.hdf5", tmp_path / "x.hdf5.partial"
    code = textwrap.dedent(SCRIPT)
    done = subprocess.run([sys.executable, "-c", code, str(path), death], capture_output=True, check=False)
    assert done.returncode == (-9 if death == "kill" else 1)
    with pytest.raises(UsageError, match=r"does not exist; .*dataset=file:.*x\.hdf5\.partial"):
        load(path)
    first = load(partial)
    assert len(first.episode_ends) == 5
    assert first.terminated.sum() == 5
    assert first.card["env"] == "Hopper-v4"
    assert first.card["versions"].keys() == {"gymnasium", "mujoco", "numpy"}
    assert main(["data", "import", str(partial), "--to", str(tmp_path / "y.hdf5")]) == 0
    assert load(tmp_path / "y.hdf5").table.tobytes() == first.table.tobytes()
    with Recorder(gymnasium.make("Hopper-v4"), path) as env:  # goes on
        seen, episodes = played_by_chance(env, 30)
    whole = load(path)
    assert whole.table[: len(first)].tobytes() == first.table.tobytes()
    check_recording(Transitions(whole.table[len(first) :], 11, 3), seen, episodes)


def test_a_journal_is_whole_wherever_its_writer_died(tmp_path: Path) -> None:
    path, data = tmp_path / "x.partial", recorded("truncated")
    writer = journal.Journal(path, 11, 3, {"env": "Hopper-v4"})
    header = path.stat().st_size
    for start, end in zip(data.episode_starts, data.episode_ends, strict=True):
        writer.add(data.table[start:end])
    writer.close()
    whole = path.read_bytes()
    row = 4 * data.table.shape[1]
    for size in range(0, len(whole) + 1, 7):
        path.write_bytes(whole[:size])
        if size >= header:
            rows = (size - header) // row
            assert journal.load(path).table.tobytes() == data.table[:rows].tobytes()
        writer = journal.Journal(path, 11, 3, {"env": "Hopper-v4"})
        writer.add(data.table[:1])
        writer.close()
        mended = journal.load(path)
        rows = max(size - header, 0) // row
        assert len(mended) == rows + 1
        assert mended.finished.all()
        wanted = data.table[:rows].copy()
        if rows and not wanted[-1, -2:].any():
            wanted[-1, -1] = 1
        assert mended.table[:-1].tobytes() == wanted.tobytes()


def test_a_journal_has_one_writer_and_one_environment(tmp_path: Path) -> None:
    first = Recorder(gymnasium.make("Hopper-v4"), tmp_path / "x.hdf5")
    with pytest.raises(UsageError, match="another process is recording"):
        Recorder(gymnasium.make("Hopper-v4"), tmp_path / "x.hdf5")
    played_by_chance(first, 50)
    first.journal.close()
    with pytest.raises(UsageError, match="a recording of something else"):
        Recorder(gymnasium.make("Walker2d-v4"), tmp_path / "x.hdf5")
    with pytest.raises(UsageError, match="only boxes are recorded"):
        Recorder(gymnasium.make("CartPole-v1"), tmp_path / "y.hdf5")
    assert not (tmp_path / "y.hdf5.partial").exists()


@pytest.mark.parametrize(
    "header", [b"", b"{\n", b"[]\n", b'{"observation_dim": 11}\n', b'{"observation_dim": -1, "action_dim": true}\n']
)
def test_damaged_journals_are_refused(header: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(journal.MAGIC + header + bytes(2800))
    with pytest.raises(UsageError, match="the recording is damaged") as error:
        load(tmp_path / "x")
    assert "\n" not in str(error.value)


def test_a_step_without_a_reset_is_not_recorded(tmp_path: Path) -> None:
    env = Recorder(gymnasium.make("Hopper-v4"), tmp_path / "x.hdf5")
    with pytest.raises(UsageError, match="before reset"):
        env.step(np.zeros(3))
    env.close()
    assert not list(tmp_path.glob("x*"))  # nothing was played
