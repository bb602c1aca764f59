"""Which processor this is, and how this process uses it: threads, and memory that is kept instead of returned."""

import ctypes
import platform
from pathlib import Path

# glibc's <malloc.h>
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8
PAD = 1 << 28
NEVER = (1 << 31) - 1

NAMES = {"model name": "", "cpu family": "family ", "model": "model "}  # in /proc/cpuinfo


def settle(threads: int) -> None:
    """Compute with so many threads, with subnormal numbers as zero, and let freed memory serve the next allocation.

    Adam's means of the gradients of a unit that has died shrink with every step, and end as subnormal numbers that
    rounding keeps from becoming 0. Intel's processors take many times as long for them as for others.

    By default glibc returns every large tensor to the system when it is freed, and each update has its pages zeroed
    again: two thirds of the time of an update of CQL, whose tensors are wide. What is kept is at most the largest
    amount that was in use.
    """
    import numpy as np  # late, as torch: what only names the processor does without
    import torch

    torch.set_num_threads(threads)
    for kind in (np.float32, np.float64):
        np.finfo(kind)  # looks subnormal numbers up once, and would warn that there are none
    torch.set_flush_denormal(True)
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((M_ARENA_MAX, 1), (M_MMAP_MAX, 0), (M_TOP_PAD, PAD), (M_TRIM_THRESHOLD, NEVER)):
            mallopt(option, value)


def model() -> str:
    """What distinguishes this machine's processor; its name alone may stand for several."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().split("\n\n")[0].splitlines() if info.exists() else []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    known = [f"{called}{fields[key]}" for key, called in NAMES.items() if key in fields]
    if "amx_tile" in fields.get("flags", "").split():  # which decides what "medium" precision means
        known.append("AMX")
    return ", ".join(known) or platform.processor() or platform.machine()
