"""What makes two runs the same run, or seeds of the same experiment: from their configurations, without Hydra."""

from __future__ import annotations

import hashlib
import json
from typing import Any

RESERVED = {"_target_", "about", "budget"}
"""Keys of a node that its constructor does not get."""
DETERMINING = "algo", "env", "steps", "eval"
"""What determines a run's result, apart from its seeds and the content of its dataset."""


def essence(value: Any) -> Any:
    """A value without what only describes it."""
    if isinstance(value, dict):
        return {key: essence(each) for key, each in value.items() if key not in RESERVED - {"_target_"}}
    return value


def determinants(content: dict[str, Any], dataset: dict[str, Any] | None) -> dict[str, Any]:
    """All that determines the result of an experiment but for its seeds.

    Args:
        content: the composed configuration.
        dataset: what determines the content of its dataset.
    """
    return {**{key: essence(content[key]) for key in DETERMINING}, "dataset": dataset}


def digest(parts: dict[str, Any]) -> str:
    """Ten hex digits of a hash."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:10]
