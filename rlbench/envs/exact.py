"""Control problems that are solved: of a policy they know the expected return, without playing an episode."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rlbench.envs.control import Control

if TYPE_CHECKING:
    from torch import Tensor

Distribution = Callable[["Tensor"], "Tensor"]
"""What a stochastic policy does, float64 observations `[S, B, d]` to the parameters of its actions: probabilities
`[S, B, n]` of n choices, or mean and standard deviation `[S, B, 2 a]`."""


class Exact(Control):
    """A control problem that is solved (the arguments are `Control`'s)."""

    def exact(self, policy: Distribution, gamma: float) -> tuple[Tensor, Tensor] | None:
        """Expected discounted return of a policy, and how much the best one has more, float64 `[S]` each.

        None, where it is not known for such a policy.
        """
        raise NotImplementedError
