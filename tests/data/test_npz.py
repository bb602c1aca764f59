"""Flat npz files: read as the same arrays in HDF5 are, and nothing in them runs."""

import pickle
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from rlbench import config
from rlbench.data.file import FileDataset
from rlbench.data.transitions import Transitions
from rlbench.errors import UsageError


def rows(count: int = 6) -> dict[str, Any]:
    """Hopper rows: an episode of two that terminates, one of three that times out, one row of a third."""
    rng = np.random.default_rng(0)
    observations = rng.normal(size=(count, 11)).astype(np.float32)
    return {
        "observations": observations,
        "actions": rng.uniform(-1, 1, size=(count, 3)).astype(np.float32),
        "rewards": np.arange(1.0, count + 1, dtype=np.float32),
        "next_observations": observations + 1,
        "terminals": np.arange(count) == 1,
        "timeouts": np.arange(count) == 4,
    }


def load(path: Path) -> Transitions:
    env = config.instantiate(config.compose(["algo=bc", "env=hopper"]).env)
    return FileDataset(env, str(path), "keep", "stored", "keep", clip_actions=False).load()


def hdf5(path: Path, arrays: dict[str, Any]) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return path


@pytest.mark.parametrize("without", [(), ("next_observations",), ("timeouts",), ("timeouts", "next_observations")])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_reads_as_the_same_arrays_in_hdf5(without: tuple[str, ...], save: Any, tmp_path: Path) -> None:
    arrays = {name: array for name, array in rows().items() if name not in without}
    save(tmp_path / "x.npz", **arrays, infos=np.zeros(3))
    table = load(tmp_path / "x.npz").table
    assert len(table)
    np.testing.assert_array_equal(table, load(hdf5(tmp_path / "x.hdf5", arrays)).table)


def test_other_names_types_and_shapes_mean_the_same(tmp_path: Path) -> None:
    arrays = rows()
    np.savez(tmp_path / "x.npz", **arrays)
    old = {name: array.astype(np.float64) for name, array in arrays.items()}
    old["terminations"] = old.pop("terminals")[:, None]
    old["truncations"] = old.pop("timeouts")
    old["rewards"] = old["rewards"][:, None]
    np.savez(tmp_path / "y.npz", **old)
    np.testing.assert_array_equal(load(tmp_path / "x.npz").table, load(tmp_path / "y.npz").table)


def test_the_name_does_not_matter(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **rows())
    (tmp_path / "x.npz").rename(tmp_path / "x.hdf5")
    hdf5(tmp_path / "y.npz", rows())
    np.testing.assert_array_equal(load(tmp_path / "x.hdf5").table, load(tmp_path / "y.npz").table)


class Evil:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return Path.touch, (self.trace,)


def test_pickled_objects_are_not_loaded(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    np.savez(tmp_path / "x.npz", **{**rows(), "rewards": np.array([Evil(trace)] * 6, dtype=object)})
    with pytest.raises(UsageError, match="rewards holds Python objects"):
        load(tmp_path / "x.npz")
    for name in ("y.npz", "z.npy"):
        (tmp_path / name).write_bytes(pickle.dumps(Evil(trace)))
        with pytest.raises(UsageError, match="cannot be read"):
            load(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("observations.npy", pickle.dumps(Evil(trace)))
    with pytest.raises(UsageError, match=r"w\.npz"):
        load(tmp_path / "w.npz")
    assert not trace.exists()


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "nan": ({"rewards": np.array([0, 0, np.nan, 0, 0, 0])}, "rewards holds a NaN.*row 2"),
    "rows": ({"actions": np.zeros((5, 3))}, r"actions has shape \[5, 3\]"),
    "env": ({"observations": np.zeros((6, 17)), "next_observations": np.zeros((6, 17))}, "17 and 3 wide.*11 and 3"),
    "bounds": ({"actions": np.full((6, 3), 1.5)}, "bounds of env=hopper by up to 0.5"),
    "text": ({"rewards": np.array(["a"] * 6)}, "rewards is not an array of numbers"),
    "complex": ({"rewards": np.ones(6, dtype=complex)}, "rewards is not an array of numbers"),
    "records": ({"rewards": np.zeros(6, dtype=[("x", "f4")])}, "rewards is not an array of numbers"),
    "twice": ({"terminations": np.zeros(6)}, "both terminals and terminations"),
    "nothing": (dict.fromkeys(rows()), "no observations, actions, rewards, terminals"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_end_with_one_line(case: str, tmp_path: Path) -> None:
    change, message = BAD[case]
    arrays = {name: array for name, array in {**rows(), **change}.items() if array is not None}
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(UsageError, match=message) as error:
        load(tmp_path / "x.npz")
    assert "\n" not in str(error.value)
    assert "x.npz" in str(error.value)


def test_a_member_that_is_no_array_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **{name: array for name, array in rows().items() if name != "rewards"})
    with zipfile.ZipFile(tmp_path / "x.npz", "a") as archive:
        archive.writestr("rewards", "1 2 3 4 5 6")
    with pytest.raises(UsageError, match="rewards is not an array of numbers"):
        load(tmp_path / "x.npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damage_anywhere_is_noticed_or_harmless(save: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    save(path, **rows())
    whole, right = path.read_bytes(), load(path).table
    rng = np.random.default_rng(0)
    refused = 0
    for trial in range(60):
        content = bytearray(whole)
        if trial % 4:
            at = int(rng.integers(2, len(whole)))
            content[at : at + 4] = rng.bytes(len(content[at : at + 4]))
        else:
            del content[int(rng.integers(2, len(whole))) :]
        path.write_bytes(content)
        read: Transitions | None = None
        with suppress(UsageError):
            read = load(path)
        if read is None:
            refused += 1
        else:  # a name that nobody reads, a time stamp, or an array that may be missing
            assert read.table.shape[1] == right.shape[1]
            np.testing.assert_array_equal(read.reward, right[: len(read), 14])
    assert refused > 30
