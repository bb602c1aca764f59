"""Which library multiplies float32 matrices on the CPU, decided by a probe at the start of a run."""

import time
from functools import cache

import torch

EXACT = 5e-6  # largest relative error (against float64) that still counts as float32
FASTER = 1.3  # least gain that makes the switch worth it; the margin keeps the choice the same from run to run


def choose_matmul_backend(size: int = 256) -> str:
    """Set PyTorch's float32 matmul precision for this process and name the choice.

    MKL takes its AVX2 path on AMD processors; precision "medium" hands the product to oneDNN, which uses AVX-512. By
    its documentation it may round to bfloat16 (on processors with AMX it would), so the switch is kept only where it
    is numerically float32 and clearly faster.

    Returns:
        `highest` or `medium`.
    """
    choice = _probed(size)
    torch.set_float32_matmul_precision(choice)
    return choice


@cache
def _probed(size: int) -> str:
    """The choice; the processes that are forked from this one need not probe again."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(8, size, size, generator=generator) for _ in range(2))
    exact = a.double() @ b.double()
    seconds = {}
    for precision in ("highest", "medium"):
        torch.set_float32_matmul_precision(precision)
        error = ((a @ b - exact).norm() / exact.norm()).item()
        seconds[precision] = _best_time(a, b) if error < EXACT else float("inf")
    return "medium" if seconds["medium"] * FASTER < seconds["highest"] else "highest"


def _best_time(a: torch.Tensor, b: torch.Tensor) -> float:
    """Least seconds of one product in several: what it costs when nobody interrupts."""
    times = []
    for _ in range(10):
        start = time.perf_counter()
        torch.bmm(a, b)
        times.append(time.perf_counter() - start)
    return min(times)
