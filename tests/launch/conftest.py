"""Results of a test's own, and practice clusters, one of a flavour in a test process.

Without root or SLURM the tests that need a cluster are skipped. Every process has clusters of its own, so that a test
that kills daemons disturbs no test beside it.
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launch.practice import ACCOUNTING, CANNOT_RUN_HERE, PLAIN, Practice, free_port
from tests.processes import wait_for


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty results folder."""
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path / "results"))
    return tmp_path / "results"


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A user's folder, with the plug-in snail."""
    return Path(shutil.copytree(Path(__file__).parent / "snail", tmp_path / "mine"))


def brought_up(*options: str) -> Iterator[Practice]:
    """A cluster in a temporary folder."""
    # Not pytest's own folders: their paths are too long for sockets, and no other user may enter them.
    practice = Practice(Path(tempfile.mkdtemp(prefix="rlbench-slurm-")))
    done = practice.script("up", "--port", str(free_port()), *options)
    if done.returncode == CANNOT_RUN_HERE:
        practice.folder.rmdir()
        pytest.skip(done.stderr.strip())
    try:
        assert done.returncode == 0, done.stderr
        yield practice
    finally:
        practice.down("--wipe")


@pytest.fixture(scope="session")
def accounting() -> Iterator[Practice]:
    """Accounts, and preemption that sends the signal of `sbatch --signal`."""
    yield from brought_up(*ACCOUNTING)


@pytest.fixture(scope="session")
def plain() -> Iterator[Practice]:
    """No accounts, and preemption that sends SIGTERM."""
    yield from brought_up(*PLAIN)


@pytest.fixture
def own() -> Iterator[Practice]:
    """A cluster without accounts that a test may do away with."""
    yield from brought_up(*PLAIN, "--nodes", "2")


@pytest.fixture(params=["accounting", "plain"])
def cluster(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Practice]:
    """A whole cluster without jobs, which is the one that SLURM_CONF names; a test sees it in both flavours.

    `@pytest.mark.parametrize("cluster", ["plain"], indirect=True)` chooses one.
    """
    practice: Practice = request.getfixturevalue(request.param)
    monkeypatch.setenv("SLURM_CONF", str(practice.conf))
    practice.up()
    yield practice
    practice.up()
    if jobs := practice.jobs():
        practice.run("scancel", *jobs)
        wait_for(lambda: not practice.jobs())
