"""One side of a race: an algorithm of rlbench, the plain loop of the same algorithm, or bare matrix products.

python -m benchmarks.contestant rlbench|eager|plain|limit ALGO SECONDS [OVERRIDE...]

`rlbench` does updates as they are in the long run, `eager` as they are at first.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from benchmarks import plain, plain_models, plain_online
from benchmarks.race import serve
from rlbench import config, cpu
from rlbench.build import build
from rlbench.nets.matmul import choose_matmul_backend

ROWS, OBSERVATION, ACTION = 300_000, 11, 3  # the widths of hopper
LOOPS = {
    **{name: getattr(plain, name) for name in ("td3_bc", "iql", "cql", "sac_n", "edac", "rebrac")},
    **{name: getattr(plain_models, name) for name in ("mopo", "mobile", "cocoa")},
}
ONLINE = {"sac": plain_online.sac, "td3": plain_online.td3}
PRODUCTS, SIDE = 8, 256


def rlbench(name: str, overrides: list[str], eager: bool = False) -> tuple[Callable[[int], object], float]:
    """The algorithm as `rlbench algo=NAME OVERRIDES` builds it, and GFLOP of an update."""
    from torch.utils.flop_counter import FlopCounterMode

    cpu.settle(1)
    choose_matmul_backend()
    cfg = config.compose([f"algo={name}", "env=hopper", *overrides])
    say = partial(print, file=sys.stderr)
    algorithm, _ = build(cfg, say=say)
    algorithm.train(getattr(algorithm, "start_steps", 0) + 4)
    with FlopCounterMode(display=False) as counter:
        algorithm.train(4)
    if not eager:
        algorithm.capture(compiled=cfg.compile == "on", say=say)  # type: ignore[attr-defined]
        algorithm.train(4)
    return algorithm.train, counter.get_total_flops() / 4e9


def plain_loop(name: str, device: str = "cpu") -> tuple[Callable[[int], object], float]:
    """The plain loop on transitions without structure: what a step costs does not depend on it."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    s, s2 = (torch.randn(ROWS, OBSERVATION, generator=generator) for _ in range(2))
    a = 2 * torch.rand(ROWS, ACTION, generator=generator) - 1
    r = torch.randn(ROWS, 1, generator=generator)
    done = torch.from_numpy((np.arange(ROWS) % 1000 == 999).astype(np.float32))[:, None]
    with torch.device(device):  # where the networks are made
        data = tuple(column.to(device) for column in (s, a, r, s2, done))
        step = ONLINE[name]() if name in ONLINE else LOOPS[name](data)

    def steps(count: int) -> None:
        for _ in range(count):
            step()

    steps(plain_online.WARM_UP if name in ONLINE else 1)
    return steps, 0.0


def products(dtype: torch.dtype = torch.float32) -> tuple[Callable[[int], object], float]:
    """Products of matrices as wide as the networks, by the faster of PyTorch's libraries."""
    cpu.settle(1)
    choose_matmul_backend()
    a, b = (torch.randn(PRODUCTS, SIDE, SIDE).to(dtype) for _ in range(2))

    def steps(count: int) -> None:
        for _ in range(count):
            torch.bmm(a, b)

    return steps, 2e-9 * PRODUCTS * SIDE**3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("side", choices=["rlbench", "eager", "plain", "limit"])
    parser.add_argument("algo")
    parser.add_argument("seconds", type=float)
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args()
    build_side: dict[str, Callable[[], tuple[Callable[[int], object], float]]] = {
        "rlbench": partial(rlbench, given.algo, given.overrides),
        "eager": partial(rlbench, given.algo, given.overrides, eager=True),
        "plain": partial(plain_loop, given.algo),
        "limit": partial(products, torch.bfloat16 if "algo.precision=bf16" in given.overrides else torch.float32),
    }
    step, gflop = build_side[given.side]()
    serve(step, given.seconds, gflop)


if __name__ == "__main__":
    main()
