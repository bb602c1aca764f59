"""Plackett and Luce's model of rankings: how likely they are, and draws of them.

Of K responses with utilities u, the best is response k with probability exp(u_k) / sum_j exp(u_j), the second best
likewise among those left, and so on:

    P(1 > 2 > ... > K) = prod_k exp(u_k) / sum_{j >= k} exp(u_j).

For two it is Bradley and Terry's model, P(1 > 2) = sigma(u_1 - u_2).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from rlbench.language.policy import drawn


def ranking_loss(utility: Tensor) -> Tensor:
    """-log P of the order in which they stand, `[...]`, of utilities `[K, ...]`, the best first."""
    # Each factor is sigma(u_k - log sum_{j > k} exp(u_j)): nothing overflows, and of two it is sigma(u_1 - u_2).
    ahead = [utility[k] - utility[k + 1 :].logsumexp(0) for k in range(len(utility) - 1)]
    return -F.logsigmoid(torch.stack(ahead)).sum(0)


def ranking_drawn(utility: Tensor, uniform: Tensor) -> Tensor:
    """Places of the best, the second best, ... of utilities, both `[..., K]`.

    Args:
        utility: u.
        uniform: numbers that are inverted, `[..., K - 1]`.
    """
    order = []
    for each in uniform.unbind(-1):
        order.append(drawn(utility.softmax(-1), each))
        utility = utility.scatter(-1, order[-1][..., None], -torch.inf)
    return torch.stack([*order, utility.argmax(-1)], -1)


def every_two(value: Tensor) -> tuple[Tensor, Tensor]:
    """The better's and the worse's of every two of values `[K, ...]`, the best first: `[K (K - 1) / 2, ...]` each."""
    better, worse = torch.triu_indices(len(value), len(value), 1, device=value.device)
    return value[better], value[worse]
