"""Types of hyperparameters: what a constructor's signature says, a config's values are checked against.

`rlbench.config` reads these annotations from the source text, without importing the algorithm (and torch).
"""

from dataclasses import dataclass
from typing import Annotated, Literal


@dataclass(frozen=True)
class Range:
    """Bounds of a number; a bound is excluded where `open_low` or `open_high` says so."""

    low: float = float("-inf")
    high: float = float("inf")
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below

    def __str__(self) -> str:
        low, high = (f"{end:{'d' if isinstance(end, int) else 'g'}}" for end in (self.low, self.high))
        return f"{'(' if self.open_low else '['}{low}, {high}{')' if self.open_high else ']'}"


Fraction = Annotated[float, Range(0, 1)]
BelowOne = Annotated[float, Range(0, 1, open_high=True)]
NonNegative = Annotated[float, Range(0)]
Positive = Annotated[float, Range(0, open_low=True)]
AboveZero = Annotated[float, Range(0, 1, open_low=True)]
Count = Annotated[int, Range(1)]
Several = Annotated[int, Range(2)]
NonNegativeInt = Annotated[int, Range(0)]
Seed = Annotated[int, Range(0, 2**63 - 1)]  # tables of results hold seeds in 64 bits
Precision = Literal["fp32", "bf16"]
