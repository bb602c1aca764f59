"""Purely periodic policies: every arm is pulled each p_i periods, from its offset on, never more than K at a time.

Which periods can be packed so, and which are best. Everything carries a leading axis B of problems, planned at once.

Ladder. L_a = {m 2^l : m odd, 1 <= m < 2a, l >= 0} holds every whole number up to 2a, and beyond that neighbours in it
have ratio at most (a + 1) / a. Rounded up in it, a period keeps the reward of each pull and loses at most a factor
a / (a + 1) of its frequency.

Packing. Periods of one base, m 2^l with m fixed, divide each other, so arms of density rho_m = sum 1/p_i fit into
ceil(rho_m) servers, each of which pulls one arm a period. Periods can be packed if sum_m ceil(rho_m) <= K.

Guarantee. The relaxation with capacity K - a, rounded up in L_a, needs at most K servers: at least
a / (a + 1) (1 - a / K) of the bound, up to the share of the one arm that ends inside a segment; a ~ sqrt(K) makes
this 1 - O(1 / sqrt(K)). With a = 1 and the whole capacity it is half of the bound.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np

from rlbench.algos.planning.relaxation import Relaxation

LONGEST = 8  # no period exceeds this many times D: an arm as rare hardly counts
SPLITS = 4  # capacities tried between K - a and K when rounding
STANDARD: dict[str, Any] = {"bases": (1, 3, 5, 7), "lmax": 3, "effort": 10_000_000}
"""The planner that regret is measured against, whatever the settings of the policy."""


@dataclass(frozen=True)
class Plan:
    """A schedule for each problem.

    Attributes:
        period: `[B, N]`, 0 for an arm that is never pulled.
        offset: `[B, N]`, the first period in which an arm is pulled, 0 <= offset < period.
        value: average reward of a period in the long run, `[B]`.
    """

    period: np.ndarray
    offset: np.ndarray
    value: np.ndarray

    def pulls(self, times: np.ndarray) -> np.ndarray:
        """Whether each arm is pulled at each of L times, bool `[B, L, N]`."""
        period, offset, time = (each.astype(np.int32) for each in (self.period, self.offset, times))  # divides faster
        due = (time[:, None] - offset[:, None]) % np.maximum(period, 1)[:, None] == 0
        return due & (period > 0)[:, None]

    def rows(self, place: int) -> dict[str, list[int]]:
        """The schedule of one problem as a table, column by column."""
        offset, period = self.offset[place].tolist(), self.period[place].tolist()
        return {"arm": list(range(len(period))), "offset": offset, "period": period}


def plan(R: np.ndarray, K: int, bases: Sequence[int], lmax: int, effort: int) -> Plan:
    """The best purely periodic policy that is found: of exact knapsacks over few bases, rounding, and round robin.

    Args:
        R: mean rewards `[B, N, D]`.
        K: most pulls a period.
        bases: odd numbers m; knapsacks are solved for each one and each pair, with periods m 2^l.
        lmax: the largest l for one base; for two, one less.
        effort: largest knapsack that is solved, in cells of its table times arms; those above are left to rounding.
    """
    B, N, _ = R.shape
    best = np.full((B, N), -(-N // K))  # round robin
    value = rate(R, best)
    for period in (*exact(R, K, bases, lmax, effort), *rounded(R, K)):
        earned = np.where(servers(period).sum(1) <= K, rate(R, period), -1.0)
        better = earned > value
        best[better], value[better] = period[better], earned[better]
    return Plan(best, offsets(best), value)


def rate(R: np.ndarray, period: np.ndarray) -> np.ndarray:
    """Average reward of a period when arms are pulled with these periods: sum R_i(p_i) / p_i, `[B]`."""
    gap = np.clip(period, 1, R.shape[-1])
    reward = np.take_along_axis(R, gap[..., None] - 1, -1)[..., 0]
    return np.where(period > 0, reward / np.maximum(period, 1), 0.0).sum(-1)


# -- rounding the relaxation -------------------------------------------------------------------------------------------


@cache
def ladder(a: int, longest: int) -> np.ndarray:
    """The members of L_a up to `longest`, ascending."""
    return np.array([d for d in range(1, longest + 1) if d // (d & -d) < 2 * a])


def rounded(R: np.ndarray, K: int) -> Iterator[np.ndarray]:
    """Periods `[B, N]` from the relaxation, rounded up in several ladders; not all of them can be packed."""
    relaxation, longest = Relaxation(R), LONGEST * R.shape[-1]
    for a in ladders(K):
        steps = ladder(a, longest)
        for capacity in sorted({K - a * part / SPLITS for part in range(SPLITS + 1)} if a < K else {K}):
            frequency = relaxation.frequencies(capacity)
            wanted = np.ceil(1 / np.maximum(frequency, 0.5 / longest) - 1e-9).astype(np.int64)
            yield np.where(wanted <= steps[-1], steps[np.minimum(np.searchsorted(steps, wanted), len(steps) - 1)], 0)


def ladders(K: int) -> list[int]:
    """Numbers of bases that are tried: 1, 2, 3, 4, 6, 8, 12, ... up to about 2 sqrt(K)."""
    return [a for a in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32) if a <= max(2, 2 * K**0.5)]


# -- exact knapsacks ---------------------------------------------------------------------------------------------------


def exact(R: np.ndarray, K: int, bases: Sequence[int], lmax: int, effort: int) -> Iterator[np.ndarray]:
    """The best periods `[B, N]` for each choice of one or two bases, and of servers for each."""
    single = [((m,), (K,), lmax) for m in bases]
    double = [(pair, (k, K - k), lmax - 1) for pair in combinations(bases, 2) for k in range(1, K)]
    for ms, shares, levels in (*single, *double):
        shape = [share * m * 2**levels + 1 for m, share in zip(ms, shares, strict=True)]
        if levels >= 0 and int(np.prod(shape)) * R.shape[1] <= effort:
            yield knapsack(R, ms, shape, levels)


def knapsack(R: np.ndarray, bases: Sequence[int], shape: Sequence[int], levels: int) -> np.ndarray:
    """Periods `[B, N]`, one of m 2^l or none for each arm, that earn most within the capacities.

    Args:
        R: mean rewards `[B, N, D]`.
        bases: the m, one for each axis of the table.
        shape: capacity + 1 for each axis, in units of one pull in m 2^levels periods.
        levels: the largest l.
    """
    B, N, _ = R.shape
    options = [
        (axis, 2 ** (levels - level), m * 2**level) for axis, m in enumerate(bases) for level in range(levels + 1)
    ]
    periods = np.array([0, *(period for _, _, period in options)])
    gains = [R[..., min(period, R.shape[-1]) - 1] / period for _, _, period in options]
    table, choices = np.zeros((B, *shape)), np.zeros((N, B, *shape), dtype=np.int8)
    for arm in range(N):
        best = table.copy()
        for number, ((axis, weight, _), gain) in enumerate(zip(options, gains, strict=True), 1):
            if weight >= shape[axis]:
                continue
            onto = (slice(None), *(slice(weight, None) if each == axis else slice(None) for each in range(len(shape))))
            source = (slice(None), *(slice(-weight) if each == axis else slice(None) for each in range(len(shape))))
            offer = table[source] + gain[:, arm].reshape(B, *[1] * len(shape))
            better = offer > best[onto]
            np.copyto(best[onto], offer, where=better)
            np.copyto(choices[arm][onto], number, where=better)
        table = best
    weights = np.zeros((len(periods), len(shape)), dtype=np.int64)
    for number, (axis, weight, _) in enumerate(options, 1):
        weights[number, axis] = weight
    left, chosen = np.tile(np.array(shape) - 1, (B, 1)), np.zeros((B, N), dtype=np.int64)
    for arm in reversed(range(N)):
        number = choices[arm][(np.arange(B), *left.T)]
        chosen[:, arm] = periods[number]
        left -= weights[number]
    return chosen


# -- packing -----------------------------------------------------------------------------------------------------------


def parts(period: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """m and l of periods m 2^l; 0 and 0 for none."""
    low = period & -period
    level = np.where(period > 0, np.log2(np.maximum(low, 1)).astype(np.int64), 0)
    return period >> level, level


def servers(period: np.ndarray) -> np.ndarray:
    """Servers that the arms of each base need, ceil(rho_m): `[B, bases that occur]`."""
    base, level = parts(period)
    finest = level.max(initial=0)
    units = np.where(period > 0, 2 ** (finest - level), 0)
    found = [m for m in np.unique(base) if m > 0]
    needed = [-(-(units * (base == m)).sum(1) // (m * 2**finest)) for m in found]
    return np.stack(needed, 1) if needed else np.zeros((len(period), 1), dtype=np.int64)


def offsets(period: np.ndarray) -> np.ndarray:
    """Offsets `[B, N]` with which arms of one base never meet on a server.

    The time of a server of base m is m residue classes modulo m, each halved l times for a period m 2^l. In order of
    their periods, arms take the pieces one after another, so that a piece never straddles two: where it begins, read
    backwards in binary, is its residue.
    """
    base, level = parts(period)
    finest = level.max(initial=0)
    order = np.lexsort((level, base), axis=-1)
    m, halvings = np.take_along_axis(base, order, 1), np.take_along_axis(level, order, 1)
    size = np.where(m > 0, 2 ** (finest - halvings), 0)
    before = np.cumsum(size, 1) - size
    first = np.concatenate([np.ones((len(m), 1), dtype=bool), m[:, 1:] != m[:, :-1]], 1)
    begin = before - np.maximum.accumulate(np.where(first, before, 0), 1)
    residue, piece = np.divmod(begin % np.maximum(m * 2**finest, 1), 2**finest)
    reversed_piece = np.zeros_like(piece)
    for bit in range(int(finest)):
        reversed_piece |= ((piece >> (finest - 1 - bit)) & 1) << bit
    found = np.zeros_like(period)
    np.put_along_axis(found, order, np.where(m > 0, residue + m * reversed_piece, 0), 1)
    return found
