"""One side of a race: an algorithm of rlbench, the plain loop of the same algorithm, or d3rlpy's.

    python -m benchmarks.contestant rlbench|plain|d3rlpy ALGO SECONDS [OVERRIDE...]

d3rlpy's side runs with another interpreter, where d3rlpy is installed: `benchmarks.speed --d3rlpy PYTHON`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import torch

from benchmarks.race import serve

ROWS, OBSERVATION, ACTION = 300_000, 11, 3  # the widths of hopper


def columns() -> dict[str, np.ndarray]:
    """Transitions without structure: what a step costs does not depend on it."""
    rng = np.random.default_rng(0)
    last = np.arange(ROWS) % 1000 == 999
    return {
        "observations": rng.normal(size=(ROWS, OBSERVATION)).astype(np.float32),
        "actions": rng.uniform(-1, 1, (ROWS, ACTION)).astype(np.float32),
        "rewards": rng.normal(size=ROWS).astype(np.float32),
        "next_observations": rng.normal(size=(ROWS, OBSERVATION)).astype(np.float32),
        "terminals": last & (np.arange(ROWS) % 2000 == 1999),
        "timeouts": last & (np.arange(ROWS) % 2000 != 1999),
    }


def ours(name: str, overrides: list[str]) -> Callable[[int], None]:
    """The algorithm as `rlbench algo=NAME` builds it, one thread, matmul backend chosen as a run chooses it."""
    from rlbench import config, cpu
    from rlbench.build import build
    from rlbench.nets.matmul import choose_matmul_backend

    cpu.settle(1)
    choose_matmul_backend()
    algorithm, _ = build(config.compose([f"algo={name}", *overrides]))
    return lambda count: void(algorithm.train(count))


def plain(name: str) -> Callable[[int], None]:
    from benchmarks import plain as loops

    torch.set_num_threads(1)
    data = columns()
    one = {"rewards": data["rewards"][:, None], "terminals": data["terminals"][:, None]}
    keys = "observations", "actions", "rewards", "next_observations", "terminals"
    tensors = [torch.tensor((data | one)[key], dtype=torch.float32) for key in keys]
    step = getattr(loops, name)(tuple(tensors))

    def steps(count: int) -> None:
        for _ in range(count):
            step()

    return steps


def void(_: object) -> None:
    """Forget a result."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("side", choices=["rlbench", "plain", "d3rlpy"])
    parser.add_argument("algo")
    parser.add_argument("seconds", type=float)
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args()
    step = ours(given.algo, given.overrides) if given.side == "rlbench" else plain(given.algo)
    serve(step, given.seconds)


if __name__ == "__main__":
    main()
