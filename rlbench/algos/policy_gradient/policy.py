"""Stochastic policies as functions of a vector: theta in R^D, one a seed, stacked to `[S, D]`."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from rlbench.nets.mlp import MLP
from rlbench.nets.optim import Params
from rlbench.nets.policy import gaussian_log_prob
from rlbench.rng import SeedStreams
from rlbench.task import ControlTask
from rlbench.types import Count


class Linear:
    """A network without hidden layers and without constants, zero in the beginning: x W."""

    def __init__(self, in_dim: int, out_dim: int) -> None:
        self.sizes = in_dim, out_dim

    def init(self, rng: SeedStreams) -> Params:
        return {"weight": torch.zeros(len(rng), *self.sizes, device=rng.device)}

    def __call__(self, params: Params, observation: Tensor) -> Tensor:
        return observation @ params["weight"]


class Policy:
    """pi_theta(a|s) on observations `[S, B, d]`; subclasses say of which distribution the network's output is.

    Args:
        task: the problem.
        hidden_dims: widths of the hidden layers, tanh between them; []: linear in the observation, without constants.
        outputs: width of the network's output.
    """

    def __init__(self, task: ControlTask, hidden_dims: list[Count], outputs: int) -> None:
        dim = task.networks.observation_dim
        options: dict[str, Any] = {"activation": "tanh", "init": "orthogonal", "final_init": 0.01}
        self.net = MLP(dim, hidden_dims, outputs, **options) if hidden_dims else Linear(dim, outputs)
        self.first = self.init(task.streams("parameters"))
        self.shapes = {name: value.shape[1:] for name, value in self.first.items()}

    def init(self, rng: SeedStreams) -> Params:
        """First parameters, `[S, ...]` each."""
        return self.net.init(rng)

    @property
    def theta(self) -> Tensor:
        """The first parameters as vectors, `[S, D]`."""
        return torch.cat([value.flatten(1) for value in self.first.values()], 1)

    def params(self, theta: Tensor) -> Params:
        """The tensors that vectors consist of, views `[S, ...]`."""
        parts = theta.split([math.prod(shape) for shape in self.shapes.values()], 1)
        return {name: part.unflatten(1, shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}

    def mode(self, params: Params, observation: Tensor) -> Tensor:
        """The likeliest action, `[S, B, a]`, as the environment takes it."""
        raise NotImplementedError

    def noise(self, rng: SeedStreams, steps: int) -> Tensor:
        """Random numbers `[S, steps, z]` for as many actions."""
        raise NotImplementedError

    def sample(self, params: Params, observation: Tensor, noise: Tensor) -> Tensor:
        """An action `[S, B, a]` made of noise `[S, B, z]`."""
        raise NotImplementedError

    def taken(self, action: Tensor) -> Tensor:
        """What the environment gets for a sampled action."""
        return action

    def log_prob(self, params: Params, observation: Tensor, action: Tensor) -> Tensor:
        """log pi_theta(a|s) of sampled actions, `[S, B]`."""
        raise NotImplementedError

    def distribution(self, params: Params, observation: Tensor) -> Tensor:
        """Its parameters, as `rlbench.envs.exact` wants them."""
        raise NotImplementedError

    def divergence(self, params: Params, others: Params, observation: Tensor) -> Tensor:
        """KL(pi_others || pi_params), `[S, B]`."""
        raise NotImplementedError


class Categorical(Policy):
    """A choice of n, one-hot, with probabilities softmax(network)."""

    def __init__(self, task: ControlTask, hidden_dims: list[Count]) -> None:
        super().__init__(task, hidden_dims, task.networks.action_dim)

    def mode(self, params: Params, observation: Tensor) -> Tensor:
        scores = self.net(params, observation)
        return F.one_hot(scores.argmax(-1), scores.shape[-1]).to(scores.dtype)

    def noise(self, rng: SeedStreams, steps: int) -> Tensor:
        return rng.uniform(steps, 1)

    def sample(self, params: Params, observation: Tensor, noise: Tensor) -> Tensor:
        cumulative = self.distribution(params, observation).cumsum(-1)
        choice = (noise >= cumulative[..., :-1]).sum(-1)
        return F.one_hot(choice, cumulative.shape[-1]).to(observation.dtype)

    def log_prob(self, params: Params, observation: Tensor, action: Tensor) -> Tensor:
        return (self.net(params, observation).log_softmax(-1) * action).sum(-1)

    def distribution(self, params: Params, observation: Tensor) -> Tensor:
        return self.net(params, observation).softmax(-1)

    def divergence(self, params: Params, others: Params, observation: Tensor) -> Tensor:
        mine, theirs = (self.net(each, observation).log_softmax(-1) for each in (params, others))
        return (theirs.exp() * (theirs - mine)).sum(-1)


class Gaussian(Policy):
    """a ~ N(network, std^2), the same std in every state; what leaves the bounds of the actions is taken as the bound.

    Args:
        task: the problem.
        hidden_dims: as `Policy`'s.
        std: standard deviation, in the beginning.
        learn_std: whether its logarithm is part of theta.
    """

    def __init__(self, task: ControlTask, hidden_dims: list[Count], std: float, learn_std: bool) -> None:
        self.dim, self.log_std, self.learn_std = task.networks.action_dim, math.log(std), learn_std
        self.bounds = [torch.as_tensor(bound, device=task.device) for bound in task.env.action_bounds()]
        super().__init__(task, hidden_dims, self.dim)

    def init(self, rng: SeedStreams) -> Params:
        learned = {"log_std": torch.full((len(rng), 1, self.dim), self.log_std, device=rng.device)}
        return {**super().init(rng), **(learned if self.learn_std else {})}

    def split(self, params: Params, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-std, `[S, B, a]` each."""
        mean = self.net(params, observation)
        return mean, params["log_std"].expand_as(mean) if self.learn_std else torch.full_like(mean, self.log_std)

    def mode(self, params: Params, observation: Tensor) -> Tensor:
        return self.taken(self.net(params, observation))

    def noise(self, rng: SeedStreams, steps: int) -> Tensor:
        return rng.normal(steps, self.dim)

    def sample(self, params: Params, observation: Tensor, noise: Tensor) -> Tensor:
        mean, log_std = self.split(params, observation)
        return mean + log_std.exp() * noise

    def taken(self, action: Tensor) -> Tensor:
        return action.clamp(*self.bounds)

    def log_prob(self, params: Params, observation: Tensor, action: Tensor) -> Tensor:
        mean, log_std = self.split(params, observation)
        return gaussian_log_prob(action, mean, log_std).squeeze(-1)

    def distribution(self, params: Params, observation: Tensor) -> Tensor:
        mean, log_std = self.split(params, observation)
        return torch.cat([mean, log_std.exp()], -1)

    def divergence(self, params: Params, others: Params, observation: Tensor) -> Tensor:
        (mean, log_std), (theirs, their_log_std) = self.split(params, observation), self.split(others, observation)
        variance = (2 * (their_log_std - log_std)).exp()
        z = (theirs - mean) * (-log_std).exp()
        return (0.5 * (variance + z.square() - 1) + log_std - their_log_std).sum(-1)


def policy_for(task: ControlTask, hidden_dims: list[Count], std: float, learn_std: bool) -> Policy:
    """The policy for the actions of the task's environment."""
    if task.env.discrete():
        return Categorical(task, hidden_dims)
    return Gaussian(task, hidden_dims, std, learn_std)
