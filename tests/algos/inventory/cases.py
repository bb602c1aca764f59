"""Inventory problems with known answers, and algorithms on them without the command line."""

from __future__ import annotations

from typing import Any

from rlbench import config, cpu
from rlbench.build import build
from rlbench.envs.inventory.task import InventoryTask


def built(*words: str) -> tuple[Any, InventoryTask]:
    """An algorithm with the values of its own file, apart from the words, and its task."""
    cpu.settle(1)
    algorithm, task = build(config.compose([*words, "tracking=disabled"]))
    assert isinstance(task, InventoryTask)
    return algorithm, task


def train(algorithm: Any, steps: int) -> dict[str, list[float]]:
    """What it is judged by after some steps."""
    algorithm.train(steps)
    return {name: [float(each) for each in values] for name, values in algorithm.evaluate().items()}
