"""A run in two processes: the result of one, and no process that stays behind, whatever strikes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from rlbench import config
from rlbench.checkpoint import Checkpoints
from rlbench.conformance import same
from rlbench.errors import UsageError
from rlbench.run import run
from rlbench.tracking.rundir import RunDir
from tests.processes import alive, wait_for

ROOT = Path(__file__).parents[1]
CLONER = Path(__file__).parent / "cloner"
SHORT = [
    "algo=cloner", "dataset.rows=2000", "eval.episodes=1", "log.every=1", "steps=20", "eval.every=10",
    "tracking=disabled",
]  # fmt: skip
# Some seconds long.
LONG = [*SHORT, "algo.seconds=0.02", "steps=150", "eval.every=50", "checkpoint.every_seconds=0.3"]
TWO = "hardware.processes=2"
CLOSE = 1e-6


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path / "results"))
    return tmp_path / "results"


def outcome(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The last state and the rows, without what tells the time."""
    state = Checkpoints(path / "ckpt", keep=2).load()
    assert state is not None
    rows = [{k: v for k, v in row.items() if not k.startswith("time")} for row in RunDir(path).rows()]
    return state["algorithm"], rows


def here(words: list[str], results: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What comes of a run whose leader is this process."""
    before, os.environ["RLBENCH_RESULTS"] = os.environ["RLBENCH_RESULTS"], str(results)
    try:
        cfg = config.compose(words, [CLONER])
        assert run(cfg, words) == 0
        return outcome(config.run_directory(cfg))
    finally:
        os.environ["RLBENCH_RESULTS"] = before


@pytest.mark.parametrize("wrapper", ["ddp", pytest.param("fsdp", marks=pytest.mark.slow)])
def test_two_processes_compute_what_one_does(wrapper: str, tmp_path: Path) -> None:
    """The gradient of the halves of a batch is that of the whole."""
    alone, alone_rows = here([*SHORT, f"algo.wrapper={wrapper}"], tmp_path / "one")
    both, both_rows = here([*SHORT, f"algo.wrapper={wrapper}", TWO], tmp_path / "two")
    assert alone["gradient"].abs().max() > 100 * CLOSE
    assert torch.allclose(both["gradient"], alone["gradient"], rtol=0, atol=CLOSE)
    for name, value in alone["network"].items():
        assert torch.allclose(both["network"][name], value, rtol=0, atol=CLOSE), name
    for one, two in zip(alone_rows, both_rows, strict=True):
        assert two == pytest.approx(one, abs=CLOSE, rel=CLOSE)
    assert not torch.distributed.is_initialized()


def test_an_algorithm_that_shares_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match=r"algo=bc does not share its work: hardware\.processes=2"):
        config.compose(["algo=bc", TWO])


def test_a_cluster_is_asked_for_a_core_for_every_thread() -> None:
    cfg = config.compose([*SHORT, "hardware=slurm_cpu", "hardware.processes=3", "hardware.threads=2"], [CLONER])
    assert cfg.hardware.slurm.cpus == 6


# -- strikes


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What comes of the long run when nothing strikes."""
    return here([*LONG, TWO], tmp_path_factory.mktemp("whole"))


def start(*more: str) -> subprocess.Popen[str]:
    """The command line, in a group of processes of its own, as a terminal makes one."""
    return subprocess.Popen(
        [sys.executable, "-m", "rlbench", "--config-dir", str(CLONER), *LONG, TWO, *more],
        cwd=ROOT, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def followers(leader: subprocess.Popen[str]) -> list[int]:
    children = Path(f"/proc/{leader.pid}/task/{leader.pid}/children")
    found = children.read_text().split() if children.exists() else []
    return [int(pid) for pid in found if b"rlbench.processes" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.fixture
def begun() -> Iterator[Callable[..., tuple[subprocess.Popen[str], int, Path]]]:
    """Starts a run: its leader, the process that follows, and the directory, when there is a checkpoint."""
    processes: list[subprocess.Popen[str]] = []

    def begin(*more: str, checkpoint: bool = True) -> tuple[subprocess.Popen[str], int, Path]:
        path = config.run_directory(config.compose([*LONG, *more], [CLONER]))
        processes.append(start(*more))
        (leader,) = processes
        wait_for(
            lambda: (list(path.glob("ckpt/*.pt")) if checkpoint else followers(leader)) or leader.poll() is not None
        )
        (follower,) = followers(leader)
        return leader, follower, path

    yield begin
    for each in processes:
        each.kill()
        each.communicate()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signum", "group", "code"),
    [
        (signal.SIGTERM, True, 143),
        (signal.SIGINT, True, 130),
        (signal.SIGKILL, False, -9),
    ],
)
def test_a_struck_leader_ends_all_and_goes_on(
    signum: signal.Signals, group: bool, code: int, begun: Any, whole: tuple[dict[str, Any], list[dict[str, Any]]]
) -> None:
    leader, follower, path = begun()
    (os.killpg if group else os.kill)(leader.pid, signum)
    _, errors = leader.communicate(timeout=60)
    assert leader.returncode == code, errors
    wait_for(lambda: not alive(follower), 10)
    assert (path / "process-1.txt").read_text() == ""
    assert RunDir(path).status()["step"] < 150
    assert run(config.compose([*LONG, TWO], [CLONER])) == 0
    state, rows = outcome(path)
    same(state, whole[0], "states")
    assert rows == whole[1]


def require_named(leader: subprocess.Popen[str], path: Path) -> None:
    """The leader ends, and says of what its follower has died, in one message."""
    _, errors = leader.communicate(timeout=60)
    assert leader.returncode == 1
    complaint = [line for line in errors.splitlines() if line.startswith("rlbench: error")]
    assert complaint == [f"rlbench: error: process 2 of 2 was killed by SIGKILL ({path / 'process-1.txt'})"]
    assert "Traceback" not in errors


@pytest.mark.slow
@pytest.mark.parametrize("trapped", [False, True])
def test_a_follower_that_dies_ends_the_run(
    trapped: bool, begun: Any, tmp_path: Path, whole: tuple[dict[str, Any], list[dict[str, Any]]]
) -> None:
    """Between two methods, or while the leader waits for it in the middle of one."""
    trap = tmp_path / "trap"
    leader, follower, path = begun(*([f"algo.trap={trap}"] if trapped else []), checkpoint=not trapped)
    if trapped:
        wait_for(trap.exists)
        time.sleep(0.5)
    os.kill(follower, signal.SIGKILL)
    require_named(leader, path)
    assert RunDir(path).status()["state"] == "failed"
    if not trapped:
        assert run(config.compose([*LONG, TWO], [CLONER])) == 0
        same(outcome(path)[0], whole[0], "states")


@pytest.mark.slow
def test_a_follower_that_dies_where_the_run_began_anew_is_named(begun: Any) -> None:
    """The folder that it prints to has another name by then."""
    path = config.run_directory(config.compose(LONG, [CLONER]))
    RunDir.create(path, "seed: 0\n", [], {})
    leader, follower, path = begun("rerun=true")
    os.kill(follower, signal.SIGKILL)
    require_named(leader, path)


@pytest.mark.slow
def test_a_leader_that_would_wait_for_ever_ends(begun: Any) -> None:
    """It is in no collective operation, which would fail by itself."""
    leader, follower, path = begun("algo.seconds=1000", checkpoint=False)
    wait_for(lambda: (path / "status.json").exists() and RunDir(path).status()["state"] == "running")
    time.sleep(0.5)
    os.kill(follower, signal.SIGKILL)
    _, errors = leader.communicate(timeout=60)
    assert leader.returncode == 1
    assert "process 2 of 2 was killed by SIGKILL" in errors
    assert RunDir(path).status()["state"] == "lost"


@pytest.mark.slow
def test_a_fault_in_a_follower_is_one_message() -> None:
    process = start("algo.trap=/proc/nowhere/trap")
    _, errors = process.communicate(timeout=90)
    assert process.returncode == 1
    (complaint,) = [line for line in errors.splitlines() if line.startswith("rlbench: error")]
    assert "process 2 of 2 failed: FileNotFoundError: " in complaint
    assert "Traceback" not in errors
    (output,) = Path(os.environ["RLBENCH_RESULTS"]).glob("runs/*/*/*/process-1.txt")
    assert "Traceback" in output.read_text()
