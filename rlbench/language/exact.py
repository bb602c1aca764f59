"""Exact quantities where all responses to all prompts can be listed: tables `[S, C, Y]`, float64.

S seeds, C equally likely prompts, Y responses. `logp` and `reference` are log-probabilities of responses.
"""

from __future__ import annotations

import torch
from torch import Tensor

DOUBLINGS = 20  # the inverse beta of the frontier is sought between 2^-20 and 2^20
HALVINGS = 45


def expected(logp: Tensor, value: Tensor) -> Tensor:
    """Mean value of a response, `[S]`."""
    return (logp.exp() * value).sum(-1).mean(-1)


def divergence(logp: Tensor, reference: Tensor) -> Tensor:
    """KL(pi || reference), mean over prompts, `[S]`."""
    # A response that never comes adds nothing, though its logarithm is -inf.
    return expected(logp, (logp - reference).masked_fill(logp.isneginf(), 0.0))


def tilted(reference: Tensor, reward: Tensor, beta: Tensor | float) -> tuple[Tensor, Tensor]:
    """The policy reference(y) exp(reward(y) / beta) / Z, which maximises E[reward] - beta KL, and log Z `[S, C]`."""
    logits = reference + reward / beta
    log_z = logits.logsumexp(-1)
    return logits - log_z[..., None], log_z


def optimum(reference: Tensor, reward: Tensor, beta: float) -> Tensor:
    """The most that E[reward] - beta KL can be, beta E[log Z]: `[S]`."""
    return beta * tilted(reference, reward, beta)[1].mean(-1)


def frontier(reference: Tensor, reward: Tensor, kl: Tensor) -> Tensor:
    """The most that the mean reward can be at a divergence `[S]`: that of the tilted policy that has it, `[S]`."""
    low = torch.full_like(kl, -DOUBLINGS)
    high = -low
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        policy, _ = tilted(reference, reward, torch.exp2(-middle)[:, None, None])
        near = divergence(policy, reference) < kl
        low, high = torch.where(near, middle, low), torch.where(near, high, middle)
    # From above: where a policy is on the frontier, rounding is not to put it beyond.
    return expected(tilted(reference, reward, torch.exp2(-high)[:, None, None])[0], reward)


def best_of(reference: Tensor, score: Tensor, n: int) -> Tensor:
    """Log-probabilities of the best by `score` of n responses drawn from the reference (of equals, the last listed)."""
    order = score.argsort(dim=-1, stable=True)
    cumulative = reference.exp().gather(-1, order).cumsum(-1)
    cumulative = cumulative / cumulative[..., -1:]
    power = cumulative**n
    probability = power.diff(dim=-1, prepend=torch.zeros_like(power[..., :1]))
    return torch.empty_like(power).scatter(-1, order, probability).log()
