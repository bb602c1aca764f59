"""Where a result comes from: versions, code, machine."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import socket
import subprocess
import sys
import time
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import rlbench
from rlbench import cpu

PACKAGES = "torch", "numpy", "mujoco", "gymnasium"


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe() -> dict[str, Any]:
    """What is known before anything is built; no package is imported for it."""
    return {
        "versions": dict(versions()),
        "git": dict(git()),
        "machine": {"host": socket.gethostname(), "system": platform.platform(), "cpu": cpu.model(), "cores": cores()},
        "command": sys.argv,
        "began": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


@cache
def versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {"rlbench": rlbench.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


@cache
def git() -> dict[str, str]:
    """Commit of the checkout that rlbench runs from and a hash of what was changed since; empty when installed."""
    root = Path(rlbench.__file__).parents[1]
    if (root / "git.json").exists():  # rlbench.launch.code copied it, and wrote down from where
        return json.loads((root / "git.json").read_text())
    if not (root / ".git").exists():
        return {}

    def ask(*words: str) -> bytes | None:
        try:
            return subprocess.run(["git", "-C", str(root), *words], capture_output=True, check=True, timeout=10).stdout
        except (OSError, subprocess.SubprocessError):
            return None  # no git, or no commit yet: the result stands without it

    commit, diff = ask("rev-parse", "HEAD"), ask("diff", "HEAD")
    found = {} if commit is None else {"commit": commit.decode().strip()}
    if diff:
        found["diff_sha256"] = hashlib.sha256(diff).hexdigest()
    return found
