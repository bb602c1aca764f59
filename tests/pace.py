"""Budgets of processor time that mean the same where other work slows the processor itself."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

IDLE = 0.015
"""Seconds that `work` takes on an idle core of a Xeon of 2023."""
TURNS = 3


def work() -> None:
    text = json.dumps({str(i): [i, i / 7, {"name": "x" * (i % 30)}] for i in range(3000)})
    for _ in range(3):
        found = json.loads(text)
        assert sum(len(value[2]["name"]) for value in found.values()) > 0


def slowness(clock: Callable[[], float] = time.process_time) -> float:
    """How many times as long as there Python takes now, at least 1; by the quickest turn, for a hitch is none."""
    took = []
    for _ in range(TURNS):
        began = clock()
        work()
        took.append(clock() - began)
    return max(1.0, min(took) / IDLE)


def spent() -> float:
    """Processor seconds of this process, and of its children that have ended."""
    return sum(os.times()[:4])


@contextmanager
def budget(seconds: float) -> Iterator[None]:
    """What happens inside takes less processor time than this, on an idle machine."""
    before, began = slowness(), spent()
    yield
    took = spent() - began
    allowed = seconds * max(before, slowness())
    assert took < allowed, f"{took:.2f} s of the processor, {seconds} s were allowed, here and now {allowed:.2f}"
