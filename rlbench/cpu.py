"""Which processor this is, and how this process uses it: threads, and memory that is kept instead of returned."""

import ctypes
import platform
from pathlib import Path

# glibc's <malloc.h>
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8
PAD = 1 << 28
NEVER = (1 << 31) - 1
# Linux's <sys/mman.h>
MADV_HUGEPAGE, HUGE = 14, 1 << 21

NAMES = {"model name": "", "cpu family": "family ", "model": "model "}  # in /proc/cpuinfo


def settle(threads: int) -> None:
    """Compute with so many threads, with subnormal numbers as zero, and let freed memory serve the next allocation.

    Adam's means of the gradients of a unit that has died shrink with every step, and end as subnormal numbers that
    rounding keeps from becoming 0. Intel's processors take many times as long for them as for others.

    By default glibc returns every large tensor to the system when it is freed, and each update has its pages zeroed
    again: two thirds of the time of an update of CQL, whose tensors are wide. What is kept is at most the largest
    amount that was in use. Its next half gigabyte is to be in pages of 2 MB, where the system has them: with small ones
    updates take 3 to 4 % longer, to find out where their tensors are.
    """
    import numpy as np  # late, as torch: what only names the processor does without
    import torch

    torch.set_num_threads(threads)
    for kind in (np.float32, np.float64):
        np.finfo(kind)  # looks subnormal numbers up once, and would warn that there are none
    torch.set_flush_denormal(True)
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for option, value in ((M_ARENA_MAX, 1), (M_MMAP_MAX, 0), (M_TOP_PAD, PAD), (M_TRIM_THRESHOLD, NEVER)):
            libc.mallopt(option, value)
        libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
        libc.free.argtypes, libc.madvise.argtypes = [ctypes.c_void_p], [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        if begin := libc.malloc(PAD):  # which lets the heap grow by this much and the pad, neither of them touched yet
            libc.free(begin)
            libc.madvise(-(-begin // HUGE) * HUGE, 2 * PAD - HUGE, MADV_HUGEPAGE)


def model() -> str:
    """What distinguishes this machine's processor; its name alone may stand for several."""
    fields = _described()
    known = [f"{called}{fields[key]}" for key, called in NAMES.items() if key in fields]
    if "amx_tile" in flags():  # which decides what "medium" precision means
        known.append("AMX")
    return ", ".join(known) or platform.processor() or platform.machine()


def flags() -> set[str]:
    """The kinds of instructions that the processor has, as Linux names them."""
    return set(_described().get("flags", "").split())


def _described() -> dict[str, str]:
    """The first processor, as Linux describes it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().split("\n\n")[0].splitlines() if info.exists() else []
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
