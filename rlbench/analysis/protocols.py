"""What counts as the score of a seed: named rules over its evaluations, never mixed.

| protocol | the score of a seed |
|---|---|
| `last` | the last evaluation (CORL's "last scores") |
| `lastN` | the mean of the last N evaluations (OfflineRL-Kit's and COCOA's tables: `last10`) |
| `tailP%` | the mean of the evaluations in the last P % of training |
| `best` | the best evaluation of the run: chosen by looking, so too high by what luck there is in an evaluation |
| `bandit` | of an algorithm, not of a seed: what is left when its policies are chosen among by evaluating them online |

`bandit` is the protocol of Jackson et al., "A Clean Slate for Offline Reinforcement Learning", 2025 (unifloral).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from rlbench.errors import RunError, UsageError
from rlbench.tracking.rundir import EPISODES

WORD = re.compile(r"(?P<kind>last|tail|best|bandit)(?P<amount>\d+)?(?P<percent>%)?")


@dataclass(frozen=True)
class Protocol:
    """One rule.

    Args:
        kind: last, tail, best or bandit.
        amount: evaluations of `last`, per cent of `tail`, episodes spent by `bandit`.
    """

    kind: str
    amount: int = 1

    @classmethod
    def of(cls, word: str) -> Protocol:
        """What a word names.

        Raises:
            UsageError: nothing.
        """
        match = WORD.fullmatch(word)
        if match:
            kind, amount = match["kind"], int(match["amount"] or (200 if match["kind"] == "bandit" else 1))
            fits = {
                "last": not match["percent"] and amount > 0,
                "tail": bool(match["percent"]) and 0 < amount <= 100,
                "best": match["amount"] is None,
                "bandit": not match["percent"] and amount > 0,
            }
            if fits[kind]:
                return cls(kind, amount)
        raise UsageError(
            f"no protocol {word!r}\nthere are last, last10 (the mean of the last 10 evaluations), tail20% (of the last "
            "20 % of training), best, bandit (bandit50: after 50 episodes)"
        )

    def __str__(self) -> str:
        """The word."""
        amounts = {"last": "" if self.amount == 1 else str(self.amount), "tail": f"{self.amount}%", "best": ""}
        return self.kind + amounts.get(self.kind, str(self.amount))

    @property
    def title(self) -> str:
        """What it means."""
        return {
            "last": "last evaluation" if self.amount == 1 else f"mean of the last {self.amount} evaluations",
            "tail": f"mean of the evaluations in the last {self.amount} % of training",
            "best": "best evaluation of each seed, which is too high: it was chosen by looking",
            "bandit": f"policy chosen by a bandit that spends {self.amount} episodes online",
        }[self.kind]

    def scores(self, evaluations: pl.DataFrame, lengths: pl.DataFrame, cost: bool = False) -> pl.DataFrame:
        """The score of every seed.

        Args:
            evaluations: `run`, `seed`, `step`, `value`; the steps of a run and seed in order.
            lengths: `run` and `steps`, after which its training counts as ended.
            cost: whether low values are good.

        Returns:
            `run`, `seed`, `score`: null where a seed has not as many evaluations as the rule asks for.
        """
        value = pl.col("value")
        rules: dict[str, pl.Expr] = {
            "last": pl.when(value.len() >= self.amount).then(value.tail(self.amount).mean()),
            "best": value.min() if cost else value.max(),
            "tail": value.filter(pl.col("step") * 100 > pl.col("steps") * (100 - self.amount)).mean(),
        }
        seeds = evaluations.join(lengths, on="run", maintain_order="left").group_by("run", "seed", maintain_order=True)
        return seeds.agg(rules[self.kind].alias("score"))


def kept_episodes(runs: Sequence[dict[str, Any]], metric: str) -> dict[tuple[int, int], list[float]]:
    """The scores of single episodes that were kept of each run and seed.

    Args:
        runs: rows of the table of runs.
        metric: which score.

    Raises:
        RunError: a run has none; the message says how to get them.
    """
    found: dict[tuple[int, int], list[float]] = {}
    missing = []
    for run in runs:
        path = Path(run["path"]) / EPISODES
        if not path.exists():
            missing.append(run["id"])
            continue
        try:
            content = json.loads(path.read_bytes())
            for seed, values in zip(content["seeds"], content["values"][metric], strict=True):
                found[run["run"], seed] = values
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path} has no episodes of {metric} ({type(error).__name__}: {error})") from error
    if missing:
        runs_named = " ".join(missing[:4]) + (" ..." if len(missing) > 4 else "")
        raise RunError(
            f"protocol bandit needs single episodes, and {len(missing)} of {len(runs)} runs have none kept: "
            f"for run in {runs_named}; do rlbench eval $run --keep; done"
        )
    return found
