"""Freed memory stays with the process."""

import subprocess
import sys

PROBE = """
import resource, torch
from rlbench import cpu
if {settled}:
    cpu.settle(1)
x = torch.ones(10_000_000)
for _ in range(5):
    x + 1
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    x + 1
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(settled: bool) -> int:
    command = [sys.executable, "-c", PROBE.format(settled=settled)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_a_freed_tensor_serves_the_next() -> None:
    assert 5 * faults(settled=True) < faults(settled=False)
