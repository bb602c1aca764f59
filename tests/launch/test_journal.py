"""What a queue on this machine writes down, and what others make of it."""

import json
import os
import signal
import socket
import subprocess

import pytest

from rlbench.errors import RunError
from rlbench.launch.journal import Journal, cancel, ending, jobs
from rlbench.launch.sweep import Sweep
from tests.launch.cases import SHORT, cells

pytestmark = pytest.mark.usefixtures("results")


@pytest.fixture
def sweep() -> Sweep:
    found = cells(*SHORT, "seed=0,1,2,3")
    return Sweep.create("mine", [], found, lambda: found)


def states(sweep: Sweep) -> list[tuple[str, str] | None]:
    known = jobs(sweep)
    found = [known.get(run.path) for run in sweep.runs()]
    return [None if job is None else (job.state, job.reason) for job in found]


def test_runs_wait_begin_and_end(sweep: Sweep) -> None:
    zero, one, two, _ = sweep.runs()
    assert states(sweep) == [None] * 4
    with Journal(sweep, sweep.runs()[:3]) as journal:
        journal.began(zero, os.getpid())
        journal.began(one, 12345)
        journal.ended(one, -9)
        assert jobs(sweep)[zero.path].id == str(os.getpid())
        assert states(sweep) == [
            ("running", ""),
            ("ended", "its process was killed by SIGKILL (by hand, or memory ran out)"),
            ("queued", ""),
            None,
        ]
        cancel(sweep, [two])
        assert journal.cancelled() == {two.path}
        assert states(sweep)[2] == ("ended", "cancelled")
    assert states(sweep)[0] is None
    assert states(sweep)[1] is not None
    with Journal(sweep, sweep.runs()) as journal:
        assert journal.cancelled() == set()
        assert states(sweep) == [("queued", "")] * 4


def test_half_a_line_is_none(sweep: Sweep) -> None:
    with Journal(sweep, sweep.runs()) as journal:
        with journal.path.open("a") as file:
            file.write('{"path": "ru')
        assert states(sweep) == [("queued", "")] * 4


def test_a_queue_that_died_has_nothing(sweep: Sweep) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    with Journal(sweep, sweep.runs()) as journal:
        owner = json.loads(journal.path.read_text())
        journal.path.write_text(json.dumps({**owner, "pid": dead.pid}) + "\n")
        assert states(sweep) == [None] * 4


def test_a_number_that_went_to_another_process_is_not_the_queue(sweep: Sweep) -> None:
    with Journal(sweep, sweep.runs()) as journal:
        pass
    owner = json.loads(journal.path.read_text().splitlines()[0])
    with subprocess.Popen(["sleep", "100"]) as later:
        journal.path.write_text(json.dumps({**owner, "pid": later.pid}) + "\n")
        os.utime(journal.path, (1e9, 1e9))  # the last sign of life is older than the process
        assert states(sweep) == [None] * 4
        later.kill()


def test_the_queue_of_another_machine_is_believed_while_it_gives_signs_of_life(sweep: Sweep) -> None:
    with Journal(sweep, sweep.runs()) as journal:
        pass
    owner = json.loads(journal.path.read_text().splitlines()[0])
    journal.path.write_text(json.dumps({**owner, "host": "elsewhere"}) + "\n")
    assert states(sweep) == [("queued", "")] * 4
    with pytest.raises(RunError, match="runs on elsewhere"):
        cancel(sweep, sweep.runs()[:1])
    os.utime(journal.path, (1e9, 1e9))
    assert states(sweep) == [None] * 4


def test_cancelling_all_stops_the_queue_and_a_part_the_runs(sweep: Sweep) -> None:
    zero, one, *_ = sweep.runs()
    queue, work = (subprocess.Popen(["sleep", "100"]) for _ in range(2))
    with Journal(sweep, sweep.runs()) as journal:
        journal.began(zero, work.pid)
        first, *others = journal.path.read_text().splitlines()
        first = json.dumps({**json.loads(first), "pid": queue.pid})
        journal.path.write_text("\n".join([first, *others, ""]))
        cancel(sweep, [zero, one])
        assert work.wait(10) == -signal.SIGTERM
        assert queue.poll() is None
        assert journal.cancelled() == {zero.path, one.path}
        cancel(sweep, sweep.runs())
        assert queue.wait(10) == -signal.SIGTERM


def test_endings_are_told_in_words() -> None:
    assert ending(0) == "its process ended with code 0"
    assert ending(7) == "its process ended with code 7"
    assert ending(255) == "its process ended with code 255"
    assert ending(143) == "stopped by SIGTERM"
    assert ending(-signal.SIGSEGV) == "its process was killed by SIGSEGV"


def test_owner_is_this_process(sweep: Sweep) -> None:
    with Journal(sweep, sweep.runs()) as journal:
        owner = journal.owner()
        assert owner is not None
        assert (owner["pid"], owner["host"]) == (os.getpid(), socket.gethostname())
    assert journal.owner() is None
