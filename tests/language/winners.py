"""What winners of comparisons are: the target that fine-tuning on preferred responses can be held to."""

import torch
from torch import Tensor


def winners(reference: Tensor, reward: Tensor) -> Tensor:
    """Log-probabilities of the preferred of two different responses of the reference, by Bradley and Terry's model."""
    logp = torch.empty_like(reference)
    for s, c in torch.cartesian_prod(torch.arange(len(reference)), torch.arange(reference.shape[1])).tolist():
        p, r = reference[s, c].exp(), reward[s, c]
        for rows in torch.arange(len(p)).split(512):
            beaten = torch.sigmoid(r[rows, None] - r) @ p - p[rows] / 2  # but for itself
            logp[s, c, rows] = (p[rows] * beaten).log()
    return logp.log_softmax(-1)
