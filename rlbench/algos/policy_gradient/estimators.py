"""Gradient and Hessian-vector product of the expected return, estimated from episodes.

With G_h = sum_{k >= h} gamma^k r_k, any b_h that does not depend on a_h, and everything but theta held fixed,

    Phi(theta; tau) = sum_h (G_h - b_h) log pi_theta(a_h|s_h),    g = grad Phi,
    B v = g <grad log p(tau|theta), v> + grad <g, v>,    grad log p(tau|theta) = sum_h grad log pi_theta(a_h|s_h):

E g is the gradient and E B the Hessian of the return of the first H steps (GPOMDP: Baxter and Bartlett, 2001). Both are
means over episodes, for each seed its own; the score in B is each episode's own sum.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlbench.algos.policy_gradient.policy import Policy
from rlbench.algos.policy_gradient.rollouts import Rollouts


def discounted(values: Tensor, rate: float) -> Tensor:
    """sum_{k >= h} rate^(k-h) values_k along the last axis."""
    out, total = torch.empty_like(values), torch.zeros_like(values[..., 0])
    for h in reversed(range(values.shape[-1])):
        total = values[..., h] + rate * total
        out[..., h] = total
    return out


def log_probs(policy: Policy, theta: Tensor, rollouts: Rollouts) -> Tensor:
    """log pi_theta of every action, `[S, E, T]`; 0 where no step was taken."""
    flat = policy.log_prob(policy.params(theta), rollouts.observation.flatten(1, 2), rollouts.action.flatten(1, 2))
    return flat.unflatten(1, rollouts.mask.shape[1:]) * rollouts.mask


def gradient(policy: Policy, theta: Tensor, rollouts: Rollouts, weight: Tensor) -> Tensor:
    """Mean of g over the episodes, `[S, D]`.

    Args:
        policy: what has acted.
        theta: with which parameters, `[S, D]`.
        rollouts: what came of it.
        weight: G_h - b_h, `[S, E, T]`.
    """

    theta = theta.detach().requires_grad_()
    return torch.autograd.grad(phi(log_probs(policy, theta, rollouts), rollouts, weight).sum(), theta)[0]


def hessian_product(policy: Policy, theta: Tensor, rollouts: Rollouts, weight: Tensor, v: Tensor) -> Tensor:
    """Mean of B v over the episodes, `[S, D]`; arguments as `gradient`'s, v `[S, D]`."""
    theta = theta.detach().requires_grad_()
    log_prob = log_probs(policy, theta, rollouts)
    slope = along(log_prob, theta, v)  # <grad log pi_theta(a_h|s_h), v>
    score = slope.detach().sum(2, keepdim=True)  # <grad log p(tau|theta), v>
    return torch.autograd.grad(phi(score * log_prob + slope, rollouts, weight).sum(), theta)[0]


def phi(log_prob: Tensor, rollouts: Rollouts, weight: Tensor) -> Tensor:
    """Mean of Phi over the episodes, `[S]`."""
    return (weight * log_prob).sum((1, 2)) / rollouts.episodes


def along(values: Tensor, theta: Tensor, v: Tensor) -> Tensor:
    """The derivative of values along v, as a function of theta: what is linear in u in <grad <u, values>, v>."""
    u = torch.zeros_like(values, requires_grad=True)
    (pulled,) = torch.autograd.grad(values, theta, u, create_graph=True)
    return torch.autograd.grad((pulled * v).sum(), u, create_graph=True)[0]
