"""The solved problems, and policies in them, for the tests."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rlbench.algos.policy_gradient.rollouts import Rollouts, joined
from rlbench.envs.chain3 import Chain3, expected_return
from rlbench.envs.lqr1d import LQR1D, System
from tests.algos.helpers import build

LQR = LQR1D("lqr1d", "rlbench.envs.lqr1d:LQR1D-v0", kwargs={"max_episode_steps": 40})
CHAIN = Chain3("chain3", "rlbench.envs.chain3:Chain3-v0", kwargs={"max_episode_steps": 8})
SYSTEM, SIGMA, GAMMA = System(), 0.5, 0.9
EXACT: dict[str, Any] = {"hidden_dims": [], "gamma": GAMMA, "discount_from_start": True}


def exact(name: str) -> dict[str, Any]:
    return {**EXACT, "mean_over": "episodes"} if name in ("vanilla_pg", "harpg", "nharpg") else EXACT


def lqr(name: str, seeds: tuple[int, ...] = (0,), **changes: Any) -> Any:
    return build(name, LQR, seeds, **{**exact(name), "std": SIGMA, "learn_std": False, "batch_size": 800, **changes})


def chain(name: str, seeds: tuple[int, ...] = (0,), **changes: Any) -> Any:
    return build(name, CHAIN, seeds, **{**exact(name), "batch_size": 160, **changes})


def lqr_return(k: Tensor) -> Tensor:
    """J(k), to be differentiated."""
    return SYSTEM.expected_return(k, SIGMA, GAMMA)


def lqr_return_until(k: Tensor, horizon: int) -> Tensor:
    """J(k) of the first steps: what episodes that are cut tell of."""
    square, total = torch.ones_like(k), torch.zeros_like(k)
    for h in range(horizon):
        total = total - GAMMA**h * ((SYSTEM.q + SYSTEM.r * k**2) * square + SYSTEM.r * SIGMA**2)
        square = (SYSTEM.A - SYSTEM.B * k) ** 2 * square + SYSTEM.B**2 * SIGMA**2 + SYSTEM.W
    return total


def chain_return(theta: Tensor) -> Tensor:
    """J of the tabular softmax policy with theta in R^6."""
    return expected_return(theta.reshape(3, 2).softmax(-1), GAMMA, 8)


def played(algorithm: Any, theta: Tensor, episodes: int) -> Rollouts:
    """Episodes of every seed with one policy, theta in R^D."""
    places = list(range(len(algorithm.task.seeds)))
    stacked = theta.float().expand(len(places), -1)
    size = episodes * algorithm.sampler.horizon
    return joined(algorithm.sampler.sample(places, stacked, [0] * len(places), size), 0)


def close(samples: Tensor, exact: Tensor, errors: float = 4.0) -> bool:
    """Whether the mean of independent samples `[S, D]` lies within so many standard errors, in every component."""
    return bool((deviation(samples, exact) < errors).all())


def deviation(samples: Tensor, exact: Tensor) -> Tensor:
    """How many standard errors the mean of independent samples is off, `[D]`."""
    samples = samples.double()
    return (samples.mean(0) - exact).abs() / (samples.std(0) / len(samples) ** 0.5)
