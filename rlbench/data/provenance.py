"""Where data come from: what their cards tell, and where policies learned from them can be judged."""

from __future__ import annotations

import math
from dataclasses import replace
from importlib import metadata
from typing import TYPE_CHECKING, Any

from rlbench.choices import Choices, read
from rlbench.data.sources import VERSION
from rlbench.errors import UsageError

if TYPE_CHECKING:
    from rlbench.envs.control import Control

NEW_DYNAMICS = "3.5"
"""The MuJoCo version whose contacts behave otherwise than those before."""
CHOOSING = ("domain", "task", "tasks", "layout", "reward")
"""Settings that say which task it is, of several that share an id."""
TEXTS = ("about", "author", "algorithm", "code", "licence", "env")


# -- cards out of files ------------------------------------------------------------------------------------------------


def told(card: Any) -> dict[str, Any]:
    """What a card out of a file, which anyone may have written, tells: short texts, versions and reference scores."""
    if not isinstance(card, dict):
        return {}
    facts: dict[str, Any] = {
        name: one_line(card[name]) for name in TEXTS if isinstance(card.get(name), str) and card[name].strip()
    }
    which = card.get("which")
    if isinstance(which, dict):
        facts["which"] = {name: one_line(str(which[name])) for name in CHOOSING if name in which}
    versions = card.get("versions")
    if isinstance(versions, dict):
        facts["versions"] = {one_line(name): one_line(each) for name, each in versions.items() if isinstance(each, str)}
    if scale := reference(card.get("reference")):
        facts["reference"] = scale
    return facts


def one_line(text: str, most: int = 300) -> str:
    """Text from a file, fit for a terminal: no line breaks, no control characters, not endless."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text[: 2 * most])
    return " ".join(printable.split())[:most]


def reference(scale: Any) -> dict[str, float] | None:
    """Returns that score 0 and 100, `{"min": ..., "max": ...}`, where both are told."""
    low, high = (scale.get("min"), scale.get("max")) if isinstance(scale, dict) else (None, None)
    if not isinstance(low, int | float) or not isinstance(high, int | float):
        return None
    return {"min": float(low), "max": float(high)} if math.isfinite(high - low) and low < high else None


# -- held against where policies are judged ----------------------------------------------------------------------------


def task(id: str) -> str:
    """What gymnasium's ids of one task share, whatever its version and package."""
    return VERSION.sub("", id.rpartition(":")[2])


def which(kwargs: dict[str, Any]) -> dict[str, str]:
    """Which task it is, of those that share an id, out of what `gymnasium.make` is given."""
    return {name: str(kwargs[name]) for name in CHOOSING if name in kwargs}


def choices_of(recorded: str) -> dict[str, dict[str, Any]]:
    """rlbench's own environments of the same task: what their files say, by name."""
    contents = {word: read(path) for word, path in Choices().files["env"].items()}
    return {word: content for word, content in contents.items() if task(str(content.get("id"))) == task(recorded)}


def judge(env: Control, card: dict[str, Any]) -> Control:
    """Where policies learned from data are judged: the environment with the data's own scale of scores; and what the
    data themselves name, where that was chosen (`env=minari/ID`)."""
    named = card.get("judge", {}) if card["id"] == f"minari/{env.id}" else {}
    scale = card.get("reference")
    if scale and None not in scale.values():
        named = {**named, "reference_min": scale["min"], "reference_max": scale["max"]}
    return replace(env, **named)


def refuse_other_task(name: str, card: dict[str, Any], env: Control) -> None:
    """Refuse data of one of rlbench's environments where policies are judged in another of them.

    Args:
        name: what messages call the data.
        card: the data's; without the environment that they were recorded in they are taken.
        env: where policies are judged.

    Raises:
        UsageError: they are of another task.
    """
    recorded, told_which, here = card.get("env"), card.get("which", {}), which(env.kwargs)
    if recorded is None:
        return
    if task(recorded) == task(env.id):
        differs = {key: value for key, value in told_which.items() if here.get(key, value) != value}
        if differs:
            settings = ", ".join(f"{key}={value}" for key, value in differs.items())
            raise UsageError(
                f"{name}: it was recorded in {recorded} with {settings}, which is not env={env.name} "
                f"({', '.join(f'{key}={here[key]}' for key in differs)})"
            )
        return
    right = choices_of(recorded)
    if right and env.name in Choices().options("env"):
        choice = " or ".join(f"env={word}" for word in right)
        raise UsageError(f"{name}: it was recorded in {recorded}, which is not env={env.name} ({env.id}): {choice}")


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
