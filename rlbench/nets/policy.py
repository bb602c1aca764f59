"""Heads of stochastic policies: from a network's output to actions and their log-probabilities."""

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


def gaussian_log_prob(x: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Log-density of a diagonal Gaussian, summed over the last axis: `[..., a]` to `[..., 1]`."""
    z = (x - mean) * torch.exp(-log_std)
    return (-0.5 * z.square() - log_std - LOG_SQRT_2PI).sum(-1, keepdim=True)


class TanhGaussian:
    """a = tanh(u), u ~ N(mean, std^2), with mean and log-std from the network (Haarnoja et al., 2018, appendix C).

    Args:
        log_std_min, log_std_max: the log-std is clipped to these.
    """

    def __init__(self, log_std_min: float, log_std_max: float) -> None:
        self.bounds = log_std_min, log_std_max

    def split(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-std, `[..., a]` each, from the network's output `[..., 2 a]`."""
        mean, log_std = output.chunk(2, dim=-1)
        return mean, log_std.clamp(*self.bounds)

    def mode(self, output: Tensor) -> Tensor:
        """The deterministic action, tanh(mean)."""
        return torch.tanh(output.chunk(2, dim=-1)[0])

    def draw(self, output: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Reparametrised action and its log-std, `[..., a]` each, for standard normal noise `[..., a]`."""
        mean, log_std = self.split(output)
        return torch.tanh(mean + torch.exp(log_std) * noise), log_std

    def sample(self, output: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Reparametrised action `[..., a]` and log-probability `[..., 1]` for standard normal noise `[..., a]`."""
        action, log_std = self.draw(output, noise)
        density = (-0.5 * noise.square() - log_std - LOG_SQRT_2PI).sum(-1, keepdim=True)
        return action, density - torch.log(1 - action.square() + 1e-6).sum(-1, keepdim=True)

    def log_prob(self, output: Tensor, action: Tensor) -> Tensor:
        """Log-density `[..., 1]` of given actions `[..., a]` in (-1, 1)."""
        mean, log_std = self.split(output)
        density = gaussian_log_prob(torch.atanh(action), mean, log_std)
        return density - torch.log(1 - action.square() + 1e-6).sum(-1, keepdim=True)


class Head(Protocol):
    """What a network's output `[..., o]` says of actions `[..., a]`, o = a."""

    def action(self, output: Tensor) -> Tensor:
        """The action without noise."""
        ...

    def log_prob(self, output: Tensor, action: Tensor) -> Tensor:
        """How likely given actions are, `[...]`."""
        ...


class PlainGaussian:
    """A Gaussian of fixed width around the network's output, without constants: log p = -|mean - a|^2, no half.

    Args:
        bounded: whether the mean is the tanh of the output.
    """

    def __init__(self, bounded: bool) -> None:
        self.bounded = bounded

    def action(self, output: Tensor) -> Tensor:
        return torch.tanh(output) if self.bounded else output

    def log_prob(self, output: Tensor, action: Tensor) -> Tensor:
        return -(self.action(output) - action).square().sum(-1)


class Choice:
    """One of o choices: actions are their probabilities, or a one-hot vector of the choice that was made."""

    def action(self, output: Tensor) -> Tensor:
        return output.softmax(-1)

    def log_prob(self, output: Tensor, action: Tensor) -> Tensor:
        return (F.log_softmax(output, -1) * action).sum(-1)


HEADS: dict[str, Head] = {
    "bounded": PlainGaussian(bounded=True),
    "unbounded": PlainGaussian(bounded=False),
    "choices": Choice(),
}
"""By what a task says of its actions."""
