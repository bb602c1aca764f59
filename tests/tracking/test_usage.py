"""What a run takes of its machine, against what its processes say of themselves."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
import torch

from rlbench.tracking.usage import MIB, Usage

BUSY = """\
import json, os, sys, time
filled = bytearray(b"x") * (200 << 20)
with open(sys.argv[1], "wb") as file:
    file.write(filled[: 64 << 20])
    file.flush()
    os.fsync(file.fileno())
while time.process_time() < 0.7:
    pass
written = [int(line.split()[1]) for line in open("/proc/self/io") if line.startswith("write_bytes")]
print(json.dumps([time.process_time(), *written]), flush=True)
sys.stdin.readline()
"""


def test_children_count_while_they_live_and_when_they_have_ended(tmp_path: Path) -> None:
    usage = Usage()
    before = usage.before
    command = [sys.executable, "-c", BUSY, str(tmp_path / "file")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        busy, written = json.loads(child.stdout.readline())
        row = usage.row()
        seconds = usage.before.moment - before.moment
        # Ticks are hundredths of a second, and this process has used a little too.
        assert busy - 0.05 <= row["system/cpu_cores"] * seconds <= busy + 0.5
        assert row["system/processes"] == before.processes + 1
        assert 200 <= row["system/memory_mib"] - before.resident / MIB < 260
        assert row["system/disk_mib_per_second"] * seconds == pytest.approx(written / MIB, rel=0.01, abs=0.1)
        child.communicate("\n")
    total = usage.before.seconds
    after = usage.row()
    assert after["system/processes"] == before.processes
    assert after["system/memory_mib"] - before.resident / MIB < 50
    # What the child used is its parent's now, and counts once: the parent itself has used little in between.
    assert 0 <= usage.before.seconds - total < busy / 2


def test_a_look_costs_nothing_to_speak_of() -> None:
    usage = Usage()
    began = time.process_time()
    for _ in range(20):
        usage.row()
    assert (time.process_time() - began) / 20 < 0.01  # a thousandth of the time between two of them


def test_a_gpu_that_tells_nothing_ends_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """As nvidia-ml-py does on a GPU that is shared out (MIG), or without the driver's library."""

    class NVMLError(Exception):
        pass

    def unsupported(*_: object) -> None:
        raise NVMLError("Not Supported")

    nvml = types.ModuleType("pynvml")
    nvml.NVMLError_DriverNotLoaded = type("NVMLError_DriverNotLoaded", (NVMLError,), {})  # type: ignore[attr-defined]
    nvml.nvmlInit = unsupported  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(torch.cuda, "pynvml", nvml, raising=False)
    monkeypatch.setattr(torch.cuda, "_HAS_PYNVML", True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 64 * MIB)
    with pytest.raises(NVMLError):
        torch.cuda.utilization()
    row = Usage().row()
    assert row["system/gpu_memory_mib"] == 64
    assert "system/gpu_percent" not in row


@pytest.mark.gpu
def test_a_gpu_that_is_used_is_seen() -> None:
    held = torch.zeros(64 * MIB, dtype=torch.uint8, device="cuda")
    assert Usage().row()["system/gpu_memory_mib"] >= held.numel() / MIB
