"""V-D4RL's files, written here in both layouts: frames tell their own number, so that every row can be held to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from rlbench import config
from rlbench.data.transitions import Transitions
from rlbench.data.vd4rl import VD4RL
from rlbench.errors import UsageError

PENDULUM = ["algo=sac", "env=pendulum_pixels"]
LENGTHS = [[4, 3], [5]]
"""Frames of the episodes of two files."""
TERMINATED = {1}
"""Numbers of the episodes whose last discount is 0; the others are cut."""


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLBENCH_CACHE", str(tmp_path / "cache"))


def loaded(folder: Path, size: int = 15) -> Transitions:
    """As seen in the pendulum, which has an action as wide as these, and needs no dm_control."""
    return VD4RL(config.instantiate(config.compose([*PENDULUM, f"env.size={size}"]).env), str(folder)).load()


def episode(number: int, first: int, count: int) -> dict[str, np.ndarray]:
    """Frame f is of the colour f; beside it stand the action f / 100 and the reward f, but beside an episode's first,
    where both are such that they would be noticed."""
    f = np.arange(first, first + count)
    found: dict[str, np.ndarray] = {
        "observation": np.broadcast_to(f.astype(np.uint8)[:, None, None, None], (count, 3, 15, 15)).copy(),
        "action": (f / 100).astype(np.float32)[:, None],
        "reward": f.astype(np.float32),
        "discount": np.ones(count, dtype=np.float32),
        "step_type": np.array([0, *[1] * (count - 2), 2]),
    }
    found["action"][0], found["reward"][0] = -0.99, -1000
    found["discount"][-1] = number not in TERMINATED
    return found


def episodes() -> list[list[dict[str, np.ndarray]]]:
    files: list[list[dict[str, np.ndarray]]] = []
    number = first = 0
    for lengths in LENGTHS:
        files.append([])
        for count in lengths:
            files[-1].append(episode(number, first, count))
            number, first = number + 1, first + count
    return files


def shards(folder: Path) -> Path:
    folder.mkdir()
    for i, parts in enumerate(episodes()):
        with h5py.File(folder / f"shard_{i}.hdf5", "w") as file:
            for name in parts[0]:
                file.create_dataset(name, data=np.concatenate([part[name] for part in parts]), compression="gzip")
    return folder


def npzs(folder: Path, **changes: Any) -> Path:
    """With other arrays in the last, which has five frames."""
    folder.mkdir()
    for i, part in enumerate(part for parts in episodes() for part in parts):
        kind = part.pop("step_type")
        image = part.pop("observation").transpose(0, 2, 3, 1)
        arrays = {**part, "image": image, "is_first": kind == 0, "is_last": kind == 2, **(changes if i == 2 else {})}
        np.savez_compressed(folder / f"{i}-{len(kind)}.npz", **arrays)
    return folder


@pytest.mark.parametrize("layout", [shards, npzs])
def test_every_row_has_its_frames_action_reward_and_end(tmp_path: Path, layout: Any) -> None:
    data = loaded(layout(tmp_path / "84px"))
    assert data.frames is not None
    assert data.frames.shape == (12, 3, 15, 15)
    np.testing.assert_array_equal(data.frames.reshape(12, -1), np.arange(12)[:, None].repeat(675, 1))
    expected: list[list[float]] = []
    ends: list[list[bool]] = []
    first = 0
    for number, count in enumerate(count for lengths in LENGTHS for count in lengths):
        for f in range(first, first + count - 1):
            seen, following = ([max(first, each - back) for back in (2, 1, 0)] for each in (f, f + 1))
            expected.append([*seen, (f + 1) / 100, f + 1, *following])
            ends.append([False, False])
        ends[-1] = [number in TERMINATED, number not in TERMINATED]
        first += count
    np.testing.assert_array_equal(data.table[:, :-2], np.array(expected, dtype=np.float32))
    np.testing.assert_array_equal(data.table[:, -2:], np.array(ends, dtype=np.float32))
    assert isinstance(data.frames, np.memmap)


def test_both_layouts_are_the_same_data(tmp_path: Path) -> None:
    assert loaded(shards(tmp_path / "84px")).hash() == loaded(npzs(tmp_path / "64px")).hash()


def changed(folder: Path, name: str, value: Any) -> Path:
    """The second shard with another array, or without it."""
    with h5py.File(shards(folder) / "shard_1.hdf5", "r+") as file:
        del file[name]
        if value is not None:
            file[name] = value
    return folder


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("reward", None, "it has no reward"),
        ("reward", np.zeros(4), r"reward has shape \[4\]"),
        ("reward", np.array([0, 1, np.nan, 1, 1]), "reward holds a NaN"),
        ("reward", np.array([b"0"] * 5), "reward is not an array of numbers"),
        ("action", np.full((5, 1), 1.5), "actions leave the bounds"),
        ("action", np.zeros((5, 2)), "3 and 2 wide"),
        ("step_type", np.array([0, 1, 1, 1, 1]), "not whole"),
        ("step_type", np.array([1, 1, 1, 1, 2]), "not whole"),
        ("step_type", np.array([0, 1, 0, 1, 2]), "not whole"),
        ("discount", np.array([1, 1, 0, 1, 1]), "a discount is 0 before the end"),
        ("observation", np.zeros((5, 3, 15, 15)), "frames are float64"),
        ("observation", np.zeros((4, 3, 15, 15), dtype=np.uint8), "it has 4 frames"),
    ],
)
def test_what_is_not_right_is_refused(tmp_path: Path, name: str, value: Any, message: str) -> None:
    with pytest.raises(UsageError, match=rf"shard_1.hdf5: .*{message}"):
        loaded(changed(tmp_path / "84px", name, value))


@pytest.mark.parametrize("name", ["is_first", "is_last"])
def test_ends_that_are_not_told_of_each_frame_are_refused(tmp_path: Path, name: str) -> None:
    for i, array in enumerate((np.array(True), np.zeros(0, dtype=bool), np.ones(4, dtype=bool))):
        shape = list(array.shape)
        with pytest.raises(UsageError, match=rf"2-5.npz: {name} has shape \[{str(shape)[1:-1]}\]: wanted one for each"):
            loaded(npzs(tmp_path / str(i), **{name: array}))


def test_damaged_files_other_sizes_and_other_folders_are_refused(tmp_path: Path) -> None:
    folder = shards(tmp_path / "84px")
    with pytest.raises(UsageError, match=r"frames are uint8 \[3, 15, 15\].*\[3, 16, 16\]: env.size="):
        loaded(folder, 16)
    half = (folder / "shard_1.hdf5").read_bytes()[:3000]
    (folder / "shard_1.hdf5").write_bytes(half)
    with pytest.raises(UsageError, match=r"shard_1\.hdf5: it cannot be read as HDF5"):
        loaded(folder)
    small = npzs(tmp_path / "64px", is_last=np.zeros(5, dtype=bool))
    with pytest.raises(UsageError, match="not whole"):
        loaded(small)
    for path in small.iterdir():
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UsageError, match="it cannot be read as npz"):
        loaded(small)
    (tmp_path / "empty").mkdir()
    for place, what in (("empty", "holds neither"), ("none", "is no folder")):
        with pytest.raises(UsageError, match=what):
            loaded(tmp_path / place)
    with pytest.raises(UsageError, match=r"env=pendulum shows none"):
        VD4RL(config.instantiate(config.compose(["algo=sac", "env=pendulum"]).env), str(folder))
