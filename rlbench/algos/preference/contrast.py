"""The losses of comparisons: from scores of segments to one number a seed."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def contrastive_loss(score: Tensor, label: Tensor, bias: float = 1.0) -> Tensor:
    """Negative log-likelihood of comparisons, the scores of the segments not preferred shrunk by `bias`: `[S]`.

    Mean of y softplus(bias s_1 - s_2) + (1 - y) softplus(bias s_2 - s_1); with bias = 1 it is the cross-entropy of the
    Bradley-Terry model.

    Args:
        score: `[S, 2 B]`, the first segments of all pairs, then the second.
        label: y, the probability that the second is preferred, `[S, B]`.
        bias: lambda; below 1, of policies with the same contrast the one that finds the data likelier has less loss.
    """
    first, second = score.chunk(2, dim=1)
    loss = label * F.softplus(bias * first - second) + (1 - label) * F.softplus(bias * second - first)
    return loss.mean(1)


def ranking_loss(score: Tensor, rank: Tensor, bias: float = 1.0) -> Tensor:
    """The same for every pair of a batch, the one of higher rank preferred: `[S]`.

    Args:
        score: `[S, B]`.
        rank: what they are ordered by, `[S, B]`.
        bias: lambda.
    """
    ordered = score.gather(1, rank.argsort(dim=1, descending=True, stable=True))
    count = score.shape[1]
    better, worse = torch.triu_indices(count, count, 1, device=score.device)
    return F.softplus(bias * ordered[:, worse] - ordered[:, better]).mean(1)


def agreement(score: Tensor, label: Tensor) -> Tensor:
    """Share of the pairs of which the model prefers the one that is preferred, `[S]`; arguments as above."""
    first, second = score.chunk(2, dim=1)
    return ((second > first) == (label > 0.5)).float().mean(1)
