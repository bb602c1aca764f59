"""What a run says of itself, said for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rlbench.tracking.rundir import RunDir


def say(directory: Path, state: str, **more: Any) -> None:
    """Write a status of this process into the directory of a run."""
    status = {"stage": "training", "step": 0, "steps": 60, "seeds": 1, "seconds": 1.0, "score": None}
    RunDir(directory).write_status(state=state, **{**status, **more})
