"""A sweep on disk: written once, found again, and never by two at a time."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rlbench.errors import RunError, UsageError
from rlbench.launch.packing import plan
from rlbench.launch.sweep import Sweep, default_name, find, holding, sweeps
from tests.launch.cases import SHORT, cells
from tests.pace import budget

pytestmark = pytest.mark.usefixtures("results")


def create(name: str, *words: str) -> Sweep:
    found = cells(*SHORT, *words)
    return Sweep.create(name, [*SHORT, *words], found, lambda: found)


def test_the_same_words_find_the_sweep_again(results: Path) -> None:
    made = create("mine", "seed=0,1")
    asked = (made.path / "runs.jsonl").stat().st_mtime_ns
    assert create("mine", "seed=1,0").runs() == made.runs()
    assert (made.path / "runs.jsonl").stat().st_mtime_ns == asked
    assert [run.label.split()[-1] for run in made.runs()] == ["seed=0", "seed=1"]
    assert made.runs() == cells(*SHORT, "seed=0,1")
    assert [each.name for each in sweeps()] == ["mine"]
    assert made.path == results / "sweeps" / "mine"


def test_other_runs_need_another_name() -> None:
    create("mine", "seed=0,1")
    with pytest.raises(UsageError, match="there is another sweep mine"):
        create("mine", "seed=0,1,2")
    with pytest.raises(UsageError, match="letters, digits"):
        create("../mine", "seed=0,1")


def test_names_say_what_is_in_a_sweep_whatever_the_order() -> None:
    name = default_name(cells(*SHORT, "seed=0,1"))
    assert name.startswith("bc-disc2d-")
    assert default_name(cells(*SHORT, "seed=1,0")) == name
    assert default_name(cells(*SHORT, "seed=1,2")) != name
    many = cells("algo=bc,iql,td3_bc,cql", "env=hopper,walker2d")
    assert default_name(many).startswith("4-algorithms-hopper+walker2d-")


def test_a_beginning_of_a_name_is_enough() -> None:
    create("first", "seed=0")
    create("first-again", "seed=1")
    assert find("first").name == "first"
    assert find("first-").name == "first-again"
    with pytest.raises(UsageError, match="more than one sweep: first, first-again"):
        find("fir")
    with pytest.raises(UsageError, match="no sweep 'second'"):
        find("second")


def test_the_sweeps_of_a_run_are_found(tmp_path: Path) -> None:
    first, second = create("first", "seed=0,1"), create("second", "seed=1,2")
    zero, one = first.runs()
    assert [(sweep.name, run) for sweep, run in holding(one.directory)] == [("first", one), ("second", one)]
    assert [sweep.name for sweep, _ in holding(zero.directory)] == ["first"]
    assert holding(tmp_path / "elsewhere") == []
    assert Sweep(second.path, [one.path]).runs() == [one]


def test_one_at_a_time() -> None:
    sweep = create("mine", "seed=0")
    with sweep.alone(), pytest.raises(RunError, match=r"process \d+ on .* works on the sweep mine"), sweep.alone():
        pass
    with sweep.alone():
        pass


def test_many_who_create_it_at_once_create_one() -> None:
    code = (
        "import sys; from tests.launch.test_sweep import create; [create(f'number-{n}', 'seed=0,1') for n in range(10)]"
    )
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda _: subprocess.run([sys.executable, "-c", code], check=True), range(3)))
    assert len(done) == 3
    assert len(sweeps()) == 10
    assert all(len(sweep.runs()) == 2 for sweep in sweeps())


def test_a_thousand_runs_are_written_down_in_seconds() -> None:
    words = [
        "algo=iql", "dataset=medium,expert", "tracking=disabled", "algo.temperature=1,2,3,4,5",
        "algo.expectile=0.5,0.6,0.7,0.8,0.9", "algo.actor_learning_rate=1e-3,2e-3,3e-3,4e-3,5e-3", "seed=range(0,4)",
    ]  # fmt: skip
    with budget(5):
        found = cells(*words)
        sweep = Sweep.create("thousand", words, found, lambda: plan(found, 8, 2))
    assert len(found) == 1000
    assert len(sweep.runs()) == 250
