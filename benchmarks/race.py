"""Contestants that take turns on one core: their rates, and the medians of the ratios within a round.

A contestant is a process that prints the GFLOP of its step (0: not known) when it is ready, and then, for each line it
reads, works for a while and prints how many steps it did and how many seconds of its processor they took. Only one
works at a time, each with one thread: what else runs on the machine slows them alike, and is taken out by comparing
within a round.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypedDict

THREADS = "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"


class Standing(TypedDict):
    """One contestant's result: steps a second of the processor, and times the rate of the first one."""

    gflop: float
    rate: float
    rates: list[float]
    ratio: float
    ratio_low: float
    ratio_high: float


def serve(step: Callable[[int], object], seconds: float, gflop: float) -> None:
    """The contestant's side: warm up, then work when told."""
    count, spent = 1, 0.0
    while spent < seconds / 4:  # also finds how many steps a turn takes
        count *= 2
        start = time.process_time()
        step(count)
        spent = time.process_time() - start
    count = max(1, round(count * seconds / spent))
    print(gflop, flush=True)
    for _ in sys.stdin:
        start = time.process_time()
        step(count)
        print(json.dumps([count, time.process_time() - start]), flush=True)


Command = Sequence[str]


def race(contestants: Mapping[str, Sequence[Command]], rounds: int) -> dict[str, Standing]:
    """Run them against each other; the first one is what the others are compared with.

    Args:
        contestants: name, and the command lines of its processes: where there are several, they work at the same time
            and their rates add up.
        rounds: turns of each; the first turn does not count.
    """
    environment = {**os.environ, **dict.fromkeys(THREADS, "1")}
    teams = {name: [start(each, environment) for each in commands] for name, commands in contestants.items()}
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    try:
        gflop = {name: max(float(answer(name, process)) for process in team) for name, team in teams.items()}
        for _ in range(rounds + 1):
            for name, team in teams.items():
                for process in team:
                    print(file=process.stdin, flush=True)
                turns = [json.loads(answer(name, process)) for process in team]
                rates[name].append(sum(steps / seconds for steps, seconds in turns))
    finally:
        for process in [process for team in teams.values() for process in team]:
            process.kill()
            process.wait()
    first = next(iter(contestants))
    return {name: standing(gflop[name], values[1:], rates[first][1:]) for name, values in rates.items()}


def start(command: Command, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)


def answer(name: str, process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{name} ended with exit code {process.wait()}")
    return line.strip()


def standing(gflop: float, rates: Sequence[float], first: Sequence[float]) -> Standing:
    ratios = [mine / other for mine, other in zip(rates, first, strict=True)]
    quartiles = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else [ratios[0]] * 3
    return {
        "gflop": gflop,
        "rate": statistics.median(rates),
        "rates": [round(rate, 2) for rate in rates],
        "ratio": statistics.median(ratios),
        "ratio_low": quartiles[0],
        "ratio_high": quartiles[2],
    }
