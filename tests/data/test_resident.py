"""Rows that several processes train on lie in memory once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from rlbench.data import resident as module
from rlbench.data.resident import LARGE, resident
from rlbench.data.sampling import Minibatches
from rlbench.rng import SeedStreams

WIDTH = 27
COUNT = LARGE // (4 * WIDTH) + 1
PROCESS = f"""\
import sys, torch
from rlbench.data.sampling import Minibatches
from rlbench.rng import SeedStreams
rows = torch.randn({COUNT}, {WIDTH}, generator=torch.Generator().manual_seed(0))
batches = Minibatches(rows, 256, SeedStreams([0], "minibatches"))
del rows
total = batches.rows.sum()
print("ready", flush=True)
sys.stdin.readline()
shared = "Shared_Clean", "Shared_Dirty"
print(sum(int(line.split()[1]) for line in open("/proc/self/smaps") if line.startswith(shared)))
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RLBENCH_CACHE", str(tmp_path))
    return tmp_path / "rows"


def table(seed: int = 0, count: int = COUNT) -> torch.Tensor:
    return torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed))


def test_the_rows_are_the_same_and_mapped(cache: Path) -> None:
    rows = table()
    first, second = resident(rows), resident(table())
    assert torch.equal(first, rows)
    (file,) = cache.iterdir()
    assert file.stat().st_size == rows.nbytes
    assert sum(str(file) in line for line in Path("/proc/self/maps").read_text().splitlines()) == 2
    first[0] = 0  # stays with who wrote it
    assert torch.equal(second, rows)
    assert torch.equal(resident(table()), rows)
    resident(table(seed=1))
    assert len(list(cache.iterdir())) == 2


def test_minibatches_are_those_of_memory_of_ones_own(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn() -> torch.Tensor:
        batches = Minibatches(table(), 256, SeedStreams([0, 1], "minibatches"))
        return torch.stack([batches.next().clone() for _ in range(40)])

    mapped = drawn()
    assert len(list(cache.iterdir())) == 1
    monkeypatch.setattr(module, "LARGE", 1 << 40)
    assert torch.equal(mapped, drawn())


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="this system does not tell what is shared")
def test_two_processes_share_them(cache: Path) -> None:
    environment = {**os.environ, "RLBENCH_CACHE": str(cache.parent), "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", PROCESS]
    pair = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) for _ in range(2)]
    for process in pair:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    shared = [int(process.communicate("\n")[0]) for process in pair]
    # The first one to end is told while the other still maps the file.
    assert shared[0] * 1024 > LARGE


def test_small_tables_and_full_disks_need_no_file(cache: Path) -> None:
    small = table(count=100)
    assert resident(small) is small
    assert not cache.exists()
    cache.write_text("a file where the folder should be")
    rows = table()
    assert resident(rows).data_ptr() == rows.data_ptr()


def test_what_nobody_opens_makes_room(cache: Path) -> None:
    resident(table())
    (old,) = cache.iterdir()
    long_ago = time.time() - 2 * module.UNUSED
    os.utime(old, (long_ago, long_ago))
    kept = resident(table(seed=1))
    assert [path != old for path in cache.iterdir()] == [True]
    assert torch.equal(kept, table(seed=1))


@pytest.mark.parametrize("how", ["cut", "altered"])
def test_a_damaged_file_is_written_again(cache: Path, how: str) -> None:
    resident(table())
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-4] if how == "cut" else b"\x00\x00\x00\x00" + whole[4:])
    assert torch.equal(resident(table()), table())
    assert file.read_bytes() == whole
