"""launch/cluster: a cluster that comes up, survives the death of any of its daemons, and goes without a trace."""

import os
import re
import runpy
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.launch.practice import SCRIPT, Practice, free_port
from tests.processes import wait_for

pytestmark = pytest.mark.slurm

accounting_only = pytest.mark.parametrize("cluster", ["accounting"], indirect=True)
plain_only = pytest.mark.parametrize("cluster", ["plain"], indirect=True)


def processes_of(practice: Practice) -> list[str]:
    """Programs of the processes that were started with the cluster's SLURM_CONF."""
    mark = f"SLURM_CONF={practice.conf}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append((entry / "comm").read_text().strip())
        except OSError:
            continue
    return found


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder that a cluster's sockets fit into."""
    with tempfile.TemporaryDirectory(prefix="rlbench-slurm-") as name:
        yield Path(name)


def refused(*words: str | Path, code: int, **process: Any) -> str:
    """What `launch/cluster WORDS` says when it refuses."""
    command = [sys.executable, SCRIPT, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd="/", **process)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def counting_job(practice: Practice, file: Path) -> str:
    """A running job that writes its process id twice a second, and whose start slurmctld has saved."""
    job = practice.sbatch(f"while :; do echo $$ >> {file}; sleep 0.5; done")
    wait_for(file.exists)
    started, state = time.time(), practice.folder / "state/job_state"
    practice.run("scontrol", "update", f"JobId={job}", "Comment=running")  # it saves what has changed, within seconds
    wait_for(lambda: state.stat().st_mtime > started)
    return job


def goes_on(file: Path) -> bool:
    """Whether a counting job still counts, in its first life."""
    size = file.stat().st_size
    wait_for(lambda: file.stat().st_size > size)
    return len(lives(file)) == 1


def lives(file: Path) -> set[str]:
    """The processes that a counting job has had."""
    return set(file.read_text().split())


def test_several_come_up_at_once(short_path: Path) -> None:
    clusters = [Practice(short_path / name) for name in "abcd"]
    first = free_port()
    with ThreadPoolExecutor(len(clusters)) as threads:
        ports = range(first, first + 25 * len(clusters), 25)
        words = [("up", "--accounting", "--nodes", "1", "--port", str(port)) for port in ports]
        done = list(threads.map(lambda each, words: each.script(*words), clusters, words))
        list(threads.map(lambda each: each.down("--wipe"), clusters))
    assert [(each.returncode, each.stderr) for each in done] == [(0, "")] * len(clusters)


def test_every_node_runs_with_its_gpu(cluster: Practice) -> None:
    said = cluster.run("srun", "-N4", "--gres=gpu:1", "sh", "-c", "echo $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES")
    assert sorted(said.splitlines()) == ["n1 0", "n2 0", "n3 0", "n4 0"]


def test_slurm_conf_is_exported(cluster: Practice) -> None:
    assert "practice" in subprocess.check_output(["scontrol", "show", "config"], text=True)
    said = cluster.script("env").stdout
    assert said == f"export SLURM_CONF={os.environ['SLURM_CONF']}\n"


@pytest.mark.slow
@pytest.mark.usefixtures("accounting")  # without what it needs, `install` would install it
def test_readme_shows_how(short_path: Path) -> None:
    block = re.search(r"```bash\n(.+?)```", (SCRIPT.parent / "README.md").read_text(), re.S)
    assert block is not None
    here = f"{sys.executable} {SCRIPT} \\1 --dir {short_path}"
    commands = re.sub(r"launch/cluster (\w+)", here, block[1].replace("cluster up", f"cluster up --port {free_port()}"))
    done = subprocess.run(["bash", "-euc", commands], capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    assert {"nothing is missing", "n1", "n2", "n3", "n4", "down"} < set(done.stdout.splitlines())


@plain_only
def test_array_ends_to_the_last_task(cluster: Practice, tmp_path: Path) -> None:
    cluster.sbatch(f"touch {tmp_path}/$SLURM_ARRAY_TASK_ID", "--array=0-11", "--wait")
    assert {path.name for path in tmp_path.iterdir()} == {str(number) for number in range(12)}
    with pytest.raises(AssertionError, match="Invalid job array"):
        cluster.sbatch("true", "--array=0-1001")


@plain_only
def test_other_users_run_jobs_of_their_own(cluster: Practice) -> None:
    assert cluster.run("srun", "id", "-u", user=65534).strip() == "65534"


@accounting_only
def test_accounts_tell_how_jobs_ended(cluster: Practice) -> None:
    good, bad = cluster.sbatch("true"), cluster.sbatch("exit 3")
    query = ("sacct", "-XnP", "-o", "JobID,State,ExitCode", "-j", f"{good},{bad}")
    expected = [f"{good}|COMPLETED|0:0", f"{bad}|FAILED|3:0"]
    wait_for(lambda: cluster.run(*query).splitlines() == expected)


@plain_only
def test_without_accounts_the_log_tells(cluster: Practice) -> None:
    job = cluster.sbatch("true", "--wait")
    with pytest.raises(AssertionError, match="accounting storage is disabled"):
        cluster.run("sacct")
    assert cluster.run("sacct", "-cnP", "-o", "JobID,State", "-j", job).strip() == f"{job}|COMPLETED"


def test_up_again_changes_nothing(cluster: Practice) -> None:
    before = cluster.daemons()
    began = time.monotonic()
    assert cluster.up().startswith("up already")
    assert time.monotonic() - began < 10
    assert cluster.daemons() == before
    assert None not in before.values()


@pytest.mark.parametrize(
    ("cluster", "dead"),
    [
        ("plain", ["slurmctld"]),
        ("plain", ["slurmd-n1"]),
        ("accounting", ["munged"]),
        ("accounting", ["mariadbd", "slurmdbd"]),
    ],
    indirect=["cluster"],
)
def test_up_starts_what_was_killed_and_nothing_else(cluster: Practice, dead: list[str], tmp_path: Path) -> None:
    counting_job(cluster, tmp_path / "lines")  # on n1, the first
    before = cluster.daemons()
    cluster.kill(*dead)
    wait_for(lambda: all(cluster.daemons()[name] is None for name in dead))
    assert cluster.up().startswith(f"up: started {', '.join(dead)};")
    after = cluster.daemons()
    assert {name for name in after if after[name] != before[name]} == set(dead)
    assert goes_on(tmp_path / "lines")
    assert cluster.run("srun", "-n1", "echo", "works") == "works\n"


@accounting_only
def test_jobs_survive_the_death_of_all_daemons(cluster: Practice, tmp_path: Path) -> None:
    job = counting_job(cluster, tmp_path / "lines")
    cluster.kill(*cluster.daemons())
    cluster.up()
    assert cluster.jobs() == {job: "RUNNING"}
    assert goes_on(tmp_path / "lines")
    wait_for(lambda: "RUNNING" in cluster.run("sacct", "-Xn", "-j", job))


def test_down_leaves_no_process_and_touches_no_other(own: Practice, tmp_path: Path) -> None:
    bystander = subprocess.Popen(["sleep", "300"], env=own.environment)
    try:
        counting_job(own, tmp_path / "lines")
        own.kill("slurmd-n1")  # nobody is left to end the job
        assert own.down() == "down\n"
        assert processes_of(own) == ["sleep"]
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
    assert own.down() == "down already\n"
    assert own.script("status").returncode == 1


def test_folder_remembers_what_its_cluster_was_like(own: Practice) -> None:
    assert len(own.daemons()) == 4
    refused = own.script("up", "--nodes", "3")
    assert refused.returncode == 2
    assert "launch/cluster down comes first" in refused.stderr
    own.down()
    own.up()
    assert len(own.daemons()) == 4
    own.down("--wipe")
    assert not own.folder.exists()
    own.folder.mkdir()


@accounting_only
def test_accounts_and_job_numbers_outlive_down(cluster: Practice) -> None:
    job = cluster.sbatch("true", "--wait")
    cluster.down()
    cluster.up()
    wait_for(lambda: cluster.run("sacct", "-XnPo", "State", "-j", job).strip() == "COMPLETED")
    assert int(cluster.sbatch("true")) == int(job) + 1


def test_two_clusters_stand_side_by_side(accounting: Practice, plain: Practice) -> None:
    accounting.up()
    plain.up()
    assert set(accounting.daemons().values()).isdisjoint(plain.daemons().values())
    job = plain.sbatch("sleep 60", "--hold")
    assert job in plain.jobs()
    assert accounting.jobs() == {}
    plain.run("scancel", job)


def test_only_loopback_is_listened_at(cluster: Practice) -> None:
    if socket.gethostbyname(socket.gethostname()) != "127.0.0.1":
        pytest.skip("this machine's name is not 127.0.0.1, so that SLURM listens everywhere, as `up` says")
    pids = {str(pid) for pid in cluster.daemons().values()}
    sockets = {
        match[1]
        for pid in pids
        for link in Path(f"/proc/{pid}/fd").iterdir()
        if (match := re.fullmatch(r"socket:\[(\d+)\]", str(link.readlink())))
    }
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    places = [row[1] for row in rows if row[3] == "0A" and row[9] in sockets]
    assert len(places) >= 5  # slurmctld and four slurmd
    assert {place.partition(":")[0] for place in places} == {"0100007F"}


@pytest.mark.slow
@pytest.mark.parametrize(("cluster", "signal"), [("accounting", "USR2"), ("plain", "TERM")], indirect=["cluster"])
def test_high_pushes_low_aside_and_back_into_the_queue(cluster: Practice, signal: str, tmp_path: Path) -> None:
    step = tmp_path / "step"  # as submitit does it: the batch script starts a step, which is what gets the signals
    step.write_text(
        f"""#!/bin/bash
        trap 'echo USR2 >> {tmp_path}/signals' USR2
        trap 'echo TERM >> {tmp_path}/signals' TERM
        echo $SLURM_RESTART_COUNT. >> {tmp_path}/lives
        for i in $(seq 1200); do sleep 0.1; done
        """
    )
    step.chmod(0o755)

    def started() -> list[str]:
        return (tmp_path / "lives").read_text().split() if (tmp_path / "lives").exists() else []

    job = cluster.sbatch(f"srun {step}", "-plow", "-N4", "--exclusive", "--signal=USR2@30")
    wait_for(lambda: len(started()) == 4)  # on all nodes: what gets the signal before its traps are set dies unseen
    assert cluster.run("srun", "-phigh", "-N4", "--exclusive", "-n4", "echo", "first") == "first\n" * 4
    assert (tmp_path / "signals").read_text().split()[0] == signal
    wait_for(lambda: len(started()) == 8)
    assert sorted(started()) == [*["."] * 4, *["1."] * 4]
    assert cluster.jobs() == {job: "RUNNING"}


@pytest.mark.slow
@plain_only
def test_job_moves_when_its_node_is_lost(cluster: Practice, tmp_path: Path) -> None:
    job = counting_job(cluster, tmp_path / "lines")
    assert cluster.node_of(job) == "n1"
    cluster.kill("slurmd-n1")
    wait_for(lambda: cluster.node_of(job) == "n2", seconds=120)
    wait_for(lambda: len(lives(tmp_path / "lines")) == 2)
    cluster.up()
    cluster.run("scancel", job)
    wait_for(lambda: not cluster.jobs())
    size = (tmp_path / "lines").stat().st_size
    time.sleep(2)
    assert (tmp_path / "lines").stat().st_size == size  # the first life, which nobody could end till then, is over too


def test_another_user_is_told_that_it_needs_root(
    own: Practice, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main = runpy.run_path(str(SCRIPT))["main"]
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for verb in ("up", "status", "down"):
        assert main([verb, "--dir", str(own.folder)]) == 3
        assert "needs root" in capsys.readouterr().err


@pytest.mark.usefixtures("accounting")
def test_missing_programs_are_named_with_what_installs_them(tmp_path: Path) -> None:
    said = refused("up", "--dir", tmp_path / "new", code=3, env={**os.environ, "PATH": "/nowhere"})
    assert "not installed: sinfo, mariadb-install-db, my_print_defaults. `launch/cluster install` would run" in said
    assert "apt-get install --no-install-recommends slurm-wlm munge slurmdbd" in said
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("accounting")
def test_folder_of_something_else_is_left_alone(short_path: Path) -> None:
    (short_path / "thesis").write_text("a year's work")
    for verb in (["up"], ["down", "--wipe"]):
        assert "not empty and no cluster's" in refused(*verb, "--dir", short_path, code=2)
    assert [path.name for path in short_path.iterdir()] == ["thesis"]


def test_port_of_another_program_is_named(plain: Practice, short_path: Path) -> None:
    port = str(plain.status()["options"]["port"])
    said = refused("up", "--no-accounting", "--dir", short_path, "--port", port, code=1)
    assert f"port {port} for slurmctld is taken by another program: choose with --port" in said
    second = Practice(short_path)
    assert [name for name, pid in second.daemons().items() if pid] == ["munged"]
    second.down()
    assert None not in plain.daemons().values()
