"""How this process uses the processor: threads, and memory that is kept instead of returned."""

import ctypes
import platform

import torch

# glibc's <malloc.h>
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8
PAD = 1 << 28
NEVER = (1 << 31) - 1


def settle(threads: int) -> None:
    """Compute with so many threads, and let freed memory serve the next allocation.

    By default glibc returns every large tensor to the system when it is freed, and each update has its pages zeroed
    again: two thirds of the time of an update of CQL, whose tensors are wide. What is kept is at most the largest
    amount that was in use.
    """
    torch.set_num_threads(threads)
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((M_ARENA_MAX, 1), (M_MMAP_MAX, 0), (M_TOP_PAD, PAD), (M_TRIM_THRESHOLD, NEVER)):
            mallopt(option, value)
