"""The data sets of runs, as the runs themselves wrote down what they read: `rlbench data used`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlbench.analysis.results import Results
from rlbench.data.info import score
from rlbench.tracking.rundir import RunDir

COLUMNS = "data set", "env", "rows", "episodes", "return", "length", "score", "fingerprint"


def used(results: Results) -> list[dict[str, Any]]:
    """The card of every data set, with its fingerprint and the environment that policies were judged in.

    Args:
        results: the runs.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for path, env, fingerprint in results.runs.select("path", "env", "fingerprint").iter_rows():
        if fingerprint is not None and (env, fingerprint) not in found:
            found[env, fingerprint] = {**RunDir(Path(path)).meta()["dataset"], "judged_in": env}
    return sorted(found.values(), key=lambda card: (card["judged_in"], card["id"], card["fingerprint"]))


def row(card: Mapping[str, Any]) -> list[str]:
    """A card in a line of a table; empty is what it does not tell: pairs of texts have no returns."""

    def told(name: str) -> str:
        found = card.get(name, "")
        return "{mean:,.1f} ± {std:,.1f}".format(**found) if isinstance(found, dict) else f"{found:,}" if found else ""

    figures = map(told, ("rows", "episodes", "return", "length"))
    mean = score(card["return"]["mean"], card) if "return" in card else None
    return [card["id"], card["judged_in"], *figures, "" if mean is None else f"{mean:.1f}", card["fingerprint"][:8]]
