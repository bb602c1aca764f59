"""The mirror against a real wandb client and a local server: every row arrives once, and nothing stops the run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from rlbench.tracking.wandb import WandbMirror
from tests.processes import wait_for
from tests.statuses import say
from tests.tracking.wandb_server import WandbServer

ID = "0123456789"
OWN = ("_step", "_runtime", "_timestamp")  # what W&B adds to a row
META = {"experiment": "e" * 10, "resumed": []}
Row = dict[str, Any]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No W&B settings of whoever runs the tests, and an account that only the local server knows."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        yield server


@dataclass
class Run:
    """A run directory and the lives that write to it, as `rlbench.run` does."""

    results: Path
    mode: str
    seeds: int = 2
    tags: list[str] = field(default_factory=list)

    @property
    def path(self) -> Path:
        path = self.results / "runs" / "iql" / "hopper-medium" / ID
        path.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def cfg(self) -> DictConfig:
        wandb = {"mode": self.mode, "project": "rlbench", "entity": None, "group": None, "tags": self.tags}
        chosen = {
            "algo": {"name": "iql", "temperature": 3.0},
            "env": {"name": "hopper"},
            "dataset": {"level": "medium"},
        }
        return OmegaConf.create({**chosen, "wandb": wandb, "seed": 3, "seeds": self.seeds})

    def life(self) -> WandbMirror:
        return WandbMirror(self.cfg, self.path, ID)

    def rows(self, steps: range) -> list[Row]:
        return [
            {"step": 1000 * k, "seed": seed, "time": k / 7, "train/loss": (k + 1) / 3 * 10.0 ** (k % 5 - 3 * seed)}
            for k in steps
            for seed in range(3, 3 + self.seeds)
        ]

    def write(self, mirror: WandbMirror, steps: range) -> None:
        for k in steps:
            rows = self.rows(range(k, k + 1))
            with (self.path / "metrics.jsonl").open("a") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)
            mirror.log(rows)

    def cut(self, steps: int) -> None:
        """Back to an older checkpoint."""
        lines = (self.path / "metrics.jsonl").read_text().splitlines(keepends=True)
        (self.path / "metrics.jsonl").write_text("".join(lines[: steps * self.seeds]))

    def folders(self, seed: int = 3) -> list[Path]:
        """W&B's folders of one seed that hold a file, in the order of the lives."""
        files = (self.results / "wandb").glob(f"*run-*-{ID}-s{seed}/run-*.wandb")
        return sorted((file.parent for file in files), key=lambda path: path.name.removeprefix("offline-"))

    def in_files(self, seed: int = 3) -> list[list[Row]]:
        """What each life's file holds for one seed."""
        return [[record["history"]["item"] for record in inspect(f) if "history" in record] for f in self.folders(seed)]

    def end(self, state: str) -> None:
        """What else a run leaves in its directory."""
        say(self.path, state)
        (self.path / "meta.json").write_text(json.dumps(META))
        (self.path / "config.yaml").write_text(OmegaConf.to_yaml(self.cfg))

    def by_hand(self) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "rlbench", "wandb", "sync", ID]
        environment = {**os.environ, "RLBENCH_RESULTS": str(self.results)}
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)


def inspect(folder: Path) -> list[Row]:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    return [json.loads(line) for line in answer.splitlines()]


def sync(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "wandb", "sync", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def plain(rows: list[Row]) -> list[Row]:
    return [{key: value for key, value in row.items() if key not in OWN} for row in rows]


def core_log(run: Run) -> str:
    """What wandb-core wrote down of all lives."""
    return "".join(path.read_text() for path in run.results.glob("wandb/run-*/logs/debug-internal.log"))


def kill(mirror: WandbMirror) -> None:
    """The machine dies: the mirror and wandb-core with it."""
    assert mirror._process is not None
    os.killpg(mirror._process.pid, signal.SIGKILL)
    mirror._process.wait()


def assert_on_server(server: WandbServer, run: Run, steps: int) -> None:
    for seed in range(3, 3 + run.seeds):
        stored = server.runs[f"{ID}-s{seed}"]
        assert plain(stored.history) == [row for row in run.rows(range(steps)) if row["seed"] == seed]
        assert [row["_step"] for row in stored.history] == list(range(steps))


def test_online_every_row_arrives(server: WandbServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = Run(tmp_path, "online", tags=["paper"])
    mirror = run.life()
    run.write(mirror, range(300))
    mirror.finish("finished")
    assert_on_server(server, run, 300)
    for seed in (3, 4):
        stored = server.runs[f"{ID}-s{seed}"]
        assert stored.exit_code == 0
        assert stored.config == dict(run.cfg) | {"seed": seed, "rlbench": {"run": f"iql/hopper-medium/{ID}"}}
        said = {key: stored.variables.get(key) for key in ("project", "groupName", "jobType", "displayName", "tags")}
        assert said == {
            "project": "rlbench",
            "groupName": "iql-hopper-medium",
            "jobType": "train",
            "displayName": f"iql-hopper-medium-s{seed}-{ID}",
            "tags": ["paper"],
        }
        metrics = json.loads(stored.variables["config"])["_wandb"]["value"]["m"]
        (every,) = (metric for metric in metrics if metric.get("2") == "*")
        assert metrics[every["5"] - 1]["1"] == "step"  # the axis, and not W&B's own count
    assert capfd.readouterr() == ("", "")
    told = json.loads((run.path / "wandb.json").read_text())
    assert told["urls"]["4"] == f"{server.url}/tester/rlbench/runs/{ID}-s4"


def test_online_resume(server: WandbServer, tmp_path: Path) -> None:
    run = Run(tmp_path, "online")
    first = run.life()
    run.write(first, range(60))
    first.finish("interrupted")
    assert all(stored.exit_code == 1 for stored in server.runs.values())
    run.cut(40)
    second = run.life()
    run.write(second, range(40, 80))
    wait_for(lambda: len(run.folders(4)) == 2)
    kill(second)
    second.finish("interrupted")
    run.cut(50)
    third = run.life()
    run.write(third, range(50, 100))
    third.finish("finished")
    assert_on_server(server, run, 100)
    assert all(stored.exit_code == 0 for stored in server.runs.values())


def test_offline_lives_hold_every_row_once_and_sync(server: WandbServer, tmp_path: Path) -> None:
    run = Run(tmp_path, "offline", seeds=1)
    first = run.life()
    run.write(first, range(400))
    wait_for(lambda: run.folders() and (run.folders()[0] / f"run-{ID}-s3.wandb").stat().st_size > 100_000)
    kill(first)  # some rows are in the file, others only in wandb's memory
    first.finish("interrupted")
    run.cut(200)
    second = run.life()
    run.write(second, range(200, 500))
    second.finish("interrupted")
    third = run.life()
    run.write(third, range(500, 600))
    third.finish("finished")

    lives = run.in_files()
    assert len(lives) == 3
    assert len(lives[0]) > 200
    assert plain(lives[1] + lives[2]) == run.rows(range(600))  # those of the first are handed over again
    sync(tmp_path / "wandb")
    assert_on_server(server, run, 600)


def test_mirror_outlives_a_killed_trainer(tmp_path: Path) -> None:
    run = Run(tmp_path, "offline", seeds=1)
    trainer = os.fork()
    if trainer == 0:
        mirror = run.life()
        assert mirror._process is not None
        run.write(mirror, range(50))
        (tmp_path / "pid").write_text(str(mirror._process.pid))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(trainer, 0)
    wait_for(run.folders)
    os.killpg(int((tmp_path / "pid").read_text()), signal.SIGTERM)  # as a cluster does to all of a job

    def exits() -> list[Row]:
        return [record["exit"] for folder in run.folders() for record in inspect(folder) if "exit" in record]

    wait_for(exits)
    assert exits()[0]["exit_code"] == 1
    assert plain(run.in_files()[0]) == run.rows(range(50))


def test_outage(server: WandbServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = Run(tmp_path, "online")
    mirror = run.life()
    run.write(mirror, range(50))
    wait_for((run.path / "wandb.json").exists)
    server.failing = True
    began = time.monotonic()
    run.write(mirror, range(50, 1000))
    assert time.monotonic() - began < 1
    began = time.monotonic()
    mirror.finish("finished")
    assert time.monotonic() - began < 13
    run.end("finished")
    assert [json.loads(line) for line in (run.path / "metrics.jsonl").open()] == run.rows(range(1000))
    output = capfd.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert f"`rlbench wandb sync {ID}`" in output.err

    server.failing = False
    sent = run.by_hand()
    assert (sent.returncode, sent.stdout.splitlines()[-1:]) == (0, ["1 sent"])
    assert_on_server(server, run, 1000)
    assert all(stored.exit_code == 0 for stored in server.runs.values())
    # W&B's own sync would put the rows of this folder behind those that are there.
    sync("--include-online", tmp_path / "wandb")
    assert_on_server(server, run, 1000)


def test_a_refusal_is_no_success(server: WandbServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """wandb-core sends nothing more after one, and says so to nobody."""
    run = Run(tmp_path, "online")
    mirror = run.life()
    run.write(mirror, range(50))
    wait_for(lambda: len(server.runs) == 2)
    server.refusing = 404
    run.write(mirror, range(50, 100))
    wait_for(lambda: "filestream: fatal error" in core_log(run))
    server.refusing = None
    run.write(mirror, range(100, 200))
    mirror.finish("finished")
    run.end("finished")
    assert "`rlbench wandb sync 0123456789` sends what the server lacks" in capfd.readouterr().err
    assert "sent" not in json.loads((run.path / "wandb.json").read_text())

    sent = run.by_hand()
    assert (sent.returncode, sent.stdout.splitlines()[-1:]) == (0, ["1 sent"])
    assert_on_server(server, run, 200)

    server.refusing = 404
    with (run.path / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in run.rows(range(200, 210)))
    sent = run.by_hand()
    assert sent.returncode == 1
    assert "failed: the server did not take all rows" in sent.stdout
    server.refusing = None
    assert run.by_hand().returncode == 0
    assert_on_server(server, run, 210)


@pytest.mark.parametrize("missing", ["server", "account"])
def test_online_falls_back_to_offline(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with WandbServer() as gone:
        monkeypatch.setenv("WANDB_BASE_URL", gone.url)
    if missing == "account":
        monkeypatch.delenv("WANDB_API_KEY")
    run = Run(tmp_path, "online")
    began = time.monotonic()
    mirror = run.life()
    run.write(mirror, range(100))
    assert time.monotonic() - began < 1
    wait_for(lambda: "offline" in str(run.folders(4)))
    mirror.finish("finished")
    assert (
        time.monotonic() - began < 25
    )  # 13 where the test has the machine to itself; W&B's own limits are 90 and none
    assert plain(run.in_files(3)[-1] + run.in_files(4)[-1]) == sorted(run.rows(range(100)), key=lambda row: row["seed"])
    output = capfd.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert "mirrored offline" in output.err


def test_the_environment_counts_where_the_config_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    monkeypatch.setenv("WANDB_ENTITY", "team")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("WANDB_RUN_ID", "another")
    run = Run(tmp_path, "offline", seeds=1)
    mirror = run.life()
    run.write(mirror, range(3))
    mirror.finish("finished")
    (folder,) = (tmp_path / "elsewhere" / "wandb").glob(f"offline-run-*-{ID}-s3")
    (record,) = (record["run"] for record in inspect(folder) if record["type"] == "run")
    assert (record["project"], record["entity"], record["run_id"]) == ("mine", "team", f"{ID}-s3")

    monkeypatch.setenv("WANDB_MODE", "disabled")
    other = Run(tmp_path / "other", "offline")
    mirror = other.life()
    other.write(mirror, range(3))
    mirror.finish("finished")
    assert [path.name for path in other.path.iterdir()] == ["metrics.jsonl"]


def test_a_run_begun_anew_replaces_the_old_one(server: WandbServer, tmp_path: Path) -> None:
    run = Run(tmp_path, "offline", seeds=1)
    for steps in (range(30), range(20)):
        (run.path / "metrics.jsonl").unlink(missing_ok=True)
        (run.path / "wandb.json").unlink(missing_ok=True)
        mirror = run.life()
        run.write(mirror, steps)
        mirror.finish("finished")
    sync(tmp_path / "wandb")
    assert_on_server(server, run, 20)


def test_wandb_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    run = Run(tmp_path, "offline")
    mirror = run.life()
    run.write(mirror, range(3))
    mirror.finish("finished")
    assert capfd.readouterr().err.count("\n") == 1
