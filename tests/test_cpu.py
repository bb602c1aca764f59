"""Freed memory stays with the process, and subnormal numbers are zero."""

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


def test_subnormal_numbers_are_zero_and_numpy_does_not_mind() -> None:
    probe = """
import numpy as np, torch
from rlbench import cpu
small = torch.full((40,), 2e-38)
print((small / 4).count_nonzero().item())
cpu.settle(1)
print((small / 4).count_nonzero().item(), np.finfo(np.float32).tiny, np.finfo(np.float64).eps)
"""
    command = [sys.executable, "-W", "error", "-c", probe]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert found == ["40", "0", "1.1754944e-38", "2.220446049250313e-16"]
