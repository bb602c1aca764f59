"""The stack of ReLU layers as one node of autograd, against the same layers as plain operations."""

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rlbench.nets import amx, mlp
from rlbench.nets.mlp import MLP, in_parts, linear, relu_linear, weight_gradient
from rlbench.nets.optim import Params
from rlbench.rng import SeedStreams
from rlbench.types import Precision

pytestmark = [
    pytest.mark.usefixtures("backend"),
    pytest.mark.parametrize("backend", ["highest", "amx"], indirect=True),
]


def layer(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """By the backend in use, however small."""
    return amx.linear(x, weight, bias) if amx.serves(x, weight) else linear(x, weight, bias)


def plain(net: MLP, params: Params, x: Tensor, noise: SeedStreams | None = None) -> Tensor:
    for weight, bias in net.layers[:-1]:
        x = F.relu(layer(x, params[weight], params[bias]))
        if noise is not None:
            x = x * noise.chance(1 - net.dropout, *x.shape[1:]) / (1 - net.dropout)
    weight, bias = net.layers[-1]
    return layer(x, params[weight], params[bias])


MANY = 700
"""More rows than go through the layers in one part, and no multiple of those."""


def problem(out_dim: int, rows: int = 40) -> tuple[MLP, Params, Tensor]:
    net = MLP(5, [32, 24], out_dim, members=3)
    params = {name: value.requires_grad_() for name, value in net.init(SeedStreams((0, 1), "parameters")).items()}
    x = torch.randn(6, rows, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    return net, params, x


@pytest.mark.parametrize("rows", [40, MANY])
@pytest.mark.parametrize("out_dim", [1, 3, 20])
@pytest.mark.parametrize("needed", ["all", "weights", "input"])
def test_gradients_are_those_of_the_plain_layers(out_dim: int, needed: str, rows: int) -> None:
    net, params, x = problem(out_dim, rows)
    assert len(in_parts(x)) == (1 if rows < MANY else 2 if amx.active else 3)
    wanted = {"all": [x, *params.values()], "weights": list(params.values()), "input": [x]}[needed]
    for value in {x, *params.values()} - set(wanted):
        value.requires_grad_(False)
    found = torch.autograd.grad(net.forward(params, x).square().sum(), wanted)
    expected = torch.autograd.grad(plain(net, params, x).square().sum(), wanted)
    with torch.no_grad():
        torch.testing.assert_close(net.forward(params, x), plain(net, params, x), rtol=1e-5, atol=1e-6)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_layer_normalisation_in_parts_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    net = MLP(5, [16, 16], 1, members=2, layernorm="after")
    params = {name: value.requires_grad_() for name, value in net.init(SeedStreams((0,), "parameters")).items()}
    x = torch.randn(2, MANY, 5, requires_grad=True)

    def gradients() -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(net.forward(params, x).square().mean(), [x, *params.values()])

    found = gradients()
    assert len(in_parts(x)) > 1
    monkeypatch.setattr(mlp, "CACHED", 10**9)
    assert len(in_parts(x)) == 1
    for one, other in zip(found, gradients(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 4e-3)])
@pytest.mark.parametrize("shape", [(2, 7936, 256, 256), (2, 7936, 14, 6), (3, 1021, 14, 256), (1, 256, 256, 1)])
def test_weight_gradient_of_many_rows_is_the_sum_of_its_parts(
    shape: tuple[int, int, int, int], dtype: torch.dtype, tolerance: float
) -> None:
    stacked, rows, fan_in, fan_out = shape
    x, grad = (torch.randn(stacked, rows, width, device="cuda").to(dtype) for width in (fan_in, fan_out))
    exact = x.double().mT @ grad.double()
    assert (weight_gradient(x, grad) - exact).abs().max() < tolerance * exact.abs().max()


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("fan_in", [14, 256])
def test_hidden_layers_of_many_rows_are_those_of_few(fan_in: int, dtype: torch.dtype, tolerance: float) -> None:
    rows, width = 8192, 256
    assert rows * width >= mlp.FULL > rows // 8 * width
    x = torch.randn(3, rows, fan_in, device="cuda").to(dtype)
    weight, bias = torch.randn(3, fan_in, width, device="cuda"), torch.randn(3, 1, width, device="cuda")
    exact = F.relu(x.double() @ weight.double() + bias.double())
    few = torch.cat([relu_linear(part, weight, bias) for part in x.split(rows // 8, dim=1)], dim=1)
    for units in (relu_linear(x, weight, bias), few):
        assert (units - exact).abs().max() < tolerance * exact.abs().max()


@pytest.mark.parametrize("rows", [40, MANY])
def test_second_derivatives_are_those_of_the_plain_layers(rows: int) -> None:
    """What EDAC needs: the weights' gradient of a function of the input's gradient."""
    net, params, x = problem(1, rows)
    results = []
    for output in (net.forward(params, x), plain(net, params, x)):
        (gradient,) = torch.autograd.grad(output.sum(), x, create_graph=True)
        loss = output.square().mean() + gradient.square().sum(-1).sqrt().mean()
        results.append(torch.autograd.grad(loss, list(params.values())))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rows", [40, MANY])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_dropout_and_its_derivatives_are_those_of_the_plain_layers(
    rows: int, precision: Precision, device: str
) -> None:
    net = MLP(5, [32, 24], 1, dropout=0.4, precision=precision)
    start = net.init(SeedStreams((0, 1), "parameters", device))
    params = {name: value.requires_grad_() for name, value in start.items()}
    x = torch.randn(2, rows, 5, generator=torch.Generator().manual_seed(0)).to(device).requires_grad_()
    results = []
    for output in (
        net.dropped(params, x, SeedStreams((3, 4), "dropout", device)),
        plain(net, params, x, SeedStreams((3, 4), "dropout", device)),
    ):
        first = torch.autograd.grad(output.square().sum(), [x, *params.values()], create_graph=precision == "fp32")
        if precision == "fp32":
            loss = output.square().mean() + first[0].square().sum(-1).sqrt().mean()
            results.append([output, *first, *torch.autograd.grad(loss, list(params.values()))])
        else:
            results.append([output, *first])
    for one, other in zip(*results, strict=True):
        assert error(one, other) < (1e-5 if precision == "fp32" else FLIPPED)


def test_dropout_is_for_layers_that_have_it() -> None:
    with pytest.raises(ValueError, match="without LayerNorm"):
        MLP(5, [32], 1, dropout=0.4, layernorm="before")


@pytest.mark.parametrize("rows", [40, MANY])
def test_nothing_that_was_given_is_overwritten(rows: int) -> None:
    net, params, x = problem(2, rows)
    before = [value.detach().clone() for value in (x, *params.values())]
    net.forward(params, x).sum().backward()
    for value, saved in zip((x, *params.values()), before, strict=True):
        torch.testing.assert_close(value.detach(), saved, rtol=0, atol=0)


KINDS: list[dict[str, Any]] = [
    {"activation": "relu", "out_dim": 1},
    {"activation": "relu", "out_dim": 3},
    {"activation": "relu", "out_dim": 20},
    {"activation": "swish", "out_dim": 3},
    {"activation": "swish", "out_dim": 20, "layernorm": "after", "final_layernorm": True},
    {"activation": "swish", "out_dim": 1, "layernorm": "before"},
]
ROUNDED = 0.01
"""Relative error of a few products of factors with eight bits."""
FLIPPED = 0.1
"""The same where, of all ReLU, some rounded to the other side of their bend: a correlation of 0.995."""


def both(**kind: Any) -> tuple[MLP, MLP, Params, Tensor]:
    """A network that multiplies in float32, the same in bfloat16, parameters of both, and an input."""
    fp32, bf16 = MLP(5, [64, 64], members=3, **kind), MLP(5, [64, 64], members=3, precision="bf16", **kind)
    params = {name: value.requires_grad_() for name, value in fp32.init(SeedStreams((0, 1), "parameters")).items()}
    x = torch.randn(6, 1000, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    return fp32, bf16, params, x


def rounded(net: MLP, params: Params, x: Tensor) -> Tensor:
    """The plain layers in float64, with factors and activations rounded where the stack rounds them."""
    for weight, bias in net.layers[:-1]:
        product = x.bfloat16().double() @ params[weight].bfloat16().double()
        x = F.relu(product.bfloat16() + params[bias].bfloat16())
    weight, bias = net.layers[-1]
    return (x.double() @ params[weight].double() + params[bias].double()).float()


def error(found: Tensor, expected: Tensor) -> float:
    assert found.dtype == torch.float32
    return float(((found - expected).norm() / expected.norm()).detach())


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("needed", ["all", "weights", "input"])
def test_bf16_is_fp32_up_to_rounding(kind: dict[str, Any], needed: str) -> None:
    fp32, bf16, params, x = both(**kind)
    wanted = {"all": [x, *params.values()], "weights": list(params.values()), "input": [x]}[needed]
    for value in {x, *params.values()} - set(wanted):
        value.requires_grad_(False)
    ahead = torch.randn(6, 1000, kind["out_dim"], generator=torch.Generator().manual_seed(1))
    found, expected = bf16.forward(params, x), fp32.forward(params, x)
    assert 1e-4 < error(found, expected) < ROUNDED
    grads = torch.autograd.grad(found, wanted, ahead)
    for one, other in zip(grads, torch.autograd.grad(expected, wanted, ahead), strict=True):
        assert error(one, other) < (FLIPPED if kind["activation"] == "relu" else ROUNDED)
    if kind["activation"] == "relu":
        for one, other in zip(grads, torch.autograd.grad(rounded(bf16, params, x), wanted, ahead), strict=True):
            assert error(one, other) < ROUNDED
    with torch.no_grad():
        torch.testing.assert_close(bf16.forward(params, x), found, rtol=0, atol=0)


def test_bf16_second_derivatives_are_those_of_fp32_up_to_rounding() -> None:
    fp32, bf16, params, x = both(activation="relu", out_dim=1)
    results = []
    for net in (bf16, fp32):
        output = net.forward(params, x)
        (gradient,) = torch.autograd.grad(output.sum(), x, create_graph=True)
        loss = output.square().mean() + gradient.square().sum(-1).sqrt().mean()
        results.append(torch.autograd.grad(loss, list(params.values())))
    for one, other in zip(*results, strict=True):
        assert error(one, other) < FLIPPED


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_exported_network_takes_any_number_of_rows(precision: Precision) -> None:
    net = MLP(5, [32, 24], 2, precision=precision)
    params = net.init(SeedStreams((0,), "parameters"))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is deprecated
        exported = torch.jit.trace(lambda x: net.forward(params, x), torch.zeros(1, 2, 5))
        x = torch.randn(1, MANY, 5)
        torch.testing.assert_close(exported(x), net.forward(params, x), rtol=1e-5, atol=1e-5)


def test_bf16_sums_in_float32_and_ends_in_float32() -> None:
    """1 + 1 + ... in eight bits stands still at 256; 2^20 + 1 takes 21 bits."""
    n = 1024
    net = MLP(n, [n], 1, precision="bf16")
    shapes = {"0.weight": (1, n, n), "0.bias": (1, 1, n), "1.weight": (1, n, 1), "1.bias": (1, 1, 1)}
    params = {name: torch.ones(shape) for name, shape in shapes.items()}
    params["0.bias"] -= 1
    x = torch.ones(1, n, n)
    leaves = [value.requires_grad_() for value in (x, *params.values())]
    output = net.forward(params, x)
    assert torch.equal(output, torch.full((1, n, 1), n * n + 1.0))
    for value, gradient in zip(leaves, torch.autograd.grad(output.sum(), leaves), strict=True):
        expected = n * n if value is params["1.weight"] else n
        assert torch.equal(gradient, torch.full_like(value, expected))
