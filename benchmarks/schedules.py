"""A sweep over eight seeds on this machine against the schedules that a person would write by hand.

    python benchmarks/schedules.py OVERRIDES... [--rounds 3]

Each round runs every schedule once, in turn, into an empty results folder; the data are cached before. For each, one
JSON line: median seconds of wall clock and of processor, all processes of it together, and their ratio to the best
schedule by hand of the same round (median over the rounds).
"""

import argparse
import ctypes
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>: processes whose parent is gone are ours to wait for, and to account for
SEEDS = 8
RLBENCH = [sys.executable, "-m", "rlbench"]
OURS = "hardware=local"


def schedules(words: list[str], cores: int) -> dict[str, tuple[list[list[str]], int]]:
    """Commands, and how many of them at a time."""
    share = SEEDS // cores
    shares = [[*words, f"seed={first}", f"seeds={share}"] for first in range(0, SEEDS, share)]
    return {
        OURS: ([["-m", *words, f"seed=range(0,{SEEDS})", "hardware=local"]], 1),
        f"{cores} processes of {share} seeds": (shares, cores),
        f"{SEEDS} processes, {cores} at a time": ([[*words, f"seed={seed}"] for seed in range(SEEDS)], cores),
        f"1 process of {SEEDS} seeds": ([[*words, f"seeds={SEEDS}"]], 1),
        f"1 process of {SEEDS} seeds, {cores} threads": ([[*words, f"seeds={SEEDS}", f"hardware.threads={cores}"]], 1),
    }


def run(commands: list[list[str]], at_once: int) -> tuple[float, float]:
    """Seconds of wall clock and of processor."""
    folder = tempfile.mkdtemp(prefix="schedules-")
    environment = {**os.environ, "RLBENCH_RESULTS": folder}
    before, began = os.times(), time.monotonic()
    working: list[subprocess.Popen[bytes]] = []
    for command in commands:
        while len(working) == at_once:
            working = [each for each in working if each.poll() is None]
            time.sleep(0.01)
        quiet = subprocess.DEVNULL
        working.append(subprocess.Popen([*RLBENCH, *command], env=environment, stdout=quiet, stderr=quiet))
    codes = [each.wait() for each in working]
    wall = time.monotonic() - began
    while True:  # helpers that outlive the command by a moment
        try:
            os.wait()
        except ChildProcessError:
            break
    after = os.times()
    states = [json.loads(path.read_text()) for path in Path(folder).rglob("status.json")]
    if any(codes) or sum(state["seeds"] for state in states if state["state"] == "finished") != SEEDS:
        raise SystemExit(f"{commands} did not train {SEEDS} seeds: see {folder}")
    shutil.rmtree(folder)
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="+", metavar="OVERRIDE")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    plans = schedules([*given.words, "tracking=disabled"], len(os.sched_getaffinity(0)))
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in plans}
    for _ in range(given.rounds):
        for name, (commands, at_once) in plans.items():
            found[name].append(run(commands, at_once))
    best = [min(found[name][i] for name in plans if name != OURS) for i in range(given.rounds)]
    for name, taken in found.items():
        ratio = statistics.median(wall / other for (wall, _), (other, _) in zip(taken, best, strict=True))
        wall, spent = (statistics.median(column) for column in zip(*taken, strict=True))
        line = {"schedule": name, "wall": round(wall, 1), "cpu": round(spent, 1), "to_best": round(ratio, 2)}
        print(json.dumps({**line, "walls": [round(each, 1) for each, _ in taken]}), flush=True)


if __name__ == "__main__":
    main()
