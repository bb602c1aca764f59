"""A comparison for a program: as JSON holds it."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from rlbench.analysis.compare import Comparison


def contents(comparison: Comparison) -> dict[str, Any]:
    """Everything, for a program; null where a number does not exist."""
    return defined(
        {
            "metric": comparison.metric,
            "name": comparison.name,
            "better": comparison.way,
            "lower_is_better": comparison.cost,
            "protocol": str(comparison.protocol),
            "arms": comparison.arms,
            "tasks": comparison.tasks,
            "common": comparison.common,
            "cells": [
                {
                    "arm": cell.arm, "task": cell.task, "n": len(cell.scores), "mean": asdict(cell.mean),
                    "median": cell.median, "iqm": cell.iqm and asdict(cell.iqm), "sd": cell.spread,
                    "seeds": cell.seeds,
                }
                for cell in comparison.cells.values()
            ],
            "aggregates": [asdict(each) for each in comparison.aggregates],
            "pairs": [{**asdict(pair), "enough": pair.enough, "words": pair.sentence()} for pair in comparison.pairs],
            "task_pairs": [asdict(pair) for pair in comparison.task_pairs],
            "notes": comparison.notes,
        }
    )  # fmt: skip


def defined(value: Any) -> Any:
    """A value as JSON has it: without numbers that are none."""
    if isinstance(value, dict):
        return {key: defined(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [defined(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
