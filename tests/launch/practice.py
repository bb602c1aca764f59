"""The practice cluster, driven as its user drives it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parents[2] / "launch/cluster"
CANNOT_RUN_HERE = 3  # the exit code of launch/cluster where it lacks root or SLURM

ACCOUNTING = ("--accounting", "--user-signal", "--grace", "5")
PLAIN = ("--no-accounting", "--no-user-signal", "--grace", "5")


@dataclass(frozen=True)
class Practice:
    """A cluster in a folder. Whatever runs with its `environment` talks to it."""

    folder: Path

    @property
    def conf(self) -> Path:
        return self.folder / "slurm.conf"

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "SLURM_CONF": str(self.conf)}

    def script(self, verb: str, *options: str) -> subprocess.CompletedProcess[str]:
        """`launch/cluster VERB`."""
        command = [sys.executable, str(SCRIPT), verb, "--dir", str(self.folder), *options]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)

    def up(self, *options: str) -> str:
        done = self.script("up", *options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def down(self, *options: str) -> str:
        done = self.script("down", *options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def status(self) -> dict[str, Any]:
        return json.loads(self.script("status", "--json").stdout)

    def daemons(self) -> dict[str, int | None]:
        """Process ids by the daemons' names, None for one that is down."""
        return self.status()["daemons"]

    def kill(self, *names: str) -> None:
        """kill -9."""
        daemons = self.daemons()
        for name in names:
            pid = daemons[name]
            assert pid is not None
            os.kill(pid, signal.SIGKILL)

    def run(self, *command: str | Path, user: int | None = None) -> str:
        """What a command prints on this cluster."""
        done = subprocess.run(
            command,
            env=self.environment,
            user=user,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def sbatch(self, script: str, *options: str) -> str:
        """Submit a script; its job id. Unless the options say otherwise, nobody reads what it prints."""
        return self.run("sbatch", "--parsable", "--output=/dev/null", *options, "--wrap", script).strip()

    def jobs(self) -> dict[str, str]:
        """States of the jobs that are in the queue, by id."""
        return dict(line.split() for line in self.run("squeue", "-rho", "%i %T").splitlines())

    def node_of(self, job: str) -> str:
        return self.run("squeue", "-ho", "%N", "-j", job).strip()


def free_port() -> int:
    """The first of a hundred ports in a row where nobody listens, other for every process that asks."""

    def free(port: int) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) != 0

    for block in range(120):
        first = 20000 + 100 * ((os.getpid() + block) % 120)
        if all(free(port) for port in range(first, first + 20)):
            return first
    raise AssertionError("no ports are free")
