"""What the names of metrics say: which of them a run is judged by, and which of their values are good."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal, get_args

from rlbench.errors import UsageError

SCORES = "eval/normalized_score", "eval/return"
COSTS = frozenset(
    ["cost", "costs", "error", "errors", "gap", "loss", "losses", "mae", "mse", "nll", "perplexity", "regret", "rmse",
     "violation", "violations"]
)  # fmt: skip
"""Words of a metric's name that make it a cost: low values are good."""
NEUTRAL = frozenset(["alpha", "entropy", "norm", "q", "std", "tokens", "v", "weight"])
"""Words that make it neither cost nor gain, as what a critic believes is."""
Way = Literal["lower", "higher", "neither"]
Ways = Mapping[str, Way]
"""By metric, which values are better: what a problem or an algorithm declares where a name says the wrong thing."""


def headline(metrics: Iterable[str]) -> str | None:
    """The one metric that a run is judged by: of `SCORES`, else the first that `evaluate()` names; None: not judged."""
    names = [name for name in metrics if name.startswith("eval/")]
    return next((name for name in SCORES if name in names), names[0] if names else None)


def declared(*sources: Ways) -> dict[str, Way]:
    """What several declare, the later ones over the earlier.

    Raises:
        UsageError: one of them is no direction.
    """
    merged = {metric: way for source in sources for metric, way in source.items()}
    for metric, given in merged.items():
        if given not in get_args(Way):
            raise UsageError(
                f"metric_directions: {metric} is {given!r}\nsay which values are better: {', '.join(get_args(Way))}"
            )
    return merged


def way(metric: str, declared: Ways) -> Way:
    """Which values of a metric are better. Whoever ranks, marks or chooses by a metric asks here, or below.

    Args:
        metric: its name.
        declared: what its run declares (`metric_directions` in its meta.json); of other metrics, their names decide.
    """
    if metric in declared:
        return declared[metric]
    words = set(re.split(r"[/_]", metric))
    return "lower" if words & COSTS else "neither" if words & NEUTRAL else "higher"


def is_cost(metric: str, declared: Ways) -> bool:
    """Whether low values of a metric are good; the arguments are those of `way`."""
    return way(metric, declared) == "lower"
