"""`rlbench doctor`: whether this machine has what it takes, and what to do where it has not."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from rich.markup import escape
from rich.table import Table

from rlbench import paths
from rlbench.choices import Choices, read
from rlbench.cli import Parser
from rlbench.console import Wide
from rlbench.tracking import meta

GIGABYTE = 10**9
NEEDED, ROOMY = 1 * GIGABYTE, 10 * GIGABYTE
"""Free disk below which a run is likely to fail, and above which nothing is to be feared."""
COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes:
        state: fail: runs will fail; warn: some will, or slowly.
        found: what there is.
        advice: what to do, where the state is not ok.
    """

    what: str
    state: Literal["ok", "warn", "fail"]
    found: str
    advice: str = ""


def main(argv: list[str]) -> int:
    parser = Parser("doctor", "Whether this machine has what it takes. Exit code 1 where something fails.")
    parser.add_argument("--json", action="store_true", help="for a program")
    asked = parser.read(argv)
    checks: list[Callable[[], Iterator[Finding]]] = [python, packages, device, simulator, choices, folders, wandb]
    findings = [finding for check in checks for finding in check()]
    if asked.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
        for each in findings:
            advice = f"\n{each.advice}" if each.advice else ""
            table.add_row(f"[{COLOURS[each.state]}]{each.state}[/]", each.what, escape(each.found + advice))
        Wide().print(table)
    return 1 if any(finding.state == "fail" for finding in findings) else 0


def python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    fits = sys.version_info >= (3, 11)
    yield Finding(
        "python", "ok" if fits else "fail", f"{version}, {sys.executable}", "" if fits else "take 3.11 or later"
    )


def packages() -> Iterator[Finding]:
    """The installed versions against the bounds that the package declares."""
    try:
        declared = importlib.metadata.requires("rlbench") or []
    except importlib.metadata.PackageNotFoundError:
        yield Finding("packages", "warn", "rlbench is not installed, so its bounds are unknown", "pip install -e .")
        return
    for requirement in map(Requirement, declared):
        extra = requirement.marker is not None and not requirement.marker.evaluate({"extra": ""})
        bounds = f"needs {requirement.specifier}" if requirement.specifier else ""
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            if not extra:
                yield Finding(
                    requirement.name, "fail", "missing", f"pip install '{requirement.name}{requirement.specifier}'"
                )
            continue
        fits = requirement.specifier.contains(version, prereleases=True)
        if not fits:
            advice = f"{bounds}: pip install '{requirement.name}{requirement.specifier}'"
            yield Finding(requirement.name, "warn" if extra else "fail", version, advice)
        elif not extra:
            yield Finding(requirement.name, "ok", f"{version} {bounds}".rstrip())


def device() -> Iterator[Finding]:
    """Where torch can compute."""
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Finding("torch", "fail", str(error), "reinstall torch")
        return
    threads = torch.get_num_threads()
    yield Finding("processor", "ok", f"{meta.cores()} cores, torch {torch.__version__} would take {threads} threads")
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        yield Finding("gpu", "ok", names)
    elif Path("/proc/driver/nvidia/version").exists():
        build = "is built without CUDA" if torch.version.cuda is None else f"wants CUDA {torch.version.cuda}"
        yield Finding(
            "gpu", "warn", f"there is a driver, but torch finds no GPU: it {build}", "install torch's CUDA build"
        )
    else:
        yield Finding("gpu", "ok", "none: hardware=cpu")


def simulator() -> Iterator[Finding]:
    """Whether the environments can be built and stepped: the first three, and one of each extra that is installed."""
    from rlbench import config

    files = {name: read(path) for name, path in Choices().files["env"].items()}
    known = [name for name, file in files.items() if file.get("install") and file["id"] != "???"]
    extras = {files[name]["install"]: name for name in sorted(known, reverse=True)}  # the first, which draws nothing
    for name in ("hopper", "halfcheetah", "walker2d", *sorted(extras.values())):
        control = config.instantiate(files[name])
        if not control.installed:
            continue
        try:
            env = control.make()
            env.reset(seed=0)
            env.step(env.action_space.sample())
            env.close()
        except Exception as error:  # noqa: BLE001 - whatever a simulator raises is the finding
            yield Finding(
                f"env={name}",
                "fail",
                f"{type(error).__name__}: {error}",
                f"pip install '{control.install or 'gymnasium[mujoco]'}'",
            )
        else:
            yield Finding(f"env={name}", "ok", "steps")


def choices() -> Iterator[Finding]:
    found = Choices()
    yield Finding("choices", "ok", f"{len(found.options('algo'))} algorithms, in {paths.conf_root()}")


def folders() -> Iterator[Finding]:
    """Whether results and cache can be written, and how much more fits."""
    for what, folder, variable in (
        ("results", paths.results_root(), "RLBENCH_RESULTS"),
        ("cache", paths.cache_root(), "RLBENCH_CACHE"),
    ):
        existing = next(place for place in (folder, *folder.parents) if place.exists())
        try:
            with tempfile.TemporaryFile(dir=existing):
                free = shutil.disk_usage(existing).free
        except OSError as error:
            yield Finding(what, "fail", f"{folder}: {error.strerror}", f"set {variable} to a folder that you can write")
            continue
        state: Literal["ok", "warn", "fail"] = "ok" if free > ROOMY else "warn" if free > NEEDED else "fail"
        advice = "" if state == "ok" else f"free some space, or set {variable} to a larger disk"
        yield Finding(what, state, f"{folder}, {free / GIGABYTE:.0f} GB free", advice)


def wandb() -> Iterator[Finding]:
    """Whether W&B could mirror online."""
    mode = os.environ.get("WANDB_MODE")
    keyed = "WANDB_API_KEY" in os.environ or "api.wandb.ai" in netrc()
    found = "logged in" if keyed else "no account: tracking=offline mirrors in files, tracking=online would too"
    yield Finding("wandb", "ok", f"{found}{f', WANDB_MODE={mode}' if mode else ''}")


def netrc() -> str:
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    return path.read_text() if path.is_file() and os.access(path, os.R_OK) else ""
