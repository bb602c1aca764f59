"""What is in a data set, for a person: `rlbench data info`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from rlbench.data.transitions import Transitions

BINS = 12
BAR = 40
PARTS = 5
"""Parts that each coordinate's range is cut into to count what the data cover of it."""
COUNTED_ROWS = 200_000

ASKED = ("source", "licence", "env")
ABOUT = ("about", "source", "licence", "env", "versions", "reference", "file", "training", "policies")


def lines(data: Transitions) -> Iterator[str]:
    """The page, line by line."""
    card = data.card
    yield str(card["id"])
    for name in ABOUT:
        if card.get(name) or name in ASKED:
            yield f"  {name:12} {text(card.get(name) or 'not told')}"
    found = data.statistics()
    yield f"  {'rows':12} {found['rows']:,}, observations {data.observation_dim} wide, actions {data.action_dim}"
    unfinished = found["episodes"] - found["finished_episodes"]
    ends = f"{found['terminated']:,} terminated, {found['truncated']:,} truncated, {unfinished} unfinished"
    yield f"  {'episodes':12} {found['episodes']:,}: {ends}"
    cells, rows = coverage(data)
    yield (
        f"  {'coverage':12} {cells:,} distinct cells of state and action in {rows:,} rows ({cells / rows:.0%}); cells "
        "are parts of this set's own range, and do not compare with another set's"
    )
    yield f"  {'fingerprint':12} {data.fingerprint}"
    kept = data.finished if data.finished.any() else np.ones_like(data.finished)
    mean = score(found["return"]["mean"], card)
    scored = "" if mean is None else f", normalised score {mean:.1f}"
    yield f"return of an episode: {spread(found['return'])}{scored}"
    yield from histogram(data.episode_returns()[kept])
    yield f"length of an episode: {spread(found['length'])}"
    yield from histogram((data.episode_ends - data.episode_starts)[kept])


def entries(card: Mapping[str, Any]) -> Iterator[str]:
    """The page on data that are no transitions: what their card tells."""
    yield str(card["id"])
    for name, value in card.items():
        if name != "id":
            yield f"  {name:12} {text(value)}"


def score(returned: float, card: Mapping[str, Any]) -> float | None:
    """A return on the scale of a card's reference scores; None where it has none."""
    low, high = (card.get("reference", {}).get(end) for end in ("min", "max"))
    return None if low is None or high is None else 100 * (returned - low) / (high - low)


def text(value: Any) -> str:
    """A card's entry on one line; of nested ones, what names them."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {text(each)}" for name, each in value.items() if not isinstance(each, dict))
    if isinstance(value, list):
        between = " | " if any(isinstance(each, list) for each in value) else ", "
        return between.join(
            str(each["name"]) if isinstance(each, dict) and "name" in each else text(each) for each in value
        )
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def spread(summary: dict[str, float]) -> str:
    return "{mean:,.1f} ± {std:,.1f}, {min:,.1f} to {max:,.1f}, median {median:,.1f}".format(**summary)


def histogram(values: np.ndarray) -> Iterator[str]:
    """Bars over equal parts of the values' range; one line where all are alike."""
    counts, edges = np.histogram(values, BINS if values.min() < values.max() else 1)
    for count, left, right in zip(counts, edges[:-1], edges[1:], strict=True):
        bar = "█" * round(BAR * count / counts.max())
        yield f"  {left:10,.1f} to {right:10,.1f} {count:7,} {bar}".rstrip()


def coverage(data: Transitions) -> tuple[int, int]:
    """How many distinct cells the rows fall into, and how many rows were counted (evenly spaced, at most 200,000).

    A cell is a box of states and actions, every coordinate's range in these data cut into `PARTS` equal parts. It tells
    how evenly the data fill their own range, and compares no data sets: those of a narrow policy have small cells.
    Schweighofer et al., "A Dataset Perspective on Offline Reinforcement Learning" (2022), count unique pairs of state
    and action within limits that all data sets of an environment share, which are not known here.
    """
    step = -(-len(data) // COUNTED_ROWS)
    x = np.concatenate([data.observation[::step], data.action[::step]], axis=1)
    low, high = x.min(0), x.max(0)
    width = np.where(high > low, high - low, 1)
    cells = np.minimum((x - low) / width * PARTS, PARTS - 1).astype(np.uint8)
    return len(np.unique(np.ascontiguousarray(cells).view(f"V{cells.shape[1]}"))), len(x)
