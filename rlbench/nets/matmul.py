"""Which library multiplies float32 matrices, decided on a CPU by a probe at the start of a run."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

import torch

from rlbench import cpu
from rlbench.files import write_atomically
from rlbench.paths import cache_root

EXACT = 5e-6  # largest relative error (against float64) that still counts as float32
FASTER = 1.05  # least gain that makes the switch worth it
TRIALS = 20


def choose_matmul_backend(size: int = 256, device: str = "cpu") -> str:
    """Set PyTorch's float32 matmul precision for this process and name the choice.

    MKL takes its AVX2 path on AMD processors; precision "medium" hands the product to oneDNN, which uses AVX-512. By
    its documentation it may round to bfloat16 (on processors with AMX it does), so the switch is kept only where it
    is numerically float32 and faster. The choice is kept in the cache folder: the same run twice on a machine is the
    same to the bit. Whether it is float32 is looked at in every process: settings of oneDNN's change that. On a GPU
    "medium" would mean TensorFloat-32, with the digits of float16: float32 stays what it is.

    Returns:
        `highest` or `medium`.
    """
    choice = _remembered(size) if device == "cpu" else "highest"
    torch.set_float32_matmul_precision(choice)
    return choice


@cache
def _remembered(size: int) -> str:
    """The choice of an earlier process on such a machine, or this one's."""
    path = cache_root() / "matmul.json"
    known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    machine = f"{cpu.model()}, torch {torch.__version__}, {torch.get_num_threads()} threads"
    if known.get(machine) not in ("highest", "medium"):
        known[machine] = _probed(size)
        with suppress(OSError):  # a cache that cannot be written costs a probe a run
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, json.dumps(known, indent=1) + "\n")
    return known[machine] if known[machine] == "highest" or _is_float32(size) else "highest"


def _probed(size: int) -> str:
    """The faster one, of those that are exact, at the shapes of an update."""
    if not _is_float32(size):
        return "highest"
    a, b = _factors(size)
    seconds = {"highest": float("inf"), "medium": float("inf")}
    for _ in range(TRIALS):
        for precision, least in seconds.items():
            with _precision(precision):
                start = time.perf_counter()
                torch.bmm(a, b)
                took = time.perf_counter() - start
            seconds[precision] = min(least, took)  # what it costs when nobody interrupts
    return "medium" if seconds["medium"] * FASTER < seconds["highest"] else "highest"


def _is_float32(size: int) -> bool:
    """Whether "medium" multiplies in float32 here."""
    a, b = _factors(size)
    exact = a.double() @ b.double()
    with _precision("medium"):
        return bool((torch.bmm(a, b) - exact).norm() / exact.norm() < EXACT)


def _factors(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(8, size, size, generator=generator) for _ in range(2))
    return a, b


@contextmanager
def _precision(precision: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
