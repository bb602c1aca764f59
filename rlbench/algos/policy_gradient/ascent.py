"""Steps along a direction that is made of gradients: what plain, normalised and variance-reduced ascent share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from rlbench.algos.policy_gradient.baseline import LinearBaseline
from rlbench.algos.policy_gradient.estimators import discounted, gradient
from rlbench.algos.policy_gradient.on_policy import OnPolicy
from rlbench.algos.policy_gradient.rollouts import Rollouts
from rlbench.types import AboveZero, Positive


@dataclass(kw_only=True, eq=False)
class Ascent(OnPolicy):
    """theta <- theta + alpha_t d_t, or with d_t / |d_t| in place of d_t; alpha_t = alpha_0 (2 / (t + 2))^p.

    A subclass sets the exponent p, whether steps are normalised, and computes d_t.

    Args:
        baseline: what is subtracted from returns: a linear value function fitted to the batch before, or nothing.
        discount_from_start: whether the step h counts gamma^h times, as the gradient of the discounted return has it;
            in practice it is left out.
        alpha_0: first step size.
    """

    baseline: Literal["linear", "none"]
    discount_from_start: bool
    alpha_0: Positive

    alpha_power = 1.0
    normalized = True
    reported = ("direction_norm",)

    def __post_init__(self) -> None:
        super().__post_init__()
        task = self.task
        self.values = LinearBaseline(len(task.seeds), task.networks.observation_dim, task.device)

    def direction(self, places: list[int], batches: list[Rollouts]) -> Tensor:
        """d_t, `[R, D]`."""
        raise NotImplementedError

    def decaying(self, places: list[int], first: float, power: float) -> Tensor:
        """first (2 / (t + 2))^power, `[R, 1]`."""
        t = self.iteration[places, None].to(self.theta)
        return first * (2 / (t + 2)) ** power

    def weights(self, places: list[int], rollouts: Rollouts) -> Tensor:
        """G_h - b_h, `[R, E, T]`."""
        weight = discounted(rollouts.reward, self.gamma)
        if self.baseline == "linear":
            weight = weight - self.values.value(places, rollouts)
        if self.discount_from_start:
            weight = weight * self.gamma ** torch.arange(weight.shape[2], device=weight.device)
        return weight * rollouts.mask

    def gradient(self, places: list[int], theta: Tensor, rollouts: Rollouts) -> Tensor:
        """g at the policies `[R, D]` that were sampled."""
        return gradient(self.policy, theta, rollouts, self.weights(places, rollouts))

    def improve(self, places: list[int], batches: list[Rollouts]) -> dict[str, Tensor]:
        direction = self.direction(places, batches)
        norm = direction.norm(dim=1, keepdim=True)
        unit = direction / norm.where(norm > 0, 1.0) if self.normalized else direction
        self.theta[places] += self.decaying(places, self.alpha_0, self.alpha_power) * unit
        if self.baseline == "linear":
            self.values.fit(places, batches[0], discounted(batches[0].reward, self.gamma))
        return {"direction_norm": norm.squeeze(1)}

    def state(self) -> dict[str, Tensor]:
        return {**super().state(), "baseline": self.values.weight}


@dataclass(kw_only=True, eq=False)
class Averaged(Ascent):
    """Whose gradients are means over episodes or over steps: a step that is not normalised depends on which.

    Args:
        mean_over: `episodes`, of which each counts with its whole sum: the gradient of the return; or `steps`: it is
            divided by the mean length of an episode, too, and steps along it grow no longer as episodes do.
    """

    mean_over: Literal["episodes", "steps"]

    def weights(self, places: list[int], rollouts: Rollouts) -> Tensor:
        weight = super().weights(places, rollouts)
        if self.mean_over == "steps":
            weight = weight * (rollouts.episodes / rollouts.steps)[:, None, None]
        return weight


@dataclass(kw_only=True, eq=False)
class Momentum(Ascent):
    """d_t is made of d_{t-1} and new gradients, which count eta_t = eta_0 (2 / (t + 2))^p, and all at t = 0.

    Args:
        eta_0: first weight of the new gradient.
    """

    eta_0: AboveZero

    eta_power = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.previous = self.theta.clone()
        """theta_{t-1}, `[S, D]`."""
        self.d = torch.zeros_like(self.theta)
        """d_{t-1}, `[S, D]`."""

    def eta(self, places: list[int]) -> Tensor:
        """eta_t, `[R, 1]`."""
        first = (self.iteration[places, None] == 0).to(self.theta.device)
        return self.decaying(places, self.eta_0, self.eta_power).where(~first, 1.0)

    def improve(self, places: list[int], batches: list[Rollouts]) -> dict[str, Tensor]:
        here = self.theta[places]
        found = super().improve(places, batches)
        self.previous[places] = here
        return found

    def mixed(self, places: list[int], direction: Tensor, gradient: Tensor) -> Tensor:
        """(1 - eta_t) direction + eta_t gradient, kept as d_t."""
        self.d[places] = torch.lerp(direction, gradient, self.eta(places))
        return self.d[places]

    def state(self) -> dict[str, Tensor]:
        return {**super().state(), "previous": self.previous, "d": self.d}
