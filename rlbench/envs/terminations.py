"""When an episode ends, as a function of the next observation: what a learned model cannot be trusted to know."""

from collections.abc import Callable

import torch
from torch import Tensor


def never(s: Tensor) -> Tensor:
    return torch.zeros(s.shape[:-1], dtype=torch.bool, device=s.device)


def hopper(s: Tensor) -> Tensor:
    """Falls: height s[0] <= 0.7 or |angle s[1]| >= 0.2, or any other coordinate leaves (-100, 100)."""
    healthy = torch.isfinite(s).all(-1) & (s[..., 1:].abs() < 100).all(-1) & (s[..., 0] > 0.7) & (s[..., 1].abs() < 0.2)
    return ~healthy


def walker2d(s: Tensor) -> Tensor:
    """Falls: height outside (0.8, 2), |angle| >= 1, or any coordinate leaves (-100, 100)."""
    healthy = (s.abs() < 100).all(-1) & (s[..., 0] > 0.8) & (s[..., 0] < 2.0) & (s[..., 1].abs() < 1)
    return ~healthy


def halfcheetah(s: Tensor) -> Tensor:
    """Never ends in the simulator; a model that leaves (-100, 100) is stopped."""
    return ~(s.abs() < 100).all(-1)


TERMINATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "never": never,
    "hopper": hopper,
    "walker2d": walker2d,
    "halfcheetah": halfcheetah,
}
