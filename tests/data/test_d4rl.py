"""D4RL's data sets: the manifest, where files are looked for and fetched from, and each family's peculiarities."""

from __future__ import annotations

import csv
import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from rlbench import config, paths
from rlbench.data import d4rl, store
from rlbench.data.d4rl import D4RL
from rlbench.data.transitions import Transitions
from rlbench.envs.control import Control
from rlbench.errors import RunError, UsageError
from rlbench.verbs import data as verb
from tests.data.helpers import OPTIONS, control

SHARED = Path(__file__).parents[3] / "shared" / "data" / "d4rl-manifest" / "d4rl_manifest.tsv"
NOWHERE = "http://127.0.0.1:9/"


@pytest.fixture(autouse=True)
def _nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No network, and a home of its own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("D4RL_DATASET_DIR", raising=False)
    monkeypatch.setattr(d4rl, "MIRRORS", (NOWHERE,))


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that a server on this machine serves as D4RL's does."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setattr(d4rl, "MIRRORS", (NOWHERE, f"http://127.0.0.1:{server.server_address[1]}/"))
        yield folder
        server.shutdown()


def elsewhere(name: str) -> Control:
    """An environment whose package is not installed: its data can be read all the same."""
    return Control(name, "no_such_package:Env-v0")


def rows(d: int = 11, a: int = 3) -> dict[str, Any]:
    """Six rows: an episode of two that terminates, one of three that times out, one row of a third."""
    rng = np.random.default_rng(0)
    return {
        "observations": rng.normal(size=(6, d)).astype(np.float32),
        "actions": rng.uniform(-1, 1, size=(6, a)).astype(np.float32),
        "rewards": np.arange(1.0, 7.0, dtype=np.float32),
        "terminals": np.array([0, 1, 0, 0, 0, 0], dtype=bool),
        "timeouts": np.array([0, 0, 0, 0, 1, 0], dtype=bool),
    }


def save(path: Path, arrays: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array)
    return path


def load(id: str, arrays: dict[str, Any], env: Control | None = None, **options: Any) -> Transitions:
    """`arrays` as the file of a data set, which lies in the cache."""
    save(paths.cache_root() / "d4rl" / d4rl.entry(id).file, arrays)
    return D4RL(env or elsewhere(d4rl.entry(id).env), id, **OPTIONS | options).load()


# -- the manifest ------------------------------------------------------------------------------------------------------


def test_the_manifest_is_complete() -> None:
    known = d4rl.manifest()
    assert len(known) == 124
    assert len({entry.file for entry in known.values()}) == 124
    with_sums = [entry for entry in known.values() if entry.sha256]
    assert len(with_sums) == 26
    assert all(entry.bytes and len(entry.sha256 or "") == 64 for entry in with_sums)
    scored = [entry for entry in known.values() if entry.ref_min is not None and entry.ref_max is not None]
    assert all((entry.ref_min or 0) < (entry.ref_max or 0) for entry in scored)
    assert {id for id in known.keys() - {entry.id for entry in scored} if "eval" not in id} == {"ant-random-expert-v0"}
    entry = known["hopper-medium-replay-v2"]
    assert (entry.env, entry.level, entry.bytes) == ("hopper", "medium_replay", 75854457)
    assert (entry.ref_min, entry.ref_max, entry.steps) == (-20.272305, 3234.3, 1000)
    assert known["antmaze-large-diverse-v2"].env == "antmaze_large"
    assert known["maze2d-umaze-dense-v1"].env == "maze2d_umaze_dense"
    assert known["kitchen-mixed-v0"].steps is None


@pytest.mark.skipif(not SHARED.is_file(), reason="D4RL's table is not beside this checkout")
def test_the_manifest_is_d4rls() -> None:
    with SHARED.open() as file:
        for row in csv.DictReader(file, delimiter="\t"):
            entry = d4rl.entry(row["dataset_id"])
            assert row["url"].endswith(f"/datasets/offline_rl/{entry.url}")
            assert (str(entry.bytes or ""), entry.sha256 or "") == (row["bytes"], row["sha256"])
            for ours, theirs in ((entry.ref_min, "ref_min_score"), (entry.ref_max, "ref_max_score")):
                assert ours == (float(row[theirs]) if row[theirs] else None)


def test_the_manifest_needs_neither_torch_nor_numpy() -> None:
    seen = "{'torch', 'numpy'} & sys.modules.keys()"
    code = f"import sys; from rlbench.data import d4rl; d4rl.manifest(); sys.exit(bool({seen}))"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode == 0


def test_an_unknown_id_is_answered_with_the_nearest() -> None:
    for wrong, right in (
        ("hopper-medum-v2", "dataset=d4rl/hopper-medium-v2"),
        ("hopper_medium_replay-v2", "dataset=d4rl/hopper-medium-replay-v2"),
        ("antmaze-umaze-v1", "dataset=d4rl/antmaze-umaze-v"),
        ("xyz", "there are data of ant, antmaze, .*relocate, walker2d"),
    ):
        with pytest.raises(UsageError, match=right):
            D4RL(control(), wrong, **OPTIONS)


def test_another_environments_data_are_refused_before_they_are_fetched() -> None:
    with pytest.raises(UsageError, match="not for env=walker2d\nchoose env=hopper"):
        D4RL(elsewhere("walker2d"), "hopper-medium-v2", **OPTIONS)
    D4RL(elsewhere("my_hopper"), "hopper-medium-v2", **OPTIONS)


# -- where files are ---------------------------------------------------------------------------------------------------


def test_d4rls_own_folders_are_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = d4rl.entry("hopper-medium-v1")
    assert d4rl.find(entry) is None
    cached = save(paths.cache_root() / "d4rl" / entry.file, rows())
    assert d4rl.find(entry) == cached
    home = save(tmp_path / "home" / ".d4rl" / "datasets" / entry.file, rows())
    assert d4rl.find(entry) == home
    monkeypatch.setenv("D4RL_DATASET_DIR", str(tmp_path / "named"))
    assert d4rl.find(entry) == home
    named = save(tmp_path / "named" / entry.file, rows())
    assert d4rl.find(entry) == named


def test_a_file_of_the_right_name_and_wrong_content_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "home" / ".d4rl" / "datasets" / "hopper_medium-v2.hdf5", rows())
    with pytest.raises(UsageError, match="bytes of 152,756,557: remove it, or complete it"):
        D4RL(control(), "hopper-medium-v2", **OPTIONS).load()
    entry = d4rl.Entry(**{**vars(d4rl.entry("hopper-medium-v2")), "bytes": path.stat().st_size})
    monkeypatch.setitem(d4rl.manifest(), "hopper-medium-v2", entry)
    with pytest.raises(UsageError, match=r"hopper_medium-v2.hdf5 was altered \(sha256 .*remove it"):
        D4RL(control(), "hopper-medium-v2", **OPTIONS).load()


def test_what_is_not_here_is_downloaded_once_and_read_without_file_or_network(
    served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = save(served / "gym_mujoco_v1" / "hopper_medium-v1.hdf5", rows())
    dataset = D4RL(control(), "hopper-medium-v1", **OPTIONS)
    data = dataset.load()
    fetched = paths.cache_root() / "d4rl" / "hopper_medium-v1.hdf5"
    assert fetched.read_bytes() == file.read_bytes()
    assert data.card["id"] == "d4rl/hopper-medium-v1"
    assert data.card["level"] == "medium"
    assert data.card["env"] == "Hopper-v4"
    assert data.card["source"].endswith("/gym_mujoco_v1/hopper_medium-v1.hdf5")
    assert data.card["licence"] == "CC BY 4.0"
    assert data.card["versions"] == {"mujoco": "2"}  # a later MuJoCo than 3.4 would be doubted
    assert data.card["reference"] == {"min": -20.272305, "max": 3234.3}
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    assert data.card["file"] == {"sha256": sha256, "rows": 6}

    fetched.unlink()
    monkeypatch.setattr(d4rl, "MIRRORS", (NOWHERE,))
    again = dataset.load()
    assert again.fingerprint == data.fingerprint
    assert isinstance(again.table, np.memmap)
    with pytest.raises(RunError, match="Connection refused"):
        D4RL(control(), "hopper-medium-v1", **OPTIONS | {"tail": "drop"}).load()


def test_identity_holds_all_that_determines_the_content() -> None:
    first = D4RL(control(), "hopper-medium-v2", **OPTIONS).identity()
    assert first["file"] == d4rl.entry("hopper-medium-v2").sha256
    changes = ({"clip_actions": True}, {"timeout_rows": "drop"}, {"next_obs": "shifted"}, {"tail": "drop"})
    others = [D4RL(control(), "hopper-medium-v2", **OPTIONS | change).identity() for change in changes]
    assert all(first != other for other in [*others, D4RL(control(), "hopper-medium-v1", **OPTIONS).identity()])


def test_offline_it_says_soon_where_the_file_belongs_and_what_else_there_is() -> None:
    began = time.monotonic()
    with pytest.raises(RunError) as error:
        D4RL(control(), "hopper-full-replay-v2", **OPTIONS).load()
    assert time.monotonic() - began < 3
    first, second = str(error.value).split("\n")
    assert f"{NOWHERE}gym_mujoco_v2/hopper_full_replay-v2.hdf5: Connection refused" in first
    assert f"put the file at {paths.cache_root() / 'd4rl' / 'hopper_full_replay-v2.hdf5'}, or take rlbench's" in second
    assert second.endswith("own data, which need no network: env=hopper dataset=mixed")


def test_fetch_downloads_several(served: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(served / "gym_mujoco_v1" / "hopper_medium-v1.hdf5", rows())
    save(served / "kitchen" / "kitchen_microwave_kettle_light_slider-v0.hdf5", rows())
    assert verb.main(["fetch", "d4rl/hopper-medium-v1", "dataset=d4rl/kitchen-partial-v0"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"d4rl/hopper-medium-v1  {paths.cache_root() / 'd4rl' / 'hopper_medium-v1.hdf5'}  ")
    assert first.endswith("no checksum known")
    assert second.startswith("d4rl/kitchen-partial-v0")
    for words, message in (
        ([], "needs a data set"),
        (["medium"], "cannot be fetched\nit is one of d4rl/ID"),
        (["d4rl/hopper-medum-v2"], "did you mean dataset=d4rl/hopper-medium-v2"),
    ):
        with pytest.raises(UsageError, match=message):
            verb.main(["fetch", *words])
    with pytest.raises(RunError, match="HTTP 404"):
        verb.main(["fetch", "d4rl/pen-human-v1"])


def test_fetch_checks_a_file_that_was_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = d4rl.entry("hopper-medium-v2")
    whole = save(paths.cache_root() / "d4rl" / entry.file, rows())
    sha256 = hashlib.sha256(whole.read_bytes()).hexdigest()
    size = whole.stat().st_size
    monkeypatch.setitem(d4rl.manifest(), entry.id, replace(entry, bytes=size, sha256=sha256))
    assert verb.main(["fetch", f"d4rl/{entry.id}"]) == 0
    assert capsys.readouterr().out == f"d4rl/{entry.id}  {whole}  {size:,} bytes, checked\n"
    monkeypatch.setenv("D4RL_DATASET_DIR", str(tmp_path))
    (tmp_path / entry.file).write_bytes(bytes(size))
    with pytest.raises(UsageError, match=rf"{tmp_path / entry.file} was altered \(sha256 .*remove it"):
        verb.main(["fetch", f"d4rl/{entry.id}"])
    assert capsys.readouterr().out == ""


# -- the families ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("id", "dataset"), [("hopper-medium-replay-v2", "float64"), ("hopper-medium-v0", "[N, 1]")])
def test_locomotion_of_every_age(id: str, dataset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = d4rl.Entry(**{**vars(d4rl.entry(id)), "bytes": None, "sha256": None})
    monkeypatch.setitem(d4rl.manifest(), id, entry)
    arrays = rows()
    following = np.concatenate([arrays["observations"][1:], np.ones((1, 11))])
    following[[1, 4]] += 1
    wanted = load(id, {**arrays, "next_observations": following}, control())
    np.testing.assert_array_equal(wanted.truncated, arrays["timeouts"])
    old = {name: array.astype(np.float64) for name, array in {**arrays, "next_observations": following}.items()}
    if dataset == "[N, 1]":
        old |= {name: old[name][:, None] for name in ("rewards", "terminals", "timeouts")}
    again = load(id, {**old, "metadata/algorithm": b"SAC"}, control(), clip_actions=True)
    np.testing.assert_array_equal(again.table, wanted.table)
    assert not wanted.finished[-1]


def test_locomotion_without_timeouts_is_counted_to_a_thousand_steps() -> None:
    arrays = {name: np.repeat(array, 400, axis=0) for name, array in rows().items() if name != "timeouts"}
    arrays["terminals"] = np.zeros(2400)
    data = load("walker2d-random-v0", arrays)
    np.testing.assert_array_equal(data.episode_starts, [0, 999, 1998])


@pytest.mark.parametrize("options", [{}, {"timeout_rows": "drop", "next_obs": "shifted", "tail": "drop"}])
def test_antmaze_keeps_every_rewarded_row_and_its_true_next_observation(options: dict[str, Any]) -> None:
    """The goal is reached in rows 1, 2 and 4; rows 2 and 5 end trajectories."""
    reached = np.array([0, 1, 1, 0, 1, 0])
    flags = {"rewards": reached, "terminals": reached, "timeouts": np.array([0, 0, 1, 0, 0, 1])}
    arrays = {**rows(29, 8), **flags, "infos/goal": np.zeros((6, 2)), "infos/qpos": np.zeros((6, 15))}
    data = load("antmaze-umaze-v0", arrays, **options)
    observations = arrays["observations"]
    np.testing.assert_array_equal(data.observation, observations[:5])  # what follows row 5 is unknown
    np.testing.assert_array_equal(data.reward, reached[:5])
    np.testing.assert_array_equal(data.terminated, reached[:5])
    np.testing.assert_array_equal(data.next_observation, observations[[1, 2, 2, 4, 5]])
    assert not data.truncated.any()


def test_maze2d_never_terminates() -> None:
    arrays = {**rows(4, 2), "terminals": np.zeros(6, dtype=bool), "infos/goal": np.zeros((6, 2))}
    data = load("maze2d-umaze-v1", arrays)
    np.testing.assert_array_equal(data.observation, arrays["observations"][:4])
    np.testing.assert_array_equal(data.next_observation, arrays["observations"][1:5])
    np.testing.assert_array_equal(data.truncated, [0, 0, 0, 1])
    assert data.card["reference"] == {"min": 23.85, "max": 161.86}


@pytest.mark.parametrize(("id", "d", "a"), [("pen-human-v0", 45, 24), ("relocate-cloned-v1", 39, 30)])
def test_adroit(id: str, d: int, a: int) -> None:
    arrays = {**rows(d, a), "infos/qpos": np.zeros((6, 30)), "infos/desired_orien": np.zeros((6, 4))}
    data = load(id, arrays)
    assert (data.observation_dim, data.action_dim, len(data)) == (d, a, 4)


def test_kitchens_demonstrations_end_where_they_say() -> None:
    """`infos` is an array there; no timeouts; demonstrations longer than the environment's limit are whole."""
    arrays = {name: np.repeat(array, 100, axis=0) for name, array in rows(60, 9).items() if name != "timeouts"}
    ends = np.isin(np.arange(600), [199, 599]).astype(np.float32)
    data = load("kitchen-mixed-v0", {**arrays, "terminals": ends, "infos": np.zeros(600)})
    assert len(data) == 600
    np.testing.assert_array_equal(data.episode_starts, [0, 200])
    np.testing.assert_array_equal(np.flatnonzero(data.terminated), [199, 599])
    np.testing.assert_array_equal(data.reward, arrays["rewards"])


@pytest.mark.parametrize("shape", [(6,), (6, 1)])
def test_minigrids_images_and_choices_become_vectors(shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 11, size=(6, 7, 7, 3), dtype=np.uint8)
    choices = np.array([0, 1, 2, 6, 2, 0])
    data = load("minigrid-fourrooms-v0", {**rows(), "observations": images, "actions": choices.reshape(shape)})
    np.testing.assert_array_equal(data.observation, images.reshape(6, 147)[:4])
    np.testing.assert_array_equal(data.action.argmax(axis=1), choices[:4])
    np.testing.assert_array_equal(data.action.sum(axis=1), np.ones(4))
    env = config.instantiate(config.compose(["algo=bc", "dataset=d4rl/minigrid-fourrooms-v0"]).env)
    assert (env.id, env.reference_min, env.reference_max) == ("MiniGrid-FourRooms-v0", 0.01442, 2.89685)
    if env.installed:
        assert env.dims() == (data.observation_dim, data.action_dim)
    with pytest.raises(UsageError, match="actions are not whole numbers from 0 to 6"):
        load("minigrid-fourrooms-random-v0", {**rows(), "observations": images, "actions": np.full(6, 7)})


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "nan": ({"rewards": np.array([0, 0, np.nan, 0, 0, 0])}, "rewards holds a NaN.*row 2"),
    "rows": ({"actions": np.zeros((5, 3))}, r"actions has shape \[5, 3\]"),
    "bounds": ({"actions": np.full((6, 3), 1.5)}, "bounds of env=hopper by up to 0.5.*clip_actions=true"),
    "env": (rows(17, 6), "17 and 6 wide.*11 and 3"),
    "empty": ({name: array[:0] for name, array in rows().items()}, "is empty"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_end_with_one_line(case: str) -> None:
    change, message = BAD[case]
    with pytest.raises(UsageError, match=f"d4rl/hopper-medium-v1.*{message}") as error:
        load("hopper-medium-v1", {**rows(), **change}, control())
    assert "\n" not in str(error.value)
    assert store.stored() == []


def test_a_file_cut_short_is_said() -> None:
    path = save(paths.cache_root() / "d4rl" / "hopper_medium-v1.hdf5", rows())
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UsageError, match=r"hopper_medium-v1\.hdf5.*cannot be read as HDF5"):
        D4RL(control(), "hopper-medium-v1", **OPTIONS).load()
