"""The relaxation of a recovering bandit: what no policy can exceed, and how often it would pull each arm.

An arm that is pulled with frequency x, at whatever gaps, earns at most F_i(x): the least concave, non-decreasing
function above (0, 0) and the points (1/d, R_i(d)/d), by Jensen's inequality over its gaps. So the long-run average of
every policy is at most the maximum of sum_i F_i(x_i) over sum_i x_i <= K. Filling the capacity with the steepest
segments of all F_i first solves this exactly; at most one arm ends inside a segment, all others pull every d_i
periods.

Everything carries a leading axis B of problems, solved at once.
"""

from __future__ import annotations

import numpy as np


def envelopes(R: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slopes and lengths of the segments of every F_i, `[B, N, H]`, steepest first; padded with zeros.

    Args:
        R: mean rewards `[B, N, D]`.
    """
    x = 1.0 / np.arange(1, R.shape[-1] + 1)
    y = R * x
    at_x, at_y = np.zeros(R.shape[:-1]), np.zeros(R.shape[:-1])
    slopes, lengths = [], []
    while True:
        beyond = x > at_x[..., None]
        slope = np.where(beyond, (y - at_y[..., None]) / np.where(beyond, x - at_x[..., None], 1.0), -np.inf)
        best = slope.argmax(-1)  # of equal slopes the first, which is the farthest
        steepest = np.take_along_axis(slope, best[..., None], -1)[..., 0]
        goes_on = steepest > 0
        if not goes_on.any():
            break
        slopes.append(np.where(goes_on, steepest, 0.0))
        lengths.append(np.where(goes_on, x[best] - at_x, 0.0))
        at_x = np.where(goes_on, x[best], at_x)
        at_y = np.where(goes_on, np.take_along_axis(y, best[..., None], -1)[..., 0], at_y)
    if not slopes:
        return np.zeros((*R.shape[:-1], 1)), np.zeros((*R.shape[:-1], 1))
    return np.stack(slopes, -1), np.stack(lengths, -1)


class Relaxation:
    """The relaxed problem for every capacity.

    Args:
        R: mean rewards `[B, N, D]`.
    """

    def __init__(self, R: np.ndarray) -> None:
        slopes, lengths = envelopes(R)
        self.shape = slopes.shape
        flat = len(R), -1
        self.order = np.argsort(-slopes.reshape(flat), axis=1, kind="stable")
        self.slopes = np.take_along_axis(slopes.reshape(flat), self.order, 1)
        self.lengths = np.take_along_axis(lengths.reshape(flat), self.order, 1)
        self.before = np.cumsum(self.lengths, axis=1) - self.lengths

    def filled(self, capacity: float) -> np.ndarray:
        """How much of each segment is taken, in their order."""
        return np.clip(capacity - self.before, 0.0, self.lengths)

    def value(self, capacity: float) -> np.ndarray:
        """The largest sum of F_i(x_i), `[B]`: with capacity K, the bound on the long-run average of every policy."""
        return (self.slopes * self.filled(capacity)).sum(1)

    def frequencies(self, capacity: float) -> np.ndarray:
        """Where it is reached: x `[B, N]`."""
        taken = np.empty_like(self.lengths)
        np.put_along_axis(taken, self.order, self.filled(capacity), 1)
        return taken.reshape(self.shape).sum(-1)


def bound(R: np.ndarray, K: int) -> float:
    """What the long-run average of no policy exceeds, for one problem `[N, D]`."""
    return float(Relaxation(R[None]).value(K)[0])
