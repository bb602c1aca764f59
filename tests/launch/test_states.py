"""What a run's directory and its queue say, put together."""

import os
import socket
import time
from typing import Any

import pytest

from rlbench.launch.packing import packed
from rlbench.launch.start import Job
from rlbench.launch.states import State, labels, merged, summary
from tests.launch.cases import SHORT, cells
from tests.statuses import say

pytestmark = pytest.mark.usefixtures("results")

QUEUED, RUNNING, ENDED = Job("1", "queued", "Priority"), Job("1", "running", ""), Job("1", "ended", "NODE_FAIL")


def status(state: str, age: float = 0.0, host: str | None = None) -> dict[str, Any]:
    host = host or socket.gethostname()
    return {"state": state, "heartbeat": time.time() - age, "host": host, "pid": os.getpid()}


@pytest.mark.parametrize(
    ("said", "job", "expected"),
    [
        (None, None, "new"),
        (None, QUEUED, "queued"),
        (None, RUNNING, "starting"),
        (None, ENDED, "failed"),
        (None, Job("1", "ended", "CANCELLED by 0"), "interrupted"),
        (("finished",), None, "finished"),
        (("finished",), QUEUED, "finished"),
        (("finished",), ENDED, "finished"),
        (("pruned",), QUEUED, "pruned"),
        (("pruned",), ENDED, "pruned"),
        (("running",), QUEUED, "running"),
        (("running",), None, "running"),
        (("running",), ENDED, "running"),  # here: its process was looked at
        (("running", 0, "elsewhere"), ENDED, "running"),  # somebody goes on with it by hand
        (("running", 300, "elsewhere"), ENDED, "lost"),
        (("running", 300, "elsewhere"), RUNNING, "running"),
        (("running", 300, "elsewhere"), QUEUED, "queued"),  # its node died, and SLURM put it back
        (("lost",), None, "lost"),
        (("lost",), ENDED, "lost"),
        (("lost",), QUEUED, "queued"),
        (("interrupted",), QUEUED, "queued"),
        (("interrupted",), RUNNING, "starting"),
        (("interrupted",), Job("1", "ending", "COMPLETING"), "interrupted"),
        (("interrupted",), ENDED, "interrupted"),
        (("failed",), QUEUED, "queued"),
        (("failed",), ENDED, "failed"),
        (("failed",), None, "failed"),
    ],
)
def test_the_directory_is_believed_then_the_queue(said: Any, job: Job | None, expected: str) -> None:
    assert merged({} if said is None else status(*said), job) == expected


def test_progress_and_reasons() -> None:
    (run,) = cells(*SHORT, "seed=0")
    running = State(run, "running", {**status("running", 10), "step": 20, "steps": 60, "speed": 2.0}, None)
    assert (running.step, running.steps, running.speed) == (20, 60, 2.0)
    assert running.left == pytest.approx(10, abs=0.5)  # 40 steps to go 10 seconds ago
    assert State(run, "queued", {}, QUEUED).reason == "Priority"
    assert State(run, "queued", {}, QUEUED).left is None
    assert State(run, "failed", {"error": "it broke"}, ENDED).reason == "it broke"
    assert State(run, "lost", {"error": None}, ENDED).reason == "NODE_FAIL"
    assert summary([running, State(run, "failed", {}, None), State(run, "finished", {}, None)]) == (
        "1 finished, 1 running, 1 failed"
    )


def test_labels_are_the_words_that_differ() -> None:
    found = cells(*SHORT, "algo.learning_rate=1e-3,2e-3", "seed=0,1")
    assert list(labels(found).values()) == [
        f"algo.learning_rate={rate} seed={seed}" for rate in ("0.001", "0.002") for seed in (0, 1)
    ]
    assert list(labels(packed(found, 8, 1)).values()) == ["algo.learning_rate=0.001", "algo.learning_rate=0.002"]
    assert list(labels(packed(cells(*SHORT, "seed=range(0,8)"), 4, 1)).values()) == ["seed=0..3", "seed=4..7"]
    (alone,) = cells(*SHORT, "seed=5")
    assert labels([alone]) == {alone.path: " ".join([*SHORT, "seed=5"])}


def test_a_directory_outside_the_results_is_a_run_too(tmp_path: Any) -> None:
    place = tmp_path / "elsewhere" / "0123456789"
    place.mkdir(parents=True)
    (place / "config.yaml").write_text("seed: 0\n")
    (place / "overrides.yaml").write_text('- "algo=bc"\n')
    say(place, "interrupted", step=1, steps=9)
    state = State.of_directory(place)
    assert (state.name, state.step, state.steps, state.run.label) == ("interrupted", 1, 9, "algo=bc")
    assert state.run.directory == place
