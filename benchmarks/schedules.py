"""A sweep over eight seeds on this machine against the schedules that a person would write by hand.

    python benchmarks/schedules.py OVERRIDES... [--rounds 3]

Each round runs every schedule once, in turn, into an empty results folder; the data are cached before. One JSON line a
schedule, medians over the rounds: seconds of wall clock; of processor, in all; and of processor on the path that a
machine with nothing else to do would have to wait for (what comes before the runs, then the busiest core). `to_best` is
that path's ratio to the shortest of the schedules by hand in the same round: it says the same on a busy machine.
"""

import argparse
import ctypes
import heapq
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>: processes whose parent is gone are ours to wait for, and to account for
TICKS = os.sysconf("SC_CLK_TCK")
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
    }


@dataclass
class Taken:
    """What a schedule took, in seconds."""

    wall: float
    cpu: float
    path: float


def run(commands: list[list[str]], at_once: int, cores: int) -> Taken:
    """Run the commands, and measure."""
    folder = tempfile.mkdtemp(prefix="schedules-")
    environment = {**os.environ, "RLBENCH_RESULTS": folder}
    before, began = os.times(), time.monotonic()
    waiting, working, meters = list(commands), list[Meter](), list[Meter]()
    while waiting or working:
        while waiting and len(working) < at_once:
            quiet = subprocess.DEVNULL
            command = [*RLBENCH, *waiting.pop(0)]
            meters.append(Meter(subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet)))
            working.append(meters[-1])
        for each in working:
            each.read()
        working = [each for each in working if each.process.poll() is None]
        time.sleep(0.1)
    wall = time.monotonic() - began
    while True:  # helpers that outlive the command by a moment
        try:
            os.wait()
        except ChildProcessError:
            break
    after = os.times()
    states = [json.loads(path.read_text()) for path in Path(folder).rglob("status.json")]
    if sum(state["seeds"] for state in states if state["state"] == "finished") != SEEDS:
        raise SystemExit(f"{commands} did not train {SEEDS} seeds: see {folder}")
    shutil.rmtree(folder)
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    first = meters[0]
    path = (
        first.before() + busiest(first.runs(), cores) if first.runs() else busiest([m.all() for m in meters], at_once)
    )
    return Taken(wall, cpu, path)


class Meter:
    """Processor seconds of a command's processes: the command, what it starts, and what is forked from that.

    Args:
        process: the command.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.spent: dict[int, tuple[int, float]] = {}
        """Depth and seconds, by process; what it spent since the last look before its end is lost."""

    def read(self) -> None:
        stats = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                fields = path.read_text().rpartition(")")[2].split()
                stats[int(path.parent.name)] = int(fields[1]), (int(fields[11]) + int(fields[12])) / TICKS
        depths = {self.process.pid: 0}
        for _ in range(3):
            depths |= {pid: depths[parent] + 1 for pid, (parent, _) in stats.items() if parent in depths}
        self.spent |= {pid: (depth, stats[pid][1]) for pid, depth in depths.items() if pid in stats}

    def all(self) -> float:
        return sum(seconds for _, seconds in self.spent.values())

    def runs(self) -> list[float]:
        """Of the runs of a queue."""
        return [seconds for depth, seconds in self.spent.values() if depth == 2]

    def before(self) -> float:
        """Of the queue itself, and of the process that the runs are forked from."""
        return sum(seconds for depth, seconds in self.spent.values() if depth < 2)


def busiest(lengths: list[float], workers: int) -> float:
    """The load of the busiest worker when each takes the next as soon as it is free."""
    loads = [0.0] * workers
    for length in lengths:
        heapq.heapreplace(loads, loads[0] + length)
    return max(loads)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="+", metavar="OVERRIDE")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    cores = len(os.sched_getaffinity(0))
    plans = schedules([*given.words, "tracking=disabled"], cores)
    found: dict[str, list[Taken]] = {name: [] for name in plans}
    for _ in range(given.rounds):
        for name, (commands, at_once) in plans.items():
            found[name].append(run(commands, at_once, cores))
            print(name, found[name][-1], file=sys.stderr, flush=True)
    best = [min(found[name][i].path for name in plans if name != OURS) for i in range(given.rounds)]
    for name, taken in found.items():
        line = {
            key: round(statistics.median(getattr(each, key) for each in taken), 1) for key in ("wall", "cpu", "path")
        }
        ratio = statistics.median(each.path / other for each, other in zip(taken, best, strict=True))
        print(json.dumps({"schedule": name, **line, "to_best": round(ratio, 2)}), flush=True)


if __name__ == "__main__":
    main()
