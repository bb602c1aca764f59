"""The store: whole or not there, damage found, made once."""

import json
import multiprocessing
import time
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from rlbench import paths
from rlbench.data import store
from rlbench.data.transitions import Transitions
from rlbench.errors import RunError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RLBENCH_CACHE", str(tmp_path))
    return tmp_path


def rows(n: int = 50) -> Transitions:
    table = np.random.default_rng(0).normal(size=(n, 8)).astype(np.float32)
    table[:, -2:] = 0
    table[9::10, -1] = 1
    return Transitions(table, 2, 1, {"id": "some"})


class Maker:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> Transitions:
        self.calls += 1
        return rows()


def test_made_once_and_mapped_after() -> None:
    make = Maker()
    first, second = store.fetch("a", make), store.fetch("a", make)
    assert make.calls == 1
    assert isinstance(second.table, np.memmap)
    np.testing.assert_array_equal(second.table, rows().table)
    assert first.fingerprint == second.fingerprint == rows().hash()
    assert second.card["id"] == "some"
    assert second.card["rows"] == 50
    assert second.card["episodes"] == 5
    assert [folder.name for folder in store.stored()] == ["a"]


@pytest.mark.parametrize("harm", ["short", "no table", "no card", "half card", "not an array"])
def test_a_damaged_cache_is_made_again_with_one_line(harm: str, caplog: pytest.LogCaptureFixture) -> None:
    make = Maker()
    store.fetch("a", make)
    folder = paths.cache_root() / "data" / "a"
    table, card = folder / "transitions.npy", folder / "card.json"
    if harm == "short":
        table.write_bytes(table.read_bytes()[:-7])
    elif harm == "no table":
        table.unlink()
    elif harm == "no card":
        card.unlink()
    elif harm == "half card":
        card.write_text(card.read_text()[:40])
    else:
        table.write_bytes(b"x" * table.stat().st_size)
    data = store.fetch("a", make)
    assert make.calls == 2
    np.testing.assert_array_equal(data.table, rows().table)
    assert len(caplog.records) == 1
    assert "is made again" in caplog.text


def test_a_flipped_bit_is_found_by_verify() -> None:
    store.fetch("a", rows)
    folder = paths.cache_root() / "data" / "a"
    assert len(store.verify(folder)) == 50
    content = bytearray((folder / "transitions.npy").read_bytes())
    content[-100] ^= 1
    (folder / "transitions.npy").write_bytes(content)
    with pytest.raises(store.DamagedError, match="sha256"):
        store.verify(folder)


def test_nothing_is_left_of_a_recording_that_fails() -> None:
    def fail() -> Transitions:
        raise RunError("the simulator is broken")

    with pytest.raises(RunError, match="broken"):
        store.fetch("a", fail)
    assert store.stored() == []
    assert len(store.fetch("a", rows)) == 50


def test_leftovers_of_a_killed_process_do_no_harm() -> None:
    partial = paths.cache_root() / "data" / "a.partial"
    partial.mkdir(parents=True)
    (partial / "transitions.npy").write_text("half")
    assert len(store.fetch("a", rows)) == 50
    assert not partial.exists()


def test_a_cache_that_cannot_be_written_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache / "file").write_text("")
    monkeypatch.setenv("RLBENCH_CACHE", str(cache / "file"))
    with pytest.raises(RunError, match="RLBENCH_CACHE"):
        store.fetch("a", rows)


def slow_fetch(log: Path) -> None:
    def make() -> Transitions:
        with log.open("a") as file:
            file.write("made\n")
        time.sleep(0.5)
        return rows()

    store.fetch("a", make)


def test_the_lock_is_let_go_as_soon_as_the_data_are_there() -> None:
    """While the caller still holds what it was given."""
    kept = store.fetch("a", rows)
    lock = FileLock(paths.cache_root() / "data" / "a.lock", timeout=0)
    with lock:
        assert len(kept) == 50


def test_two_processes_do_not_make_the_same(tmp_path: Path) -> None:
    log = tmp_path / "log"
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=slow_fetch, args=(log,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert log.read_text() == "made\n"
    card = json.loads((paths.cache_root() / "data" / "a" / "card.json").read_text())
    assert card["fingerprint"] == rows().hash()
