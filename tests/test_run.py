"""One run: rows, ends of every kind, and the way back from them."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from rlbench import config
from rlbench.algos.offline.bc import BC
from rlbench.checkpoint import Checkpoints
from rlbench.conformance import same
from rlbench.errors import RunError
from rlbench.nets import capture
from rlbench.nets.capture import obstacle
from rlbench.nets.tape import Playback
from rlbench.run import run
from rlbench.tracking.rundir import RunDir, alone, find_runs, resolve
from rlbench.verbs import resume
from tests.processes import wait_for
from tests.statuses import say

SMALL = [
    "algo=bc", "env=disc2d", "dataset=disc", "dataset.rows=2000", "algo.hidden_dims=[16,16]", "algo.batch_size=16",
    "seeds=2", "eval.episodes=1", "tracking=disabled",
]  # fmt: skip
SHORT = [*SMALL, "steps=250", "eval.every=100", "log.every=50"]
# Long enough to be struck in the middle: some 2,000 updates a second.
LONG = [*SMALL, "steps=12000", "eval.every=1000", "log.every=100", "checkpoint.every_seconds=0.2"]


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path / "results"))
    return tmp_path / "results"


def start(words: Sequence[str], results: Path) -> subprocess.Popen[str]:
    """The command line in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "rlbench", *words], env={**os.environ, "RLBENCH_RESULTS": str(results)},
        cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def checkpointed(path: Path) -> int:
    """The step of the newest checkpoint, 0 for none."""
    files = Checkpoints(path / "ckpt", keep=2).files()
    return int(files[0].name.split("-")[1]) if files else 0


def outcome(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The last state and the rows, without what tells the time."""
    state = Checkpoints(path / "ckpt", keep=2).load()
    assert state is not None
    rows = [{k: v for k, v in row.items() if not k.startswith("time")} for row in RunDir(path).rows()]
    return state["algorithm"], rows


def whole(words: list[str], results: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What comes of a run that nothing befalls, in a results folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLBENCH_RESULTS", str(results))
        cfg = config.compose(words)
        assert run(cfg, words) == 0
        return outcome(config.run_directory(cfg))


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    return whole(LONG, tmp_path_factory.mktemp("whole"))


def test_rows_status_and_meta() -> None:
    cfg = config.compose(SHORT)
    assert run(cfg, SHORT) == 0
    directory = RunDir.open(config.run_directory(cfg))
    rows = directory.rows()
    assert [(row["step"], row["seed"]) for row in rows] == [(s, k) for s in (50, 100, 150, 200, 250) for k in (0, 1)]
    assert [row["step"] for row in rows if "eval/return" in row] == [100, 100, 200, 200, 250, 250]
    assert all("train/actor_loss" in row and row["time/updates_per_second"] > 0 for row in rows)
    assert [row["time"] for row in rows] == sorted(row["time"] for row in rows)
    status, meta = directory.status(), directory.meta()
    assert (status["state"], status["step"], status["steps"], status["error"]) == ("finished", 250, 250, None)
    assert status["pid"] == os.getpid()
    assert meta["dataset"]["fingerprint"]
    assert {"torch", "numpy", "mujoco", "gymnasium", "rlbench", "python"} <= meta["versions"].keys()
    assert directory.overrides() == SHORT
    assert "seeds: 2" in directory.config()
    assert checkpointed(directory.path) == 250


def test_what_it_takes_of_the_machine_lies_beside_its_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlbench.run.GLANCE", 0.0)
    monkeypatch.setattr("rlbench.run.HEARTBEAT", 0.0)
    cfg = config.compose(SHORT)
    assert run(cfg, SHORT) == 0
    directory = RunDir.open(config.run_directory(cfg))
    usage = directory.usage()
    steps = [row["step"] for row in usage]
    assert (steps[0], steps[-1]) == (0, 250)
    assert steps == sorted(steps)
    assert [row["at"] for row in usage] == sorted(row["at"] for row in usage)
    assert all(row["system/memory_mib"] > 50 and row["system/processes"] >= 1 for row in usage)
    assert not [name for row in directory.rows() for name in row if name.startswith("system/")]
    with directory.system.open("a") as file:
        file.write('{"at": 1, "sys')  # a kill
    directory.append_usage(step=0)
    directory.append_usage(step=7)
    assert [row["step"] for row in directory.usage()] == [*steps, 7]  # the line behind the half one is lost with it


def test_updates_are_recorded_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the first ones, and nothing comes of it but speed."""
    eager = whole(SHORT, tmp_path / "eager")
    play, played = Playback.__call__, 0

    def counted(playback: Playback, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        nonlocal played
        played += 1
        return play(playback, rows)

    monkeypatch.setattr(Playback, "__call__", counted)
    monkeypatch.setattr(capture, "EAGER_UPDATES", 5)
    recorded = whole(SHORT, tmp_path / "recorded")
    assert played == 250 - 5 - 1  # with the sixth update it is recorded
    same(recorded, eager, "states and rows")


def test_finished_is_found_without_torch(capsys: pytest.CaptureFixture[str]) -> None:
    run(config.compose(SHORT), SHORT)
    first = capsys.readouterr().out
    assert "mean" in first
    code = f"import sys; from rlbench.cli import main; code = main({SHORT}); sys.exit(code or 'torch' in sys.modules)"
    again = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1]
    )
    assert "finished already" in again.stdout
    assert again.stdout.endswith(first)


@pytest.mark.parametrize(
    ("signum", "code"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR2, 140), (signal.SIGKILL, -9)],
)
def test_struck_run_goes_on_to_the_same_bits(
    signum: signal.Signals, code: int, results: Path, uninterrupted: tuple[dict[str, Any], list[dict[str, Any]]]
) -> None:
    strike(LONG, signum, code, results, uninterrupted)


@pytest.mark.slow
@pytest.mark.skipif(obstacle() is not None, reason=str(obstacle()))
def test_struck_run_of_compiled_updates_goes_on_to_the_same_bits(results: Path, tmp_path: Path) -> None:
    words = [*LONG, "compile=on"]
    strike(words, signal.SIGKILL, -9, results, whole(words, tmp_path / "whole"))


def strike(
    words: list[str], signum: signal.Signals, code: int, results: Path, uninterrupted: tuple[dict[str, Any], list[Any]]
) -> None:
    path = config.run_directory(config.compose(words))
    process = start(words, results)
    wait_for(lambda: checkpointed(path) > 500 or process.poll() is not None)
    struck = time.monotonic()
    process.send_signal(signum)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert time.monotonic() - struck < 10  # two seconds on a machine that does nothing else
    reported = RunDir(path).rows()
    step = checkpointed(path)
    assert step < 12000
    if signum == signal.SIGKILL:
        assert RunDir(path).status()["state"] == "lost"
    else:
        assert RunDir(path).status()["state"] == "interrupted"
        assert "rlbench resume" in errors
        assert reported[-1]["step"] <= step
    assert run(config.compose(words), words) == 0
    state, rows = outcome(path)
    same(state, uninterrupted[0], f"states, interrupted at {step}")
    assert rows == uninterrupted[1]
    assert RunDir(path).meta()["resumed"]
    for before, after in zip(reported, RunDir(path).rows(), strict=False):
        assert {**before, "time": 0, "time/updates_per_second": 0} == {**after, "time": 0, "time/updates_per_second": 0}


def test_signal_during_an_evaluation(
    monkeypatch: pytest.MonkeyPatch, uninterrupted: tuple[dict[str, Any], list[dict[str, Any]]]
) -> None:
    cfg = config.compose([*LONG, "checkpoint.every_seconds=1000"])
    evaluate = BC.evaluate
    strikes = iter([False, True])

    def struck(self: BC) -> dict[str, Any]:
        if next(strikes, False):
            os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(self)

    monkeypatch.setattr(BC, "evaluate", struck)
    assert run(cfg) == 143
    path = config.run_directory(cfg)
    assert checkpointed(path) == 2000
    assert RunDir(path).rows()[-1]["step"] == 1900
    assert run(cfg) == 0
    state, rows = outcome(path)
    same(state, uninterrupted[0], "states")
    assert rows == uninterrupted[1]


def test_second_interrupt_quits_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = config.compose([*LONG, "checkpoint.every_seconds=1000"])
    train = BC.train

    def struck(self: BC, n: int) -> dict[str, Any]:
        if self.step > 500:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
        return train(self, n)

    monkeypatch.setattr(BC, "train", struck)
    assert run(cfg) == 130
    path = config.run_directory(cfg)
    assert checkpointed(path) == 0
    assert RunDir(path).status()["state"] == "interrupted"


def full_by_limit(process: subprocess.Popen[str], _: Path) -> Any:
    """No file of the process may grow any more."""
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (200, 200))
    return lambda: None


def full_by_content(_: subprocess.Popen[str], path: Path) -> Any:
    """The file system that the results lie on has no byte left."""
    ballast = path.parents[3] / "ballast"
    with pytest.raises(OSError, match="No space"), ballast.open("wb", buffering=0) as file:  # noqa: PT012
        while True:
            file.write(bytes(4096))
    return ballast.unlink


@pytest.mark.parametrize("fill", [full_by_limit, full_by_content])
def test_full_disk_loses_nothing(
    fill: Any, results: Path, uninterrupted: tuple[dict[str, Any], list[dict[str, Any]]]
) -> None:
    results.mkdir()
    if fill is full_by_content:
        mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(results)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("mounting a small file system is not allowed here")
    try:
        path = config.run_directory(config.compose(LONG))
        process = start(LONG, results)
        wait_for(lambda: checkpointed(path) > 500 or process.poll() is not None)
        relieve = fill(process, path)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 1, errors
        complaint = [line for line in errors.splitlines() if line.startswith("rlbench: error")]
        assert len(complaint) == 1
        assert "no space left" in complaint[0]
        assert "Traceback" not in errors
        assert 500 < checkpointed(path) < 12000
        relieve()
        assert run(config.compose(LONG), LONG) == 0
        state, rows = outcome(path)
        same(state, uninterrupted[0], "states")
        assert rows == uninterrupted[1]
    finally:
        if fill is full_by_content:
            subprocess.run(["umount", str(results)], check=True)


def test_half_a_row_and_a_damaged_checkpoint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    uninterrupted: tuple[dict[str, Any], list[dict[str, Any]]],
) -> None:  # fmt: skip
    cfg = config.compose(LONG)
    path = config.run_directory(cfg)
    train = BC.train

    def failing(self: BC, n: int) -> dict[str, Any]:
        if self.step > 5000 and len(Checkpoints(path / "ckpt", keep=2).files()) == 2:
            raise ValueError("the sky fell")
        return train(self, n)

    monkeypatch.setattr(BC, "train", failing)
    with pytest.raises(RunError, match="the sky fell"):
        run(cfg)
    assert "Traceback" in (path / "log.txt").read_text()
    assert RunDir(path).status()["error"].startswith("ValueError: the sky fell")
    monkeypatch.setattr(BC, "train", train)
    Checkpoints(path / "ckpt", keep=2).files()[0].write_bytes(b"damage")
    with (path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 99')
    assert RunDir(path).rows()[-1]["step"] > 4000
    assert run(cfg) == 0
    assert "damaged" in capsys.readouterr().err
    state, rows = outcome(path)
    same(state, uninterrupted[0], "states")
    assert rows == uninterrupted[1]


def test_diverged_run_fails_by_name() -> None:
    cfg = config.compose([*SHORT, "algo.learning_rate=1e30"])
    with pytest.raises(RunError, match=r"train/actor_loss of seed 0 is (nan|inf) at step 50"):
        run(cfg)
    directory = RunDir(config.run_directory(cfg))
    assert directory.status()["state"] == "failed"
    assert directory.rows() == []
    assert resolve(directory.id[:6], directory.path.parents[3]).path == directory.path


def test_a_run_that_has_diverged_saves_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it is until the next report: between them, every chunk is saved here."""
    monkeypatch.setattr("rlbench.run.CHECKPOINT_SHARE", float("inf"))
    ends = ["steps=20000", "eval.every=20000", "log.every=20000"]
    cfg = config.compose([*SMALL, *ends, "checkpoint.every_seconds=1e-9", "algo.learning_rate=1e38"])
    with pytest.raises(RunError, match=r"train/actor_loss of seed 0 is (nan|inf) at step (?!20,000)"):
        run(cfg)
    directory = RunDir(config.run_directory(cfg))
    assert directory.status()["diverged"] == [0, 1]
    assert checkpointed(directory.path) < directory.status()["step"] < 20000


def test_the_score_of_a_ruined_policy_is_no_number_and_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    from rlbench.cli import main

    cfg = config.compose(SHORT)
    run(cfg)
    path = config.run_directory(cfg)
    saved = Checkpoints(path / "ckpt", keep=1)
    state = saved.load()
    assert state is not None
    for value in tensors(state["algorithm"]):
        if value.is_floating_point() and value.ndim and len(value) == 2:
            value[0] = torch.nan  # of the first seed
    saved.save(state, state["step"])
    capsys.readouterr()
    assert main(["eval", path.name, "--episodes", "2", "--keep", "--json"]) == 1
    said = capsys.readouterr()
    rows = json.loads(said.out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert rows[0]["eval/return"] is None
    assert rows[1]["eval/return"] < 0
    assert "eval/return of seed 0 is no number" in said.err
    assert not (path / "episodes.json").exists()
    assert main(["eval", path.name, "--episodes", "2"]) == 1
    assert main(["eval", path.name, "--episodes", "2", "--seed", "1"]) == 0


def tensors(value: Any) -> list[torch.Tensor]:
    """Those of a state, however deep."""
    if isinstance(value, dict):
        return [each for inner in value.values() for each in tensors(inner)]
    return [value] if isinstance(value, torch.Tensor) else []


def test_other_data_than_those_it_began_with_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def recording(seed: int) -> None:
        draw = np.random.default_rng(seed).uniform(-1, 1, (5, 100, 2)).astype(np.float32)
        with h5py.File(tmp_path / "mine.hdf5", "w") as file:
            file["observations"], file["actions"], file["next_observations"] = draw[:3]
            file["rewards"] = draw[3, :, 0]
            file["terminals"] = np.arange(100) % 10 == 9

    recording(0)
    words = [*SMALL[:2], f"dataset=file:{tmp_path / 'mine.hdf5'}", *SMALL[4:], *SHORT[len(SMALL) :]]
    cfg = config.compose(words)
    path = config.run_directory(cfg)
    directory = RunDir(path)
    train = BC.train

    def struck(self: BC, n: int) -> dict[str, Any]:
        if self.step >= 100:
            os.kill(os.getpid(), signal.SIGTERM)
        return train(self, n)

    with monkeypatch.context() as patch:
        patch.setattr(BC, "train", struck)
        assert run(cfg) == 143
    first = directory.meta()["dataset"]
    recording(1)
    for _ in range(2):
        with pytest.raises(RunError, match=rf"{first['fingerprint'][:16]}[\s\S]*rerun=true"):
            resume.one(path)
    assert directory.meta()["dataset"] == first
    assert checkpointed(path) >= 100
    recording(0)
    assert resume.one(path) == 0
    assert directory.meta()["dataset"] == first
    recording(1)
    assert resume.one(path) == 0  # it is finished, and needs no data
    assert run(config.compose([*words, "rerun=true"]), words, path) == 0
    assert directory.meta()["dataset"]["fingerprint"] != first["fingerprint"]


def test_a_run_goes_on_when_nobody_reads_its_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlbench.tracking.progress.LINE_EVERY", 0.0)
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(os.dup(writing), "w") as gone, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", gone)
        assert run(config.compose(SHORT)) == 0
        with pytest.raises(BrokenPipeError):
            gone.flush()  # something was said, then
        os.dup2(os.open(os.devnull, os.O_WRONLY), gone.fileno())
    os.close(writing)


@pytest.mark.parametrize("command", ["eval", "export", "resume"])
@pytest.mark.parametrize("last", ["", "name:", "_target_: rlbench.envs", "level:", "dataset:.*about:"])
def test_a_cut_configuration_is_said(command: str, last: str, capsys: pytest.CaptureFixture[str]) -> None:
    from rlbench.cli import main

    cfg = config.compose(SHORT)
    path = config.run_directory(cfg)
    text = OmegaConf.to_yaml(cfg, resolve=True)
    kept = re.search(last, text, re.DOTALL)
    assert kept
    RunDir.create(path, text[: kept.end()], SHORT, {})
    say(path, "interrupted")
    assert main([command, path.name]) == 1
    assert re.search(r"config\.yaml (holds no configuration|has no \w+: it was cut short)", capsys.readouterr().err)


def test_two_at_once() -> None:
    cfg = config.compose(SHORT)
    path = config.run_directory(cfg)
    with alone(path):
        other = start(SHORT, path.parents[3])
        _, errors = other.communicate(timeout=60)
    assert other.returncode == 1
    assert f"process {os.getpid()} on" in errors
    assert not path.exists()


def test_rerun_replaces_the_old_one_only_when_it_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = config.compose(SHORT)
    run(cfg)
    path = config.run_directory(cfg)
    old = (path / "metrics.jsonl").read_bytes()
    again = config.compose([*SHORT, "rerun=true"])
    assert config.run_directory(again) == path

    def broken(*_: object, **__: object) -> None:
        raise MemoryError("too small")

    with monkeypatch.context() as patch:
        patch.setattr(BC, "__init__", broken)
        with pytest.raises(RunError, match="too small"):
            run(again)
    assert (path / "metrics.jsonl").read_bytes() == old
    assert RunDir(path).status()["state"] == "finished"
    assert run(again) == 0
    new = (path / "metrics.jsonl").read_bytes()
    assert new != old
    assert [json.loads(line)["train/actor_loss"] for line in new.splitlines()] == [
        json.loads(line)["train/actor_loss"] for line in old.splitlines()
    ]
    assert len(find_runs(path.parents[3]).runs) == 1


def test_rerun_that_is_refused_takes_nothing_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rlbench.cli import main

    monkeypatch.setenv("CXX", str(tmp_path / "no-g++"))  # which is looked for when all else is built
    assert main(SHORT) == 0
    path = config.run_directory(config.compose(SHORT))
    before = outcome(path), RunDir(path).status(), RunDir(path).meta(), RunDir(path).config()
    assert main([*SHORT, "rerun=true", "compile=on"]) == 2
    assert "needs a C++ compiler" in capsys.readouterr().err
    assert RunDir(path).rows()
    after = outcome(path), RunDir(path).status(), RunDir(path).meta(), RunDir(path).config()
    same(before[0][0], after[0][0], "states")
    assert (before[0][1], *before[1:]) == (after[0][1], *after[1:])


def test_a_life_that_is_refused_or_struck_as_it_is_built_changes_nothing_of_what_the_last_one_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rlbench.cli import main

    words = [*SMALL, "steps=400", "eval.every=100", "log.every=100"]
    cfg = config.compose(words)
    path = config.run_directory(cfg)
    with monkeypatch.context() as patch:
        train = BC.train

        def struck(self: BC, n: int) -> dict[str, Any]:
            if self.step >= 300:
                os.kill(os.getpid(), signal.SIGINT)
            return train(self, n)

        patch.setattr(BC, "step", 0, raising=False)
        patch.setattr(BC, "train", counted(struck))
        assert main(words) == 130
    last, settings, kept = RunDir(path).status(), RunDir(path).config(), ("step", "steps", "score", "diverged")
    assert last["step"] >= 300
    assert last["score"]["step"] >= 200

    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        assert main([*words, "hardware.device=cuda"]) == 2
    status = RunDir(path).status()
    assert (status["state"], {key: status[key] for key in kept}) == ("failed", {key: last[key] for key in kept})
    assert status["seconds"] >= last["seconds"]
    assert RunDir(path).config() == settings

    def strikes(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(BC, "__init__", strikes)
        capsys.readouterr()
        assert main(["resume", path.name]) == 130
        assert f"interrupted at step {last['step']}; " in capsys.readouterr().err
    status = RunDir(path).status()
    assert (status["state"], {key: status[key] for key in kept}) == ("interrupted", {key: last[key] for key in kept})
    assert main(["resume", path.name]) == 0
    assert RunDir(path).status()["step"] == 400


def counted(train: Any) -> Any:
    """A method that trains, and counts the units."""

    def counting(self: Any, n: int) -> Any:
        found = train(self, n)
        self.step += n
        return found

    return counting


def test_a_finished_run_outlives_a_kill_as_it_was_being_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    cfg = config.compose(SHORT)
    run(cfg)
    path = config.run_directory(cfg)
    rows = RunDir(path).rows()
    again = RunDir.create(path.with_name(f".{path.name}.new"), RunDir(path).config(), SHORT, {})
    path.rename(path.with_name(f".{path.name}.old"))  # where the kill strikes `RunDir.replace`
    capsys.readouterr()
    assert run(cfg) == 0
    assert "finished already" in capsys.readouterr().out
    assert RunDir(path).rows() == rows
    again.replace(path)
    left = path.with_name(f".{path.name}.old")
    left.mkdir()  # as it strikes a moment later
    assert run(cfg) == 0
    assert not left.exists()


def test_damaged_directories_are_named_and_not_fatal(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from rlbench.cli import main

    run(config.compose(SHORT))
    for name, content in (("0123456789", None), ("0123456780", "{half")):
        damaged = results / "runs" / "bc" / "disc2d-disc" / name
        damaged.mkdir()
        if content:
            (damaged / "config.yaml").write_text("seed: 0")
            (damaged / "status.json").write_text(content)
    capsys.readouterr()
    assert main(["runs", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert len(listed["runs"]) == 1
    assert {Path(path).name for path in listed["damaged"]} == {"0123456789", "0123456780"}


def test_a_thousand_runs_are_listed_in_half_a_second_without_torch(results: Path) -> None:
    for number in range(1000):
        path = results / "runs" / "bc" / "hopper-medium" / f"{number:010x}"
        path.mkdir(parents=True)
        (path / "config.yaml").write_text("seed: 0\n")
        status = {
            "state": "finished", "step": 10, "steps": 10, "seeds": 1, "stage": "training", "seconds": 1.0,
            "score": {"metric": "eval/return", "step": 10, "values": {"0": float(number)}}, "error": None,
            "heartbeat": time.time(), "pid": 1, "host": "elsewhere",
        }  # fmt: skip
        (path / "status.json").write_text(json.dumps(status))
    code = (
        "import sys; from rlbench.cli import main; from tests.pace import slowness, spent; before = slowness(); "
        "begun = spent(); main(['runs']); took = spent() - begun; assert 'torch' not in sys.modules; "
        "print(took / max(before, slowness()), file=sys.stderr)"
    )
    command, root, took = [sys.executable, "-c", code], Path(__file__).parents[1], []
    for _ in range(3):  # the least of them: a neighbour's work slows the processor itself
        listing = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
        assert listing.stdout.count("finished") == 1000
        took.append(float(listing.stderr))
    assert min(took) < 0.5


def test_verbs_on_a_trained_run(capsys: pytest.CaptureFixture[str]) -> None:
    from rlbench.cli import main

    cfg = config.compose(SHORT)
    run(cfg)
    path = config.run_directory(cfg)
    before = (path / "metrics.jsonl").read_bytes()
    capsys.readouterr()
    assert main(["show", path.name[:8], "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["status"]["state"] == "finished"
    assert shown["config"]["algo"]["name"] == "bc"
    assert main(["show", str(path)]) == 0
    assert "metrics.jsonl" in capsys.readouterr().out
    assert main(["resume", path.name]) == 0
    assert "finished already" in capsys.readouterr().out
    assert main(["eval", path.name, "--episodes", "3", "--seed", "1", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["seed"], row["episodes"]) == (1, 3)
    assert (path / "metrics.jsonl").read_bytes() == before
    assert not (path / "episodes.json").exists()
    assert main(["eval", path.name, "--episodes", "5", "--keep", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    kept = json.loads((path / "episodes.json").read_text())
    assert kept["seeds"] == [row["seed"] for row in rows]
    for episodes, row in zip(kept["values"]["eval/return"], rows, strict=True):
        assert len(episodes) == 5
        assert sum(episodes) / 5 == pytest.approx(row["eval/return"])
    assert main(["eval", path.name, "--seed", "7"]) == 2
    for verb in ("show", "eval", "export"):
        assert main([verb, ""]) == 2
        assert "'' names no run" in capsys.readouterr().err
    assert main(["show", "ffffffffff"]) == 2
    assert "no run 'ffffffffff'" in capsys.readouterr().err


def test_export_needs_nothing_of_ours() -> None:
    from rlbench.build import build_trained
    from rlbench.cli import main

    cfg = config.compose(SHORT)
    run(cfg)
    path = config.run_directory(cfg)
    assert main(["export", path.name]) == 0
    policy = torch.jit.load(path / "export" / "policy-seed1.pt")
    algorithm: Any = build_trained(RunDir(path))[0]
    observation = torch.randn(1, 1500, 2).expand(2, -1, -1)  # more than go through the layers at once
    expected = algorithm.action(algorithm.actor_params, algorithm.task.features(observation))
    assert torch.allclose(policy(observation[1]), expected[1], atol=1e-6)
    example = (path / "export" / "example.py").read_text()
    assert "hydra" not in example
    assert "wandb" not in example
    assert len([line for line in example.splitlines() if line and not line.startswith('"""')]) <= 11
    # disc2d is ours and is imported by gymnasium; the policy itself loads where there is no rlbench
    alone = (
        f"import torch; print(torch.jit.load({str(path / 'export' / 'policy-seed1.pt')!r})(torch.zeros(1, 2)).shape)"
    )
    loaded = subprocess.run([sys.executable, "-I", "-c", alone], capture_output=True, text=True, check=True)
    assert "[1, 2]" in loaded.stdout


@pytest.mark.parametrize("env", ["maxent_tab", "lqr_pref"])
def test_a_policy_without_a_simulator_is_exported_and_not_filmed(
    env: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from rlbench.build import build_trained
    from rlbench.cli import main

    cfg = config.compose(["algo=cpl", f"env={env}", "steps=2", "eval.every=2", "tracking=disabled"])
    assert run(cfg) == 0
    path = config.run_directory(cfg)
    capsys.readouterr()
    assert main(["export", path.name]) == 0
    said = capsys.readouterr()
    (file,) = (path / "export").iterdir()
    assert said.out == f"{file}\n"
    assert said.err.endswith(f"note: no example.py: env={env} has no simulator to play in\n")
    algorithm: Any = build_trained(RunDir(path))[0]
    observation = torch.eye(algorithm.task.env.dims()[0])
    expected = algorithm.action(algorithm.actor_params, algorithm.task.features(observation[None]))
    assert torch.allclose(torch.jit.load(file)(observation), expected[0], atol=1e-6)
    pytest.importorskip("imageio_ffmpeg", reason="the extra video")
    assert main(["eval", path.name, "--video", str(tmp_path / "x.mp4")]) == 1
    assert f"env={env} has no simulator to play in: there is nothing to film" in capsys.readouterr().err


def test_export_to_onnx() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from rlbench.cli import main

    cfg = config.compose(SHORT)
    run(cfg)
    path = config.run_directory(cfg)
    assert main(["export", path.name, "--format", "onnx"]) == 0
    assert main(["export", path.name]) == 0
    observation = torch.randn(1500, 2)
    session = onnxruntime.InferenceSession(path / "export" / "policy-seed0.onnx")
    (action,) = session.run(None, {"observation": observation.numpy()})
    expected = torch.jit.load(path / "export" / "policy-seed0.pt")(observation)
    assert torch.allclose(torch.from_numpy(action), expected, atol=1e-5)
