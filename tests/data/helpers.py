"""What the tests of data share."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlbench import config
from rlbench.envs.control import Control

OPTIONS: dict[str, Any] = {"timeout_rows": "keep", "next_obs": "stored", "tail": "keep", "clip_actions": False}
"""A reader's, as the files of `conf/dataset` have them."""


def control(name: str = "hopper") -> Control:
    """`env=NAME`."""
    env: Control = config.instantiate(config.compose(["algo=sac", f"env={name}"]).env)
    return env


def written(path: Path, rows: Sequence[Any]) -> Path:
    """A file of JSON lines, zipped if its name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path
