"""Where data were recorded, held against where policies learned from them are judged."""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlbench.envs.control import Control

NEW_DYNAMICS = "3.5"
"""The MuJoCo version whose contacts behave otherwise than those before."""


def doubts(card: dict[str, Any], env: Control) -> list[str]:
    """A sentence for each thing that makes scores doubtful: data from another environment than the one that policies
    are judged in, or from a MuJoCo whose contacts behave otherwise than the installed one's.

    Args:
        card: the data's.
        env: where policies are judged.
    """
    from packaging.version import InvalidVersion, Version

    found, recorded = [], card.get("env")
    if recorded and recorded.rpartition(":")[2] != env.id.rpartition(":")[2]:
        found.append(f"{card['id']} was recorded in {recorded}, policies are judged in {env.id} (env={env.name})")
    then = card.get("versions", {}).get("mujoco")
    try:
        installed = metadata.version("mujoco")
        if then and (Version(installed) < Version(NEW_DYNAMICS)) != (Version(then) < Version(NEW_DYNAMICS)):
            found.append(
                f"{card['id']} was recorded with MuJoCo {then}; contacts behave otherwise in {installed}, which is "
                "installed"
            )
    except (InvalidVersion, metadata.PackageNotFoundError):
        pass  # a version that is not told cannot be compared
    return found
