"""`rlbench wandb` against the real wandb package and a local server: what is sent, what comes back, what is shown."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlbench.analysis.compare import compare
from rlbench.analysis.contents import contents
from rlbench.analysis.protocols import Protocol
from rlbench.analysis.results import Results
from rlbench.tracking.rundir import RunDir, find_runs
from rlbench.tracking.wandb import WandbMirror
from tests.analysis.synthetic import CARD, SIMULATOR, Experiment
from tests.processes import alive, wait_for
from tests.tracking.wandb_server import StoredRun, WandbServer

IQL = ["algo=iql", "tracking=offline"]
IMPATIENT = """\
import sys
import rlbench.tracking.wandb as mirrors, rlbench.tracking.wandb_sync as sync
mirrors.INIT_SECONDS, sync.FINISH_SECONDS, sync.AT_ONCE = 4, 4, 1
from rlbench.cli import main
sys.exit(main(sys.argv[1:]))
"""

STUCK = """\
import gc, os, signal, subprocess, sys
from pathlib import Path
import rlbench.tracking.wandb as mirrors
from rlbench.tracking.wandb_pull import pull
mirrors.END_SECONDS = 1
for outcome in pull("corl", None, Path(sys.argv[1]), {}):
    started = (each for each in gc.get_objects() if isinstance(each, subprocess.Popen))
    (service,) = (each.pid for each in started if "wandb-core" in str(each.args))
    os.kill(service, signal.SIGSTOP)
    print(outcome.kind, service)
"""


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No W&B settings of whoever runs the tests, and an account that only the local server knows."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path / "results"))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        yield server


def wandb(*words: str | Path, how: tuple[str, ...] = ("-m", "rlbench"), **environment: str) -> tuple[int, list[str]]:
    """Exit code and lines of `rlbench wandb WORDS`, or its complaint."""
    command = [sys.executable, *how, "wandb", *map(str, words)]
    ran = subprocess.run(
        command, capture_output=True, text=True, timeout=800, check=False, env={**os.environ, **environment}
    )
    assert "Traceback" not in ran.stderr, ran.stderr
    return ran.returncode, (ran.stdout or ran.stderr).splitlines()


def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


def rows_on(server: WandbServer, run: RunDir, seed: int) -> list[dict[str, Any]]:
    history = server.runs[f"{run.id}-s{seed}"].history
    return [{key: value for key, value in row.items() if not key.startswith("_")} for row in history]


def rows_of(run: RunDir, seed: int) -> list[dict[str, Any]]:
    return [row for row in run.rows() if row["seed"] == seed]


def test_sync_sends_each_run_once(server: WandbServer, tmp_path: Path) -> None:
    experiment = Experiment(results(tmp_path), IQL)
    runs = [experiment.run(seed) for seed in range(5)] + [experiment.run(5, done=0.5)]
    packed = Experiment(results(tmp_path), ["algo=td3_bc", "seeds=3", "tracking=offline"]).run(0)
    secret = Experiment(results(tmp_path), ["algo=bc", "tracking=disabled"]).run(0)
    working = experiment.run(6, done=0.2, state="running")

    code, lines = wandb("sync", "iql")
    assert code == 0
    assert f"{runs[0].id} iql/hopper-medium: sent 20 rows" in lines
    assert lines[-1] == "6 sent, 1 left"
    assert set(server.runs) == {f"{run.id}-s{seed}" for seed, run in enumerate(runs)}
    for seed, run in enumerate(runs):
        assert rows_on(server, run, seed) == rows_of(run, seed)
        stored = server.runs[f"{run.id}-s{seed}"]
        assert stored.exit_code == (1 if seed == 5 else 0)
        assert stored.variables["groupName"] == "iql-hopper-medium"
        facts = stored.config["rlbench"]
        assert facts["run"] == f"iql/hopper-medium/{run.id}"
        assert (facts["simulator"], facts["dataset"]) == (SIMULATOR, CARD)

    code, lines = wandb("sync")
    assert (code, lines[-1]) == (0, "6 up to date, 2 left, 1 sent")
    assert all(rows_on(server, packed, seed) == rows_of(packed, seed) for seed in range(3))
    assert not {name for name in server.runs if name.startswith((secret.id, working.id))}
    requests = server.requests
    code, lines = wandb("sync")
    assert (code, lines[-1], server.requests) == (0, "7 up to date, 2 left", requests)

    # What is added afterwards is sent, and nothing a second time.
    runs[5].write_status(**{**runs[5].status(), "state": "finished"})
    runs[5].append([{"step": 10**6, "seed": 5, "eval/return": 1.5}])
    (runs[4].path / "wandb.json").unlink()
    code, lines = wandb("sync", "state=finished")
    assert (code, lines[-1]) == (0, "6 up to date, 1 left, 1 sent")
    assert f"{runs[5].id} iql/hopper-medium: sent 1 row" in lines
    assert rows_on(server, runs[5], 5) == rows_of(runs[5], 5)
    assert rows_on(server, runs[4], 4) == rows_of(runs[4], 4)
    assert server.runs[f"{runs[5].id}-s5"].exit_code == 0


def test_sync_while_the_server_goes_away(server: WandbServer, tmp_path: Path) -> None:
    experiment = Experiment(results(tmp_path), IQL)
    runs = {run.id: run for run in (experiment.run(seed) for seed in range(6))}
    stream, began = server.stream, []

    def stream_two(name: str, body: dict[str, Any]) -> None:
        began.append(name)
        server.failing = len(set(began)) > 2
        if not server.failing:
            stream(name, body)

    server.stream = stream_two  # type: ignore[method-assign]
    code, lines = wandb("sync", how=("-c", IMPATIENT))
    assert code == 1
    assert sum(line.endswith("sent 20 rows") for line in lines) == 2
    assert sum("not tried: the server cannot be used" in line for line in lines) >= 1
    assert "4 failed" in lines[-2]
    assert "the same command sends it" in lines[-1]

    server.stream, server.failing = stream, False  # type: ignore[method-assign]
    code, lines = wandb("sync")
    assert code == 0, lines
    assert "2 up to date" in lines[-1]
    for seed in range(6):
        (run,) = (run for run in runs.values() if f"{run.id}-s{seed}" in server.runs)
        assert rows_on(server, run, seed) == rows_of(run, seed)
        assert server.runs[f"{run.id}-s{seed}"].exit_code == 0
    assert len(server.runs) == 6


def test_sync_names_what_it_cannot_read(server: WandbServer, tmp_path: Path) -> None:
    run = Experiment(results(tmp_path), IQL).run(0)
    broken = Experiment(results(tmp_path), IQL).run(1)
    (broken.path / "meta.json").write_text("[]")
    code, lines = wandb("sync")
    assert code == 1
    assert any(line.startswith(f"{broken.id} failed: damaged") for line in lines)
    assert rows_on(server, run, 0) == rows_of(run, 0)
    code, lines = wandb("sync", "walker2d")
    assert code == 2
    assert "walker2d fits no run" in lines[0]


def test_pulled_runs_compare_as_those_made_here(server: WandbServer, tmp_path: Path) -> None:
    """Sent from one folder, pulled into another: every number of a comparison is the same."""
    for words, level in ((IQL, 60.0), (["algo=td3_bc", "seeds=3", "tracking=offline"], 40.0)):
        experiment = Experiment(results(tmp_path), words, level)
        for seed in (0, 3) if words == IQL else (0,):
            experiment.run(seed)
    assert wandb("sync")[0] == 0
    elsewhere = tmp_path / "elsewhere"
    made = {run.id: run for run in find_runs(results(tmp_path)).runs}

    code, lines = wandb("pull", "rlbench", "--to", elsewhere)
    assert (code, lines[-1]) == (0, f"3 pulled, in {elsewhere / 'runs'}")
    found = find_runs(elsewhere)
    assert not found.damaged
    for run in found.runs:
        own = made[run.id]
        assert run.path.relative_to(elsewhere) == own.path.relative_to(results(tmp_path))
        assert run.rows() == own.rows()
        assert (run.status()["state"], run.status()["score"]) == ("finished", own.status()["score"])
        urls = run.meta()["pulled"]["urls"]
        assert all(urls[str(row["seed"])].endswith(f"/{run.id}-s{row['seed']}") for row in run.rows())

    def comparison(root: Path) -> Any:
        read = Results(root)
        read.refresh()
        return contents(compare(read, Protocol.of("last")))

    here = comparison(results(tmp_path))
    assert here["arms"] == ["iql", "td3_bc"]
    assert comparison(elsewhere) == here

    # What was made here stays; what was pulled is pulled again when it has changed.
    before = {path: path.read_bytes() for path in results(tmp_path).rglob("*.json*")}
    code, lines = wandb("pull", "rlbench")
    assert (code, lines[-1]) == (0, f"3 already here, in {results(tmp_path) / 'runs'}")
    assert {path: path.read_bytes() for path in results(tmp_path).rglob("*.json*")} == before
    one = next(iter(made.values()))
    shutil.rmtree(elsewhere / one.path.relative_to(results(tmp_path)))
    code, lines = wandb("pull", "rlbench", "--to", elsewhere)
    assert (code, lines[-1]) == (0, f"2 already here, 1 pulled, in {elsewhere / 'runs'}")

    # They came from W&B, so they do not go there.
    requests = server.requests
    code, lines = wandb("sync", RLBENCH_RESULTS=str(elsewhere))
    assert (code, lines[-1], server.requests) == (0, "3 left", requests)


def began(day: int, level: float) -> Experiment:
    """What was run on a day, for the folder of the results that `RLBENCH_RESULTS` names."""
    facts = {"began": f"2026-01-{day:02}T12:00:00+0000"}
    return Experiment(Path(os.environ["RLBENCH_RESULTS"]), IQL, level, meta=facts)


def test_what_was_begun_anew_offline_replaces_what_the_server_has(server: WandbServer) -> None:
    old = began(1, 60.0).run(0)
    assert wandb("sync")[0] == 0
    assert rows_on(server, old, 0) == old.rows()
    shutil.rmtree(old.path)
    later = began(2, 10.0)
    new = later.run(0)
    mirror = WandbMirror(later.cfg, new.path, new.id)
    mirror.log([])
    mirror.finish("finished")
    code, lines = wandb("sync")
    assert (code, lines[-1]) == (0, "1 sent")
    assert f"{new.id} iql/hopper-medium: sent 20 rows" in lines
    assert rows_on(server, new, 0) == new.rows()
    assert server.runs[f"{new.id}-s0"].config["rlbench"]["began"] == "2026-01-02T12:00:00+0000"
    (new.path / "wandb.json").unlink()
    assert wandb("sync")[1][-1] == "1 up to date"

    # A copy of the first, that somebody has elsewhere.
    shutil.rmtree(new.path)
    old = began(1, 60.0).run(0)
    code, lines = wandb("sync")
    assert code == 1
    assert "failed: W&B has what was run later, 2026-01-02T12:00:00+0000 and not 2026-01-01T12:00:00+0000" in lines[0]
    assert f"delete {server.url}/tester/rlbench/runs/{old.id}-s0 to send this" in lines[0]
    assert len(rows_on(server, old, 0)) == 20
    assert rows_on(server, old, 0) != old.rows()
    assert server.runs[f"{old.id}-s0"].exit_code == 0


def test_a_resumed_life_does_not_go_on_with_what_was_before_rerun(server: WandbServer) -> None:
    old = began(1, 60.0).run(0)
    assert wandb("sync")[0] == 0
    shutil.rmtree(old.path)
    later = began(2, 10.0)
    new = later.run(0)
    for mode in ("offline", "online"):
        later.cfg.wandb.mode = mode
        mirror = WandbMirror(later.cfg, new.path, new.id)
        mirror.log([])
        mirror.finish("finished")
    assert rows_on(server, new, 0) == new.rows()


def test_a_pulled_run_is_finished_only_if_it_was(server: WandbServer, tmp_path: Path) -> None:
    experiment = Experiment(results(tmp_path), IQL)
    ends = {0: "finished", 1: "pruned", 2: "interrupted", 3: "failed", 4: "lost", 5: "pruned"}
    made = {seed: experiment.run(seed, 1.0 if seed == 0 else 0.1, state) for seed, state in ends.items()}
    packed = Experiment(results(tmp_path), ["algo=td3_bc", "seeds=3", "tracking=offline"]).run(0)
    assert wandb("sync")[0] == 0
    del server.runs[f"{made[5].id}-s5"].summary["rlbench/state"]  # sent by an earlier version
    del server.runs[f"{packed.id}-s1"]  # by hand
    elsewhere = tmp_path / "elsewhere"
    code, lines = wandb("pull", "rlbench", "--to", elsewhere)
    assert (code, lines[-1]) == (0, f"7 pulled, in {elsewhere / 'runs'}")
    said = f"td3_bc/hopper-medium/{packed.id}: pulled 40 rows of 2 seeds (0, 2): W&B lacks others of its 3"
    assert f"{said}, so it is not finished" in lines
    pulled = {run.id: run for run in find_runs(elsewhere).runs}
    for seed, state in (ends | {5: "interrupted"}).items():
        assert pulled[made[seed].id].status()["state"] == state
        assert pulled[made[seed].id].rows() == made[seed].rows()
    part = pulled[packed.id]
    assert part.rows() == [row for row in packed.rows() if row["seed"] != 1]
    assert (part.status()["state"], part.status()["seeds"]) == ("interrupted", 3)
    assert (part.content()["seed"], part.content()["seeds"]) == (0, 3)


def theirs(server: WandbServer, name: str, seed: int, points: int, **more: Any) -> None:
    """A run as another program would have left it: flat configuration, scores under a name of its own."""
    config = {"algorithm": "TD3_BC", "env": "hopper-medium-v2", "seed": seed, "alpha": 2.5, "name": f"TD3-{name}"}
    rows = [
        {"global_step": 5000 * (k + 1), "score": 10.0 * seed + k, "_step": k, "_runtime": 60.0 * k, "_timestamp": 0.0}
        for k in range(points)
    ]
    variables = {"project": "corl", "displayName": name, "groupName": "g", **more}
    wrapped = {key: {"value": value} for key, value in config.items()}
    stored = StoredRun({**variables, "config": json.dumps(wrapped)}, rows, {"_runtime": 60.0 * points}, 0)
    server.runs[name] = stored


def test_pull_runs_of_others(server: WandbServer, tmp_path: Path) -> None:
    for seed in range(3):
        theirs(server, f"run{seed}", seed, 2500 if seed == 0 else 20)  # more rows than a page
    theirs(server, "elsewhere", 0, 20, project="other")
    server.runs["run0"].history[7]["score"] = "NaN"
    server.runs["run0"].history[7]["video"] = {"_type": "video-file"}
    code, lines = wandb("pull", "corl", "--rename", "score=eval/normalized_score")
    assert (code, lines[-1]) == (0, f"3 pulled, in {results(tmp_path) / 'runs'}")

    read = Results(results(tmp_path), ["algo=TD3_BC"])
    read.refresh()
    assert not read.damaged
    assert read.runs["algo.alpha"].to_list() == [2.5] * 3
    assert read.runs["env"].unique().to_list() == ["hopper-medium-v2"]
    assert read.runs["state"].unique().to_list() == ["finished"]
    assert sorted(read.runs["seed"].to_list()) == [0, 1, 2]
    (long,) = (run for run in find_runs(results(tmp_path)).runs if run.rows()[0]["seed"] == 0)
    rows = long.rows()
    assert [row["step"] for row in rows] == [5000 * (k + 1) for k in range(2500) if k != 7]
    assert [row["eval/normalized_score"] for row in rows[:7]] == [float(k) for k in range(7)]
    assert 5000 * 8 not in [row["step"] for row in rows]  # what is no number is left out
    assert set(rows[7]) == {"step", "seed", "eval/normalized_score"}
    assert long.meta()["pulled"]["urls"] == {"0": f"{server.url}/tester/corl/runs/run0"}
    ran = subprocess.run([sys.executable, "-m", "rlbench", "resume", long.id], capture_output=True, text=True)
    assert ran.returncode == 2
    assert "pulled from W&B" in ran.stderr
    ran = subprocess.run([sys.executable, "-m", "rlbench", "runs"], capture_output=True, text=True, check=True)
    assert ran.stdout.count("TD3_BC") == 3
    ran = subprocess.run([sys.executable, "-m", "rlbench", "compare"], capture_output=True, text=True, check=True)
    assert "hopper-medium-v2" in ran.stdout

    theirs(server, "run1", 1, 25)
    server.runs["run1"].changed = 5
    code, lines = wandb("pull", "corl", "--rename", "score=eval/normalized_score")
    assert "2 already here" in lines[-1]
    assert any(line.endswith("pulled 25 rows of 1 seed") for line in lines)


def test_a_run_of_others_that_cannot_be_read_stops_no_other(server: WandbServer, tmp_path: Path) -> None:
    said: dict[str, Any] = {"whole": 1000000, "text": "1e6", "none": "many"}
    for name, steps in said.items():
        theirs(server, name, 0, 3)
        server.runs[name].variables["config"] = json.dumps({"max_timesteps": {"value": steps}})
    for name, seed in {"several": "0-3", "listed": [0, 1], "real": 7.0}.items():
        theirs(server, name, 0, 3)
        server.runs[name].variables["config"] = json.dumps({"seed": {"value": seed}})
    theirs(server, "gapped", 0, 3)
    server.runs["gapped"].history[1]["global_step"] = None
    code, lines = wandb("pull", "corl")
    assert (code, lines[-1]) == (1, f"4 failed, 3 pulled, in {results(tmp_path) / 'runs'}")
    assert "tester/corl/none: failed: its number of steps is no number: 'many'" in lines
    assert "tester/corl/several: failed: its seed is no number: '0-3'" in lines
    assert "tester/corl/listed: failed: its seed is no number: [0, 1]" in lines
    assert "tester/corl/gapped: failed: its global_step is no number: None" in lines
    runs = {run.content()["wandb"]["name"]: run for run in find_runs(results(tmp_path)).runs}
    assert {name: run.status()["steps"] for name, run in runs.items()} == {"whole": 10**6, "text": 10**6, "real": 15000}
    assert runs["real"].rows()[0]["seed"] == 7


def test_pull_ends_though_the_service_of_wandb_does_not(server: WandbServer, tmp_path: Path) -> None:
    theirs(server, "one", 0, 3)
    said = tmp_path / "said"
    with said.open("w") as out:  # no pipe, which the stopped service would keep open
        subprocess.run([sys.executable, "-c", STUCK, results(tmp_path)], stdout=out, timeout=60, check=True)
    kind, service = said.read_text().split()[0], int(said.read_text().split()[1])
    assert kind == "pulled"
    assert alive(service)
    os.kill(service, signal.SIGCONT)
    wait_for(lambda: not alive(service))


@pytest.mark.usefixtures("server")
def test_pull_says_what_is_wrong() -> None:
    code, lines = wandb("pull", "nowhere")
    assert code == 1
    assert "cannot list nowhere" in lines[-1]
    code, lines = wandb("pull", "corl", "--rename", "score")
    assert code == 2


def test_view(server: WandbServer) -> None:
    pytest.importorskip("wandb_workspaces", reason="views need the package wandb-workspaces")
    code, lines = wandb("view", "mine", "--entity", "team")
    assert code == 0, lines
    (view,) = server.views
    assert (view["entityName"], view["projectName"], view["displayName"]) == ("team", "mine", "rlbench")
    assert lines[-1].startswith(f"{server.url}/team/mine?nw=")
    section = json.loads(view["spec"])["section"]
    (runs,) = section["runSets"]
    assert runs["grouping"] == [{"section": "run", "name": "group"}]
    assert runs["runFeed"]["columnPinned"]["summary:eval/normalized_score"] is True
    assert section["settings"]["xAxis"] == "step"
    (scores, _) = section["panelBankConfig"]["sections"]
    curve = scores["panels"][0]["config"]
    assert (curve["metrics"], curve["xAxis"]) == (["eval/normalized_score"], "step")
    assert (curve["groupAgg"], curve["groupArea"]) == ("mean", "stddev")


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(900)
def test_sync_of_a_thousand(server: WandbServer, tmp_path: Path) -> None:
    experiment = Experiment(results(tmp_path), IQL, points=20)
    for seed in range(1000):
        experiment.run(seed)
    code, lines = wandb("sync")
    assert (code, lines[-1]) == (0, "1,000 sent")
    assert len(server.runs) == 1000
    assert all(len(stored.history) == 20 and stored.exit_code == 0 for stored in server.runs.values())
    began = time.monotonic()
    code, lines = wandb("sync")
    assert (code, lines[-1]) == (0, "1,000 up to date")
    assert time.monotonic() - began < 30
