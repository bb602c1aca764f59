"""Which library multiplies float32 matrices, decided on a CPU by a probe at the start of a run."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from rlbench import cpu
from rlbench.files import write_atomically
from rlbench.nets import amx
from rlbench.nets.mlp import linear
from rlbench.paths import cache_root

EXACT = 5e-6  # largest relative error (against float64) that still counts as float32
FASTER = 1.05  # least gain that makes the switch worth it
TRIALS = 20
BACKENDS = "highest", "medium", "amx"
"""PyTorch's float32 matmul precisions, and rlbench's own products for Intel's matrix units (`rlbench.nets.amx`)."""


def choose_matmul_backend(size: int = 256, device: str = "cpu") -> str:
    """Choose what multiplies float32 matrices in this process, and name it.

    MKL takes its AVX2 path on AMD processors; precision "medium" hands the product to oneDNN, which uses AVX-512. By
    its documentation it may round to bfloat16 (on processors with AMX it does); "amx" is exact there. A backend is
    taken only where it is numerically float32 and faster. The choice is kept in the cache folder: the same run twice on
    a machine is the same to the bit. Whether it is float32 is looked at in every process: settings of oneDNN's change
    that. On a GPU "medium" would mean TensorFloat-32, with the digits of float16: float32 stays what it is.

    Returns:
        One of `BACKENDS`.
    """
    return use(_remembered(size) if device == "cpu" else "highest")


def use(backend: str) -> str:
    """Multiply by this backend from here on, or by MKL where that cannot be had here; the one that is used."""
    backend = backend if backend != "amx" or amx.available() else "highest"
    amx.active = backend == "amx"
    torch.set_float32_matmul_precision("highest" if amx.active else backend)
    return backend


def in_use() -> str:
    """The backend of this process."""
    return "amx" if amx.active else torch.get_float32_matmul_precision()


@cache
def _remembered(size: int) -> str:
    """The choice of an earlier process on such a machine, or this one's."""
    names = [name for name in BACKENDS if name != "amx" or amx.available()]
    machine = f"{cpu.model()}, torch {torch.__version__}, {torch.get_num_threads()} threads, of {', '.join(names)}"
    path = cache_root() / "matmul.json"
    choice = _known(path).get(machine)
    if choice not in names:
        choice = _first(path, machine, names, size)
    return choice if choice == "highest" or _is_float32(choice, size) else "highest"


def _known(path: Path) -> dict[str, str]:
    """The choices that a cache remembers, by machine."""
    return json.loads(path.read_text()) if path.exists() else {}


def _first(path: Path, machine: str, names: Sequence[str], size: int) -> str:
    """The choice of the first process that asks; those that come meanwhile wait, so that all of them have the same."""
    from filelock import FileLock

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            known = _known(path)
            if known.get(machine) not in names:
                known[machine] = _probed(names, size)
                write_atomically(path, json.dumps(known, indent=1) + "\n")
            return known[machine]
    except OSError:  # a cache that cannot be written costs a probe a run
        return _probed(names, size)


def _probed(names: Sequence[str], size: int) -> str:
    """The fastest of these, of those that are exact, at the shapes of an update."""
    factors = _factors(size)
    seconds = {name: float("inf") for name in names if name == "highest" or _is_float32(name, size)}
    for _ in range(TRIALS):
        for name, least in seconds.items():
            with _by(name):
                start = time.perf_counter()
                linear(*factors)
                took = time.perf_counter() - start
            seconds[name] = min(least, took)  # what it costs when nobody interrupts
    fastest = min(seconds, key=lambda name: seconds[name])
    return fastest if seconds[fastest] * FASTER < seconds["highest"] else "highest"


def _is_float32(backend: str, size: int) -> bool:
    """Whether this one multiplies in float32 here."""
    x, weight, bias = _factors(size)
    exact = x.double() @ weight.double() + bias.double()
    with _by(backend) as used:
        return used == backend and bool((linear(x, weight, bias) - exact).norm() / exact.norm() < EXACT)


def _factors(size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, weights and biases of a layer."""
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(8, size, size, generator=generator) for _ in range(2))
    return x, weight, torch.randn(8, 1, size, generator=generator)


@contextmanager
def _by(backend: str) -> Iterator[str]:
    before = in_use()
    try:
        yield use(backend)
    finally:
        use(before)
