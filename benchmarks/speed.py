"""The measurements of `results/speed.md`: races against plain loops, seeds together, curves; and its tables.

    python -m benchmarks.speed races [ALGO...]    into results/speed/races.json
    python -m benchmarks.speed seeds              into results/speed/seeds.json
    python -m benchmarks.speed curves             into results/speed/curves.json and curves.pdf, .png
    python -m benchmarks.speed table              the tables, as Markdown

Everything runs on one core; rates are steps a second of the processor, so that what else runs on the machine counts
little. Run `rlbench data make` first where data sets are not in the cache.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.race import race
from rlbench.tracking import meta

RESULTS = Path("results/speed")
QUICK_MODEL = ["algo.dynamics.max_epochs=1"]  # how well the model is trained does not change what a step costs
PORTIONS = ["algo.rollout_every=100", "algo.rollout_starts=5000"]  # the published ratio, in smaller portions
RACES: dict[str, list[str]] = {
    "td3_bc": [],
    "iql": [],
    "cql": [],
    "sac_n": ["algo.num_critics=10"],
    "edac": ["algo.num_critics=10"],
    "rebrac": [],
    "mopo": [*QUICK_MODEL, *PORTIONS],
    "mobile": [*QUICK_MODEL, *PORTIONS],
    "cocoa": ["base=iql", *QUICK_MODEL, "algo.seeker_epochs=1"],
    "sac": ["algo.start_steps=300"],
    "td3": ["algo.start_steps=300"],
}


def command(side: str, algo: str, seconds: float, *overrides: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.contestant", side, algo, str(seconds), *overrides]


def races(algos: Sequence[str], rounds: int, seconds: float) -> None:
    """Plain loop, eager, compiled, and bare matrix products, in turns."""
    path = RESULTS / "races.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for algo in algos or RACES:
        words = RACES[algo]
        contestants = {
            "plain": command("plain", algo, seconds),
            "eager": command("rlbench", algo, seconds, *words),
            "compiled": command("rlbench", algo, seconds, *words, "compile=on"),
            "limit": command("limit", algo, seconds),
        }
        standings = race(contestants, rounds)
        machine = meta.describe()["machine"] | {"versions": meta.versions()}
        found[algo] = {"overrides": words, "standings": standings, "machine": machine}
        write(path, found)
        for name in ("eager", "compiled"):
            one = standings[name]
            result = f"{one['rate']:.1f}/s, {one['ratio']:.2f} x plain, {share(standings, name):.0%} of the limit"
            print(f"{algo} {name}: {result}", flush=True)


def share(standings: dict[str, Any], name: str) -> float:
    """Of the rate of bare products, the median over the rounds."""
    one, limit = standings[name], standings["limit"]
    pairs = zip(one["rates"], limit["rates"], strict=True)
    return statistics.median(rate * one["gflop"] / (bare * limit["gflop"]) for rate, bare in pairs)


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["races", "seeds", "curves", "table"])
    parser.add_argument("algos", nargs="*")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a turn")
    given = parser.parse_args()
    if given.what == "races":
        races(given.algos, given.rounds, given.seconds)


if __name__ == "__main__":
    main()
