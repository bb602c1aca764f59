"""What a run takes of its machine: processor, memory, disk and GPU, its processes together.

A look is taken with the heartbeat. It is read from /proc; where there is none, only the GPU
is known. Nothing of it counts as a metric: it lies in `system.jsonl`, beside what a run reports.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
MIB = 1 << 20
TIMES, RESIDENT = slice(11, 15), 21
"""Fields of /proc/PID/stat behind the name: user and system time, its own and its dead children's."""


@dataclass(frozen=True)
class Look:
    """The state of a process and of all below it.

    Attributes:
        moment: in seconds, of a clock that never goes back.
        seconds: processor time that they have used, and those that have ended.
        resident: bytes of memory.
        processes: how many.
        written: bytes sent to disk; 0 where the system does not tell.
    """

    moment: float
    seconds: float
    resident: int
    processes: int
    written: int

    @classmethod
    def at(cls, root: int) -> Look:
        """Look at a process."""
        family, stats = [root], []
        for pid in family:
            if fields := stat(pid):
                stats.append(fields)
                family += children(pid)
        ticks = sum(sum(map(int, fields[TIMES])) for fields in stats)
        resident = sum(int(fields[RESIDENT]) for fields in stats)
        return cls(time.monotonic(), ticks / TICKS, resident * PAGE, len(stats), sum(map(written, family)))


def stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name; none of a process that has just ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def children(pid: int) -> list[int]:
    """The processes that a process has started; none where the system does not tell."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # the thread has just ended
            found += map(int, path.read_text().split())
    return found


def written(pid: int) -> int:
    """Bytes that a process and its dead children have sent to disk."""
    try:
        lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    except OSError:  # it has just ended, or is another user's
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("write_bytes:")), 0)


class Usage:
    """What this process and those below it take, from one look to the next: a half millisecond each."""

    def __init__(self) -> None:
        self.before = Look.at(os.getpid())

    def age(self) -> float:
        """Seconds since the last look."""
        return time.monotonic() - self.before.moment

    def row(self) -> dict[str, float]:
        """What is taken now, and since the last call.

        Returns:
            `system/cpu_cores` (cores kept busy since the last call), `system/memory_mib` (what processes share counts
            for each), `system/processes`, `system/disk_mib_per_second`, and of the GPU that torch uses
            `system/gpu_memory_mib` (this process's), `system/gpu_percent` (anybody's; where nvidia-ml-py is installed).
        """
        before, self.before = self.before, Look.at(os.getpid())
        now, seconds = self.before, max(self.before.moment - before.moment, 1e-3)
        found = gpu()
        if now.processes:
            found |= {
                "system/cpu_cores": max(0.0, now.seconds - before.seconds) / seconds,
                "system/memory_mib": now.resident / MIB,
                "system/processes": now.processes,
                "system/disk_mib_per_second": max(0, now.written - before.written) / MIB / seconds,
            }
        return {name: round(value, 3) for name, value in found.items()}


def gpu() -> dict[str, float]:
    """What there is to say of the GPU, if torch computes on one already; torch is not imported for it."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return {}
    found = {"system/gpu_memory_mib": torch.cuda.memory_reserved() / MIB}
    # nvidia-ml-py is not installed, or cannot tell of this GPU (MIG, no driver library), which it says in errors that
    # have nothing in common but Exception; and no run is to end of a percentage.
    with suppress(Exception):
        found["system/gpu_percent"] = torch.cuda.utilization()
    return found
