"""Processor seconds from Enter to the first step of the optimiser, in new processes.

python -m benchmarks.start [--rounds N] [OVERRIDE...]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile

WORDS = ["algo=td3_bc", "env=hopper", "steps=10", "eval.every=10", "eval.episodes=1"]


def seconds(words: list[str]) -> float:
    """Of a run in a new process and a new folder, until its optimiser has made a step."""
    with tempfile.TemporaryDirectory() as results:
        command = [sys.executable, "-m", "benchmarks.first_step", *words]
        env = {**os.environ, "RLBENCH_RESULTS": results}
        ran = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if ran.returncode:
        sys.exit(ran.stderr)
    (told,) = [line for line in ran.stderr.splitlines() if line.startswith("first step ")]
    return float(told.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args()
    words = [*WORDS, *given.overrides]
    seconds(words)  # which may have to record data, and to compile
    found = sorted(seconds(words) for _ in range(given.rounds))
    low, median, high = statistics.quantiles(found, n=4)
    print(f"{median:.2f} processor seconds ({low:.2f} to {high:.2f}; the least {found[0]:.2f})")


if __name__ == "__main__":
    main()
