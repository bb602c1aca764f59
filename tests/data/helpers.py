"""What the tests of data share."""

from typing import Any

from rlbench import config
from rlbench.envs.control import Control

OPTIONS: dict[str, Any] = {"timeout_rows": "keep", "next_obs": "stored", "tail": "keep", "clip_actions": False}
"""A reader's, as the files of `conf/dataset` have them."""


def control(name: str = "hopper") -> Control:
    """`env=NAME`."""
    env: Control = config.instantiate(config.compose(["algo=sac", f"env={name}"]).env)
    return env
