"""The linear value function that is subtracted from returns (Duan et al., "Benchmarking Deep Reinforcement Learning for
Continuous Control", 2016): ridge regression on [o, o^2, t, t^2, t^3, 1], o clipped, t = step / 100."""

from __future__ import annotations

import torch
from torch import Tensor

from rlbench.algos.policy_gradient.rollouts import Rollouts

BOUND = 10.0  # of observations
RIDGE = 1e-5


class LinearBaseline:
    """V(s_h) of each of S seeds, 0 before the first fit.

    Args:
        seeds: S.
        dim: width of the observation.
        device: where it computes.
    """

    def __init__(self, seeds: int, dim: int, device: torch.device) -> None:
        self.weight = torch.zeros(seeds, 2 * dim + 4, dtype=torch.float64, device=device)

    def features(self, rollouts: Rollouts) -> Tensor:
        """`[S, E * T, F]`, 0 where no step was taken."""
        o = rollouts.observation.double().clamp(-BOUND, BOUND)
        t = (torch.arange(o.shape[2], dtype=o.dtype, device=o.device) / 100)[:, None].expand(*o.shape[:3], 1)
        whole = torch.cat([o, o**2, t, t**2, t**3, torch.ones_like(t)], -1)
        return (whole * rollouts.mask[..., None]).flatten(1, 2)

    def value(self, places: list[int], rollouts: Rollouts) -> Tensor:
        """V of every step, `[S, E, T]`."""
        flat = self.features(rollouts) @ self.weight[places, :, None]
        return flat.squeeze(-1).unflatten(1, rollouts.mask.shape[1:]).float()

    def fit(self, places: list[int], rollouts: Rollouts, returns: Tensor) -> None:
        """Fit to discounted returns from each step on, `[S, E, T]`."""
        x, y = self.features(rollouts), (returns * rollouts.mask).flatten(1).double()
        ridge = RIDGE * torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
        self.weight[places] = torch.linalg.solve(x.mT @ x + ridge, (x.mT @ y[..., None]).squeeze(-1))
