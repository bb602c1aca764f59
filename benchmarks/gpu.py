"""Races on an NVIDIA GPU: the plain loop, one seed and sixteen as CUDA graphs, and as compiled CUDA graphs.

    python -m benchmarks.gpu [RACE...]    into results/speed/gpu.json
    python -m benchmarks.gpu --table      the table, as Markdown

All contestants of a race are in one process and take turns; seconds are of the clock, and a turn ends when the GPU has
done its work. A profile of one turn says which kernels an update spends its time in.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.contestant import plain_loop, rlbench
from benchmarks.race import standing
from benchmarks.speed import RACES, RESULTS, here, write

RUN = "td3_bc", "iql", "cql", "cql bf16"
SEEDS = 16
SIDE = 4096  # of the matrices whose product measures the GPU
LISTED = 8  # kernels of a profile
PROFILED = 50  # updates
Step = Callable[[int], object]
OURS = {
    "CUDA graph": [],
    "compiled": ["compile=on"],
    f"CUDA graph, {SEEDS} seeds": [f"seeds={SEEDS}"],
    f"compiled, {SEEDS} seeds": [f"seeds={SEEDS}", "compile=on"],
}


def race(name: str, rounds: int, seconds: float) -> dict[str, Any]:
    """Rates and ratios of all contestants, their profiles, and the rate of bare products."""
    algo, chosen = name.split()[0], ["hardware=gpu", "dataset.size=20000", *RACES[name]]
    steps: dict[str, Step] = {"plain": plain_loop(algo, "cuda")[0]}
    gflop = dict.fromkeys(["plain", *OURS], 0.0)
    for side, words in OURS.items():
        steps[side], gflop[side] = rlbench(algo, [*chosen, *words])
    counts = {side: enough(step, seconds) for side, step in steps.items()}
    rates: dict[str, list[float]] = {side: [] for side in steps}
    for _ in range(rounds):
        for side, step in steps.items():
            rates[side].append(counts[side] / took(step, counts[side]))
    standings = {side: standing(gflop[side], each, rates["plain"]) for side, each in rates.items()}
    profiles = {side: profile(step) for side, step in steps.items()}
    return {"standings": standings, "profiles": profiles, "limit": limit("bf16" in name)}


def limit(bf16: bool) -> float:
    """GFLOP/s of bare products, the best of many."""
    dtype = torch.bfloat16 if bf16 else torch.float32
    a, b = (torch.randn(8, SIDE, SIDE, device="cuda", dtype=dtype) for _ in range(2))
    best = min(took(lambda _: torch.bmm(a, b), 1) for _ in range(20))
    return 2e-9 * len(a) * SIDE**3 / best


def took(step: Step, count: int) -> float:
    """Seconds until so many steps are done."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    step(count)
    torch.cuda.synchronize()
    return time.perf_counter() - start


def enough(step: Step, seconds: float) -> int:
    """Steps of one turn."""
    count = 8
    while (spent := took(step, count)) < seconds / 4:
        count *= 2
    return max(1, round(count * seconds / spent))


def profile(step: Step) -> dict[str, Any]:
    """How many kernels an update launches, how long they take, and which take most."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as recorded

    wall = statistics.median(took(step, PROFILED) for _ in range(5)) / PROFILED
    with recorded(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as record:
        took(step, PROFILED)
    spent: Counter[str] = Counter()
    launched: Counter[str] = Counter()
    for event in record.key_averages():
        if event.device_type.name == "CUDA":
            spent[event.key] += event.self_device_time_total / PROFILED
            launched[event.key] += event.count / PROFILED
    busy = spent.total()
    return {
        "seconds": wall,
        "kernels": launched.total(),
        "busy": busy / 1e6 / wall if busy else None,
        "most": [
            {"kernel": key[:90], "share": each / busy, "times": launched[key]}
            for key, each in spent.most_common(LISTED)
        ],
    }


def table() -> None:
    """The races, as Markdown."""
    found = json.loads((RESULTS / "gpu.json").read_text())
    print("| | contestant | updates a second | times the plain loop | kernels an update | GPU at work | of the limit |")
    print("|---|---|---|---|---|---|---|")
    for race, each in found["races"].items():
        for name, one in each["standings"].items():
            seeds = SEEDS if "seeds" in name else 1
            profile = each["profiles"][name]
            times = " to ".join(f"{seeds * one[key]:.1f}" for key in ("ratio_low", "ratio_high"))
            print(
                f"| {race} | {name} | {seeds * one['rate']:,.0f} | **{seeds * one['ratio']:.1f}** ({times}) | "
                f"{profile['kernels']:.0f} | {profile['busy']:.0%} | {one['gflop'] * one['rate'] / each['limit']:.0%} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("races", nargs="*", metavar="RACE", help=f"by default {', '.join(RUN)}")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a turn")
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if given.table:
        return table()
    path = RESULTS / "gpu.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"races": {}}
    found["machine"] = here() | {"gpu": torch.cuda.get_device_name()}
    for name in given.races or RUN:
        found["races"][name] = race(name, given.rounds, given.seconds)
        write(path, found)
        for each, one in found["races"][name]["standings"].items():
            print(f"{name}, {each}: {one['rate']:.1f}/s, {one['ratio']:.2f} x plain", flush=True)
    return None


if __name__ == "__main__":
    main()
