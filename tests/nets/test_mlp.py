"""The stack of ReLU layers as one node of autograd, against the same layers as plain operations."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rlbench.nets.mlp import MLP, linear
from rlbench.nets.optim import Params
from rlbench.rng import SeedStreams


def plain(net: MLP, params: Params, x: Tensor) -> Tensor:
    for weight, bias in net.layers[:-1]:
        x = F.relu(linear(x, params[weight], params[bias]))
    weight, bias = net.layers[-1]
    return linear(x, params[weight], params[bias])


def problem(out_dim: int) -> tuple[MLP, Params, Tensor]:
    net = MLP(5, [32, 24], out_dim, members=3)
    params = {name: value.requires_grad_() for name, value in net.init(SeedStreams((0, 1), "parameters")).items()}
    x = torch.randn(6, 40, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    return net, params, x


@pytest.mark.parametrize("out_dim", [1, 3, 20])
@pytest.mark.parametrize("needed", ["all", "weights", "input"])
def test_gradients_are_those_of_the_plain_layers(out_dim: int, needed: str) -> None:
    net, params, x = problem(out_dim)
    wanted = {"all": [x, *params.values()], "weights": list(params.values()), "input": [x]}[needed]
    for value in {x, *params.values()} - set(wanted):
        value.requires_grad_(False)
    found = torch.autograd.grad(net.forward(params, x).square().sum(), wanted)
    expected = torch.autograd.grad(plain(net, params, x).square().sum(), wanted)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_second_derivatives_are_those_of_the_plain_layers() -> None:
    """What EDAC needs: the weights' gradient of a function of the input's gradient."""
    net, params, x = problem(1)
    results = []
    for output in (net.forward(params, x), plain(net, params, x)):
        (gradient,) = torch.autograd.grad(output.sum(), x, create_graph=True)
        loss = output.square().mean() + gradient.square().sum(-1).sqrt().mean()
        results.append(torch.autograd.grad(loss, list(params.values())))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_nothing_that_was_given_is_overwritten() -> None:
    net, params, x = problem(2)
    before = [value.detach().clone() for value in (x, *params.values())]
    net.forward(params, x).sum().backward()
    for value, saved in zip((x, *params.values()), before, strict=True):
        torch.testing.assert_close(value.detach(), saved, rtol=0, atol=0)
