"""D4RL's HDF5 layout: every variant that is about, and every way in which a file can be wrong."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from rlbench import config
from rlbench.build import build
from rlbench.data.file import FileDataset
from rlbench.data.layout import count_timeouts
from rlbench.envs.control import Control
from rlbench.errors import RunError, UsageError
from tests.data.helpers import OPTIONS, control

SHARED = Path(__file__).parents[3] / "shared" / "data"


def six_rows() -> dict[str, Any]:
    """Six hopper rows: an episode of two that terminates, one of three that times out, one row of a third."""
    rng = np.random.default_rng(0)
    observations = rng.normal(size=(6, 11)).astype(np.float32)
    following = np.concatenate([observations[1:], rng.normal(size=(1, 11))]).astype(np.float32)
    following[[1, 4]] = rng.normal(size=(2, 11))
    return {
        "observations": observations,
        "actions": rng.uniform(-1, 1, size=(6, 3)).astype(np.float32),
        "rewards": np.arange(1.0, 7.0, dtype=np.float32),
        "next_observations": following,
        "terminals": np.array([0, 1, 0, 0, 0, 0], dtype=bool),
        "timeouts": np.array([0, 0, 0, 0, 1, 0], dtype=bool),
    }


def save(path: Path, arrays: dict[str, Any]) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, compression="gzip" if np.ndim(array) else None)
    return path


def load(path: Path, env: str = "hopper", **options: Any) -> Any:
    return FileDataset(control(env), str(path), **OPTIONS | options).load()


def test_stored_next_observations_are_taken(tmp_path: Path) -> None:
    rows = six_rows()
    data = load(save(tmp_path / "x.hdf5", {**rows, "infos/qpos": np.zeros((6, 6)), "metadata/iteration": 3}))
    np.testing.assert_array_equal(data.observation, rows["observations"])
    np.testing.assert_array_equal(data.action, rows["actions"])
    np.testing.assert_array_equal(data.reward, rows["rewards"])
    np.testing.assert_array_equal(data.next_observation, rows["next_observations"])
    np.testing.assert_array_equal(data.terminated, rows["terminals"])
    np.testing.assert_array_equal(data.truncated, rows["timeouts"])
    np.testing.assert_array_equal(data.episode_starts, [0, 2, 5])


def test_old_types_and_shapes_read_alike(tmp_path: Path) -> None:
    rows = six_rows()
    old = {name: array.astype(np.float64) for name, array in rows.items()}
    for name in ("rewards", "terminals", "timeouts"):
        old[name] = old[name][:, None]
    new = load(save(tmp_path / "new.hdf5", rows))
    np.testing.assert_array_equal(load(save(tmp_path / "old.hdf5", old)).table, new.table)


def test_missing_next_observations_are_shifted_within_episodes(tmp_path: Path) -> None:
    rows = six_rows()
    del rows["next_observations"]
    data = load(save(tmp_path / "x.hdf5", rows))
    kept = [0, 1, 2, 3]  # the timeout's and the last row's next observation are nowhere
    np.testing.assert_array_equal(data.observation, rows["observations"][kept])
    np.testing.assert_array_equal(data.next_observation[[0, 2, 3]], rows["observations"][[1, 3, 4]])
    np.testing.assert_array_equal(data.next_observation[1], rows["observations"][1])  # terminated: masked
    np.testing.assert_array_equal(data.terminated, [0, 1, 0, 0])
    np.testing.assert_array_equal(data.truncated, [0, 0, 0, 1])
    np.testing.assert_array_equal(data.episode_starts, [0, 2])
    assert "2 rows without a known next observation" in data.card["about"]


def test_an_episode_of_one_lost_row_cuts_no_other(tmp_path: Path) -> None:
    rows = six_rows()
    del rows["next_observations"]
    rows["timeouts"] = np.array([0, 0, 1, 0, 0, 1], dtype=bool)  # right after the terminal row
    data = load(save(tmp_path / "x.hdf5", rows))
    np.testing.assert_array_equal(data.observation, rows["observations"][[0, 1, 3, 4]])
    np.testing.assert_array_equal(data.terminated, [0, 1, 0, 0])
    np.testing.assert_array_equal(data.truncated, [0, 0, 0, 1])


def test_missing_timeouts_are_found_by_next_observations(tmp_path: Path) -> None:
    rows = six_rows()
    del rows["timeouts"]
    data = load(save(tmp_path / "x.hdf5", rows))
    np.testing.assert_array_equal(data.truncated, [0, 0, 0, 0, 1, 0])


def test_missing_timeouts_are_counted_without_next_observations(tmp_path: Path) -> None:
    terminated = np.array([0, 1, 0, 0, 0, 0, 0, 0, 0, 1], dtype=bool)
    np.testing.assert_array_equal(np.flatnonzero(count_timeouts(terminated, 3)), [4, 7])
    rng = np.random.default_rng(0)
    rows = {
        "observations": rng.normal(size=(2500, 11)),
        "actions": rng.uniform(-1, 1, size=(2500, 3)),
        "rewards": np.ones(2500),
        "terminals": np.zeros(2500),
    }
    data = load(save(tmp_path / "x.hdf5", rows))
    assert len(data) == 2497
    np.testing.assert_array_equal(data.episode_returns(), [999, 999, 499])


def test_the_row_at_a_timeout_is_dropped_where_asked_for(tmp_path: Path) -> None:
    rows = six_rows()
    data = load(save(tmp_path / "x.hdf5", rows), timeout_rows="drop")
    kept = [0, 1, 2, 3, 5]
    np.testing.assert_array_equal(data.observation, rows["observations"][kept])
    np.testing.assert_array_equal(data.next_observation, rows["next_observations"][kept])
    np.testing.assert_array_equal(data.terminated, [0, 1, 0, 0, 0])
    np.testing.assert_array_equal(data.truncated, [0, 0, 0, 1, 0])  # the row before it ends the episode


def test_next_observations_are_shifted_where_asked_for(tmp_path: Path) -> None:
    rows = six_rows()
    path = save(tmp_path / "x.hdf5", rows)
    data = load(path, next_obs="shifted")
    np.testing.assert_array_equal(data.observation, rows["observations"][[0, 1, 2, 3]])
    np.testing.assert_array_equal(data.next_observation, rows["observations"][[1, 1, 3, 4]])
    np.testing.assert_array_equal(data.truncated, [0, 0, 0, 1])
    np.testing.assert_array_equal(load(path, next_obs="shifted", timeout_rows="drop").table, data.table)
    del rows["next_observations"]
    np.testing.assert_array_equal(load(save(tmp_path / "y.hdf5", rows)).table, data.table)


def test_an_unfinished_last_episode_is_dropped_where_asked_for(tmp_path: Path) -> None:
    rows = six_rows()
    data = load(save(tmp_path / "x.hdf5", rows), tail="drop")
    np.testing.assert_array_equal(data.observation, rows["observations"][:5])
    assert data.finished.all()
    shifted = load(tmp_path / "x.hdf5", tail="drop", next_obs="shifted")
    np.testing.assert_array_equal(shifted.observation, rows["observations"][:4])
    unfinished = {**rows, "terminals": np.zeros(6), "timeouts": np.zeros(6)}
    assert len(load(save(tmp_path / "z.hdf5", unfinished))) == 6
    with pytest.raises(UsageError, match=r"no complete transition \(dataset.tail=keep"):
        load(tmp_path / "z.hdf5", tail="drop")


@pytest.mark.parametrize("options", [{}, {"timeout_rows": "drop", "next_obs": "shifted", "tail": "drop"}])
def test_terminated_rows_always_stay(options: dict[str, Any], tmp_path: Path) -> None:
    """Also one that is flagged as a timeout too, and one that ends the file."""
    flags = {"terminals": np.array([0, 1, 0, 0, 1, 1]), "timeouts": np.array([0, 1, 0, 0, 0, 0])}
    rows = {**six_rows(), **flags}
    del rows["next_observations"]
    data = load(save(tmp_path / "x.hdf5", rows), **options)
    np.testing.assert_array_equal(data.observation, rows["observations"])
    np.testing.assert_array_equal(data.terminated, rows["terminals"])
    assert not data.truncated.any()


def qlearning(rows: dict[str, Any]) -> dict[str, list[Any]]:
    """What `d4rl.qlearning_dataset` does, from its description: the reference of drop, shifted, keep."""
    steps = [i for i in range(len(rows["rewards"]) - 1) if not rows["timeouts"][i]]
    return {
        "observation": [rows["observations"][i] for i in steps],
        "action": [rows["actions"][i] for i in steps],
        "reward": [rows["rewards"][i] for i in steps],
        "terminated": [rows["terminals"][i] for i in steps],
        "next_observation": [rows["observations"][i + 1] for i in steps],
    }


def test_the_options_make_d4rls_q_learning_data(tmp_path: Path) -> None:
    rows = six_rows()
    wanted = qlearning(rows)
    data = load(save(tmp_path / "x.hdf5", rows), timeout_rows="drop", next_obs="shifted")
    for name in ("observation", "action", "reward", "terminated"):
        np.testing.assert_array_equal(getattr(data, name), wanted[name])
    alive = data.terminated == 0  # beyond a terminal row nothing is read
    np.testing.assert_array_equal(data.next_observation[alive], np.stack(wanted["next_observation"])[alive])


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "nan": ({"rewards": np.array([0, 0, np.nan, 0, 0, 0])}, "rewards holds a NaN.*row 2"),
    "infinity": ({"observations": np.full((6, 11), np.inf)}, "observations holds a NaN or an infinity"),
    "too large for float32": ({"rewards": np.full(6, 1e300)}, "rewards holds"),
    "rows": ({"actions": np.zeros((5, 3))}, r"actions has shape \[5, 3\]"),
    "dimensions": ({"observations": np.zeros((6, 11, 2))}, "observations has shape"),
    "two rewards": ({"rewards": np.zeros((6, 2))}, r"rewards has shape \[6, 2\]"),
    "flags": ({"terminals": np.full(6, 2)}, "terminals holds values other than 0 and 1"),
    "bounds": ({"actions": np.full((6, 3), 1.5)}, "bounds of env=hopper by up to 0.5.*clip_actions=true"),
    "env": ({"observations": np.zeros((6, 17)), "next_observations": np.zeros((6, 17))}, "17 and 3 wide.*11 and 3"),
    "widths": ({"next_observations": np.zeros((6, 12))}, "different widths"),
    "empty": ({name: array[:0] for name, array in six_rows().items()}, "is empty"),
    "one row": ({name: array[2:3] for name, array in six_rows().items() if name != "next_observations"}
                | {"next_observations": None}, "no complete transition"),
    "no actions": ({"actions": None}, "no actions .*observations, rewards"),
    "a group": ({"rewards": None, "rewards/x": np.zeros(6)}, "no rewards"),
    "text": ({"rewards": b"abc"}, "no rewards"),
    "a number": ({"observations": 3.0}, "no observations"),
    "objects": ({"rewards": np.array([b"cos\nsystem\n"] * 6)}, "no rewards"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_files_end_with_one_line(case: str, tmp_path: Path) -> None:
    change, message = BAD[case]
    rows = {name: array for name, array in {**six_rows(), **change}.items() if array is not None}
    with pytest.raises(UsageError, match=message) as error:
        load(save(tmp_path / "x.hdf5", rows))
    assert "\n" not in str(error.value)
    assert "x.hdf5" in str(error.value)


def test_arrays_that_are_only_told_of_do_not_fill_the_memory(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file.create_dataset("observations", (10**13, 11), dtype="f4", chunks=True)
    with pytest.raises(UsageError, match=r"x\.hdf5: it tells of more than fits into memory") as error:
        load(tmp_path / "x.hdf5")
    assert "\n" not in str(error.value)


def test_nothing_outside_a_file_is_read_and_nothing_in_it_is_run(tmp_path: Path) -> None:
    """Object references, links into other files and arrays stored in or assembled from them are no numbers of its."""
    save(tmp_path / "other.hdf5", six_rows())
    (tmp_path / "raw").write_bytes(np.zeros(6, dtype=np.float32).tobytes())
    layout = h5py.VirtualLayout(shape=(6,), dtype="f4")
    layout[:] = h5py.VirtualSource(tmp_path / "other.hdf5", "rewards", shape=(6,))
    for case in ("reference", "link", "link to a link", "virtual", "external"):
        path = save(tmp_path / "x.hdf5", {k: v for k, v in six_rows().items() if k != "rewards"})
        with h5py.File(path, "a") as file:
            match case:
                case "reference":
                    file.create_dataset("rewards", data=[file["actions"].ref] * 6, dtype=h5py.ref_dtype)
                case "link":
                    file["rewards"] = h5py.ExternalLink("other.hdf5", "rewards")
                case "link to a link":
                    file["other"] = h5py.ExternalLink("other.hdf5", "/")
                    file["rewards"] = h5py.SoftLink("/other/rewards")
                case "virtual":
                    file.create_virtual_dataset("rewards", layout)
                case "external":
                    file.create_dataset("rewards", (6,), "f4", external=[(tmp_path / "raw", 0, 24)])
        with pytest.raises(UsageError, match="it has no rewards"):
            load(path)


def test_actions_are_clipped_where_asked_for(tmp_path: Path) -> None:
    path = save(tmp_path / "x.hdf5", {**six_rows(), "actions": np.full((6, 3), 1.5)})
    assert load(path, clip_actions=True).action.max() == 1


def test_actions_beyond_what_a_policy_can_do_are_refused(tmp_path: Path) -> None:
    """Within the bounds of gymnasium's inverted pendulum, which takes forces up to 3."""
    env = Control("balance", "InvertedPendulum-v5")
    rows = {**six_rows(), "observations": np.zeros((6, 4)), "next_observations": np.zeros((6, 4))}
    for force, fits in ((2.0, False), (0.9, True)):
        path = save(tmp_path / f"{force}.hdf5", {**rows, "actions": np.full((6, 1), force)})
        dataset = FileDataset(env, str(path), **OPTIONS)
        if fits:
            assert dataset.load().action.max() == np.float32(force)
        else:
            with pytest.raises(UsageError, match=r"actions reach 2 in env=balance, but policies act in \[-1, 1\]"):
                dataset.load()


def test_what_is_no_hdf5_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        load(tmp_path / "none.hdf5")
    with pytest.raises(UsageError, match="is a folder"):
        load(tmp_path)
    (tmp_path / "text.hdf5").write_text("observations")
    with pytest.raises(UsageError, match="cannot be read as HDF5"):
        load(tmp_path / "text.hdf5")
    (tmp_path / "nothing.hdf5").write_bytes(b"")
    with pytest.raises(UsageError, match="cannot be read as HDF5"):
        load(tmp_path / "nothing.hdf5")
    whole = save(tmp_path / "whole.hdf5", six_rows()).read_bytes()
    (tmp_path / "half.hdf5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match="cannot be read as HDF5"):
        load(tmp_path / "half.hdf5")
    (tmp_path / "byte.npz").write_bytes(b"P")
    with pytest.raises(UsageError, match=r"byte\.npz: it cannot be read as npz"):
        load(tmp_path / "byte.npz")


def test_identity_is_the_content(tmp_path: Path) -> None:
    env = control("hopper")
    path, copy = save(tmp_path / "x.hdf5", six_rows()), tmp_path / "y.hdf5"
    copy.write_bytes(path.read_bytes())
    first = FileDataset(env, str(path), **OPTIONS).identity()
    assert first == FileDataset(env, str(copy), **OPTIONS).identity()
    changes = ({"clip_actions": True}, {"timeout_rows": "drop"}, {"next_obs": "shifted"}, {"tail": "drop"})
    assert all(first != FileDataset(env, str(path), **OPTIONS | change).identity() for change in changes)
    save(path, {**six_rows(), "rewards": np.zeros(6)})
    assert FileDataset(env, str(path), **OPTIONS).identity() != first
    np.testing.assert_array_equal(load(path).reward, np.zeros(6))


@pytest.mark.skipif(not SHARED.is_dir(), reason="real recordings are not beside this checkout")
@pytest.mark.parametrize(
    ("env", "file", "rows", "returns"),
    [
        ("hopper", "mujoco-experts/Hopper-v4.hdf5", 2000, [3717.2, 3717.9]),
        ("halfcheetah", "mujoco-experts/HalfCheetah-v4.hdf5", 2000, [4067.7, 4001.9]),
        ("door", "adroit-door-human/door-human.hdf5", 6729 - 25, None),
    ],
)
def test_real_recordings(env: str, file: str, rows: int, returns: list[float] | None) -> None:
    data = load(SHARED / file, env, clip_actions=True)
    assert len(data) == rows
    if returns is not None:
        np.testing.assert_allclose(data.episode_returns(), returns, atol=0.1)
    else:
        assert len(data.episode_starts) == 25
        assert (data.observation_dim, data.action_dim) == (39, 28)


def test_an_environment_that_is_not_installed_is_named_in_one_line() -> None:
    env = Control("far", "no_such_package:Far-v0", install="rlbench[far]")
    assert not env.installed
    with pytest.raises(RunError, match=r"env=far .*pip install 'rlbench\[far\]'"):
        env.make()


def test_adroit_door_learns_and_is_judged(tmp_path: Path) -> None:
    """Random actions in the robotics package's own environment, through the file and back into it."""
    env = control("door").make()
    first, _ = env.reset(seed=0)
    env.action_space.seed(0)
    actions = np.stack([env.action_space.sample() for _ in range(60)])
    steps = [env.step(action) for action in actions]
    observations = np.stack([first, *(step[0] for step in steps)])
    arrays = {
        "observations": observations[:-1],
        "next_observations": observations[1:],
        "actions": actions,
        "rewards": np.array([step[1] for step in steps]),
        "terminals": np.zeros(60),
        "timeouts": np.arange(60) == 59,
    }
    save(tmp_path / "door.hdf5", arrays)
    words = ["algo=bc", "env=door", f"dataset=file:{tmp_path / 'door.hdf5'}", "steps=10", "eval.episodes=1"]
    algorithm, _ = build(config.compose([*words, "algo.batch_size=16"]))
    algorithm.train(10)
    result = algorithm.evaluate()
    assert result["eval/length"].tolist() == [200]
    assert -20 < float(result["eval/normalized_score"][0]) < 20
