"""A sweep on disk: written once, found again, and never by two at a time."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rlbench.cli import main
from rlbench.errors import RunError, UsageError
from rlbench.launch.find import meant
from rlbench.launch.packing import plan
from rlbench.launch.sweep import Sweep, default_name, find, holding, sweeps
from rlbench.tracking.rundir import RunDir
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


def test_the_sweep_of_a_run_is_found_by_its_path_behind_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path / "link" / "results"))
    (run,) = create("mine", "seed=0").runs()
    run.directory.mkdir(parents=True)
    (run.directory / "config.yaml").touch()
    for path in (run.directory, run.directory.resolve()):
        found = meant(str(path))
        assert isinstance(found, Path)
        assert holding(found)[0][0].name == "mine"


def test_settings_without_a_part_in_the_result_are_those_of_the_last_command() -> None:
    words = ["-m", *SHORT, "seed=0,1", "hardware.pack=2"]
    assert main([*words, "steps=60,90", "log.every=30"]) == 0
    (sweep,) = sweeps()
    for run in sweep.runs():
        shutil.rmtree(run.directory)
    before = sweep.runs()
    assert main([*words, "steps=60,90", "log.every=15", "wandb.tags=[again]"]) == 0
    assert [each.name for each in sweeps()] == [sweep.name]
    assert [run.path for run in sweep.runs()] == [run.path for run in before]
    for run in sweep.runs():
        assert (run.packed, run.config["seeds"], run.config["log"]["every"]) == (True, 2, 15)
        assert "log.every=15" in run.words
        content = RunDir(run.directory).content()
        assert (content["log"]["every"], content["wandb"]["tags"]) == (15, ["again"])
        assert {row["step"] for row in RunDir(run.directory).rows()} >= {15, 45}


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["log.every=10,20"], "are one run"),
        (["seed=0,1", "hardware.threads=1,2"], "hardware= has one value in a sweep"),
        (["hardware=cpu,local"], "hardware= has one value in a sweep"),
    ],
)
def test_a_sweep_over_what_makes_no_other_run_is_refused(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["-m", *SHORT, *words]) == 2
    assert complaint in capsys.readouterr().err
    assert sweeps() == []


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
