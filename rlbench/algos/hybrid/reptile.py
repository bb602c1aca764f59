"""Reptile: parameters that go a part of the way to where training on one task leads.

Nichol, Achiam and Schulman, "On First-Order Meta-Learning Algorithms" (arXiv 1803.02999). With w the parameters, and
w_K what K steps on a task chosen at random make of them, w <- w + meta_step (w_K - w).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from rlbench.nets.optim import Params


class Reptile:
    """Meta-parameters that are trained in place.

    Args:
        groups: the parameters of each network; those of a `torch.nn.Module` are `dict(module.named_parameters())`.
    """

    def __init__(self, groups: Sequence[Params]) -> None:
        self.params = [param.detach() for group in groups for param in group.values()]

    @contextmanager
    def adaptation(self, meta_step: float) -> Iterator[None]:
        """Within, the parameters may be trained on a task; afterwards they have moved `meta_step` of the way."""
        start = [param.clone() for param in self.params]
        yield
        torch._foreach_lerp_(self.params, start, 1.0 - meta_step)
