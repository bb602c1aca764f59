"""Products on Intel's matrix units, against the same in double precision; where the processor has none, skipped."""

import os
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from rlbench.nets import amx, matmul
from rlbench.nets.mlp import MLP, linear
from rlbench.rng import SeedStreams
from tests.algos.helpers import build, synthetic

pytestmark = pytest.mark.usefixtures("backend")

ROUNDING = 5e-7
"""Relative error of products in float32 and of sums of up to 700 of them; without one of the six products of parts it
is 2e-6 and more."""
INPUTS, OUTPUTS = [1, 14, 33, 130, 256], [1, 2, 16, 31, 256, 520]
"""Of one tile and less, no multiples of it, more than are taken at once."""


def off(found: Tensor, exact: Tensor, scale: Tensor | None = None) -> float:
    """The error, relative to the size of what was added up."""
    return float((found - exact).norm() / (exact if scale is None else scale).norm())


def layer(n: int, rows: int, fan_in: int, fan_out: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = (n, rows, fan_in), (n, fan_in, fan_out), (n, 1, fan_out), (n, rows, fan_out)
    x, weight, bias, grad = (torch.randn(shape, generator=generator) for shape in shapes)
    return x, weight, bias, grad


def test_a_library_that_is_cut_off_is_compiled_anew(tmp_path: Path) -> None:
    """Loading one ends the process by a signal, or shuts the units off."""
    library = amx._compiled(str(shutil.which(os.environ.get("CXX", "g++"))))
    whole = library.read_bytes()
    cut = tmp_path / "compiled" / library.name
    cut.parent.mkdir()
    for length in (0, 10, 100, 4096, len(whole) - 1, 100_000):
        cut.write_bytes(whole[:length])
        assert not amx._is_whole(cut)
    code = "from rlbench.nets import amx; print(amx.available())"
    environment = {**os.environ, "RLBENCH_CACHE": str(tmp_path)}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, "True\n"), ended.stderr
    assert amx._is_whole(cut)
    assert list(cut.parent.iterdir()) == [cut]


@pytest.mark.parametrize("rows", [1, 17, 260, 700])
@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("turned", [False, True])
def test_a_layer_and_its_gradients_are_exact(members: int, rows: int, turned: bool) -> None:
    for fan_in, fan_out in product(INPUTS, OUTPUTS):
        x, weight, bias, grad = layer(members, rows, fan_in, fan_out)
        if turned:  # the same numbers in another order in memory
            x, weight, grad = (value.mT.contiguous().mT for value in (x, weight, grad))
        leaves = [value.requires_grad_() for value in (x, weight, bias)]
        output = amx.linear(*leaves)
        found = [output, *torch.autograd.grad(output, leaves, grad)]
        x, weight, bias, grad = (value.detach().double() for value in (x, weight, bias, grad))
        exact = [x @ weight + bias, grad @ weight.mT, x.mT @ grad, grad.sum(1, keepdim=True)]
        added = [x.abs() @ weight.abs(), grad.abs() @ weight.abs().mT, x.abs().mT @ grad.abs(), grad.abs().sum(1)]
        for one, other, scale in zip(found, exact, added, strict=True):
            assert off(one.detach(), other, scale) < ROUNDING, (fan_in, fan_out)


def parameters(net: MLP, seeds: tuple[int, ...] = (0,)) -> dict[str, Tensor]:
    """First parameters, but that no LayerNorm leaves numbers as they are."""
    params = net.init(SeedStreams(seeds, "parameters"))
    generator = torch.Generator().manual_seed(0)
    for name in params:
        if ".norm." in name:
            params[name] += torch.randn(params[name].shape, generator=generator)
    return params


@pytest.mark.parametrize("layernorm", ["none", "before", "after"])
@pytest.mark.parametrize("rows", [1, 256, 700])
@pytest.mark.parametrize("out_dim", [1, 6])
def test_a_stack_and_its_gradients_are_exact(rows: int, out_dim: int, layernorm: str) -> None:
    net = MLP(14, [256, 40], out_dim, members=3, layernorm=layernorm)
    params = parameters(net, (0, 1))
    generator = torch.Generator().manual_seed(0)
    x, grad = (torch.randn(6, rows, width, generator=generator) for width in (14, out_dim))

    def computed(dtype: torch.dtype) -> list[Tensor]:
        leaves = {name: value.detach().to(dtype).requires_grad_() for name, value in {"x": x, **params}.items()}
        output = net.forward(leaves, leaves["x"])
        return [output, *torch.autograd.grad(output, list(leaves.values()), grad.to(dtype))]

    for one, other in zip(computed(torch.float32), computed(torch.float64), strict=True):
        assert off(one.detach(), other.detach()) < 10 * ROUNDING  # a unit at zero opens by rounding


@pytest.mark.parametrize("layernorm", ["none", "before", "after"])
@pytest.mark.parametrize("rows", [1, 17, 260, 700])
@pytest.mark.parametrize("hidden", [[256, 40], [33, 257, 16], [1, 20], [64]])
@pytest.mark.parametrize("out_dim", [1, 6])
def test_what_is_not_asked_for_changes_nothing(rows: int, hidden: list[int], out_dim: int, layernorm: str) -> None:
    """Without gradients of parameters only the sign of units is kept, where there is no LayerNorm; without any nothing,
    and tiles go from layer to layer."""
    net = MLP(14, hidden, out_dim, members=2, layernorm=layernorm)
    params = parameters(net)
    generator = torch.Generator().manual_seed(0)
    x, grad = (torch.randn(2, rows, width, generator=generator) for width in (14, out_dim))
    x.requires_grad_()
    learning = {name: value.detach().requires_grad_() for name, value in params.items()}
    fixed = {name: value.detach() for name, value in params.items()}
    output = net.forward(learning, x)
    of_x, *_ = torch.autograd.grad(output, [x, *learning.values()], grad, retain_graph=True)
    (of_x_alone,) = torch.autograd.grad(output, [x], grad)
    output_of_fixed = net.forward(fixed, x)
    (through_fixed,) = torch.autograd.grad(output_of_fixed, [x], grad)
    with torch.no_grad():
        assert torch.equal(net.forward(fixed, x), output)
    assert torch.equal(output_of_fixed, output)
    assert torch.equal(of_x_alone, of_x)
    assert torch.equal(through_fixed, of_x)


@pytest.mark.parametrize("layernorm", ["none", "before", "after"])
@pytest.mark.parametrize("hidden", [[256, 40], [24, 300, 17], [20] * 6])
@pytest.mark.parametrize("out_dim", [1, 6])
def test_many_rows_go_through_as_some_of_them_do(hidden: list[int], out_dim: int, layernorm: str) -> None:
    """The weights are made ready once for all of a member's rows."""
    net = MLP(14, hidden, out_dim, members=2, layernorm=layernorm)
    params = parameters(net)
    generator = torch.Generator().manual_seed(0)
    x, grad = (torch.randn(2, 700, width, generator=generator) for width in (14, out_dim))

    def through(some: slice) -> list[Tensor]:
        rows = x[:, some].clone().requires_grad_()
        output = net.forward(params, rows)
        return [output, *torch.autograd.grad(output, [rows], grad[:, some])]

    many = through(slice(None))
    for some in (slice(0, 256), slice(256, 512), slice(512, 700)):
        assert all(map(torch.equal, through(some), [whole[:, some] for whole in many]))


@pytest.mark.parametrize("fan_in", [40, 256, 300])
@pytest.mark.parametrize("fan_out", [1, 17, 256])
def test_many_rows_go_through_a_layer_as_some_of_them_do(fan_in: int, fan_out: int) -> None:
    x, weight, bias, grad = layer(2, 600, fan_in, fan_out)
    ops = torch.ops.rlbench_amx
    for some in (slice(0, 256), slice(256, 512), slice(512, 600)):
        assert torch.equal(ops.linear(x, weight, bias)[:, some], ops.linear(x[:, some], weight, bias))
        assert torch.equal(ops.input_gradient(grad, weight)[:, some], ops.input_gradient(grad[:, some], weight))


def test_gates_of_units_that_are_left_out_are_shut() -> None:
    x, weight, bias, grad = layer(2, 300, 64, 64)
    kept = [(torch.rand(2, 300, 64, generator=torch.Generator().manual_seed(0)) < 0.5).float()]
    layers = [weight, bias, weight, bias]
    found = []
    for keep in ("units", "gates"):
        *hidden, output = torch.ops.rlbench_amx.relu_stack(x, kept, layers, [], False, keep)
        of_x, *_ = torch.ops.rlbench_amx.relu_stack_gradients(grad, x, hidden, layers, [], False, True, False)
        found.append((output, of_x))
    assert all(map(torch.equal, *found))


@pytest.mark.parametrize("layernorm", ["before", "after"])
def test_a_last_layernorm_follows_the_stack(layernorm: str) -> None:
    net = MLP(5, [40, 30], 6, members=2, layernorm=layernorm, final_layernorm=True)
    params = parameters(net)
    x = torch.randn(2, 30, 5, generator=torch.Generator().manual_seed(0))
    exact = net.forward({name: value.double() for name, value in params.items()}, x.double())
    assert off(net.forward(params, x), exact) < 10 * ROUNDING


@pytest.mark.parametrize("layernorm", ["before", "after"])
def test_a_stack_with_layernorm_may_be_differentiated_twice(layernorm: str) -> None:
    net = MLP(5, [40, 30], 1, layernorm=layernorm)
    params = parameters(net)

    def slope_of_slope(dtype: torch.dtype) -> Tensor:
        weights = {name: value.to(dtype) for name, value in params.items()}
        x = torch.linspace(-1, 1, 60).reshape(1, 12, 5).to(dtype).requires_grad_()
        (slope,) = torch.autograd.grad(net.forward(weights, x).sum(), x, create_graph=True)
        (found,) = torch.autograd.grad(slope.square().sum(), x)
        return found

    assert off(slope_of_slope(torch.float32), slope_of_slope(torch.float64)) < 10 * ROUNDING


def test_units_that_are_left_out_are_not_normalised() -> None:
    x, weight, bias, _ = layer(1, 20, 16, 16)
    norms = [torch.ones(1, 1, 16), torch.zeros(1, 1, 16)]
    for kept, keep in (([torch.ones(1, 20, 16)], "units"), ([], "gates")):
        with pytest.raises(RuntimeError, match="keeps all units, as units"):
            torch.ops.rlbench_amx.relu_stack(x, kept, [weight, bias, weight, bias], norms, False, keep)


def test_gates_are_not_taken_for_units() -> None:
    x, weight, bias, grad = layer(1, 20, 16, 16)
    layers = [weight, bias, weight, bias]
    *gates, _ = torch.ops.rlbench_amx.relu_stack(x, [], layers, [], False, "gates")
    with pytest.raises(RuntimeError, match="need the hidden layers' units"):
        torch.ops.rlbench_amx.relu_stack_gradients(grad, x, gates, layers, [], False, True, True)


def test_a_copy_for_all_members_and_a_sum_s_gradient_need_no_memory_of_their_own() -> None:
    """Strides of 0, as `expand` makes them."""
    x, weight, bias, _ = layer(3, 40, 20, 10)
    leaf = weight.requires_grad_()
    output = amx.linear(x[:1].expand(3, -1, -1), leaf, bias)
    (found,) = torch.autograd.grad(output.sum(), leaf)
    exact = x[:1].double().sum(1)[..., None].expand(3, -1, 10)
    assert off(found, exact) < ROUNDING


def test_of_a_single_row_the_stride_may_be_anything() -> None:
    x, grad = (torch.randn(3, width, 1).mT for width in (20, 10))
    assert grad.stride() == (10, 1, 1)
    of_weight, of_bias = torch.ops.rlbench_amx.parameter_gradients(x, grad)
    assert off(of_weight, x.mT.double() @ grad.double()) < ROUNDING
    assert torch.equal(of_bias, grad)


@pytest.mark.parametrize("rows", [3, 40])
def test_rows_may_be_parts_of_longer_ones(rows: int) -> None:
    x, weight, bias, grad = layer(2, rows, 60, 33)
    _, weight, *_ = layer(2, rows, 20, 33)
    some = x[..., 7:27]
    assert torch.equal(amx.linear(some, weight, bias), amx.linear(some.contiguous(), weight, bias))
    ops = torch.ops.rlbench_amx
    for one, other in zip(
        ops.parameter_gradients(some, grad), ops.parameter_gradients(some.clone(), grad), strict=True
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_stays_none(value: float) -> None:
    net = MLP(8, [16, 16], 1)
    params = net.init(SeedStreams((0,), "parameters"))
    x = torch.ones(1, 4, 8)
    x[0, 2, 5] = value
    with torch.no_grad():
        assert net.forward(params, x).isfinite().flatten().tolist() == [True, True, False, True]


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_small_and_large_numbers_are_exact(scale: float) -> None:
    x, weight, bias, _ = layer(1, 64, 64, 64)
    exact = (scale * x).double() @ weight.double()
    with torch.no_grad():
        assert off(amx.linear(scale * x, weight, 0 * bias), exact) < ROUNDING


@pytest.mark.parametrize(("rows", "node"), [(64, "BaddbmmBackward0"), (256, "LinearBackward")])
def test_a_small_layer_alone_is_left_to_pytorch(rows: int, node: str) -> None:
    """A node of autograd in Python costs more than is gained."""
    x, weight, bias, _ = layer(1, rows, 256, 256)
    assert type(linear(x, weight.requires_grad_(), bias).grad_fn).__name__ == node


def test_operations_are_counted_as_without_it() -> None:
    def counted(backend: str) -> int:
        matmul.use(backend)
        algorithm = build("cql", synthetic(), (3, 7), hidden_dims=[32, 32], batch_size=64)
        with FlopCounterMode(display=False) as counter:
            algorithm.train(2)
        return counter.get_total_flops()

    mine, plain = counted("amx"), counted("highest")
    # what has one column is a sum to PyTorch, and is not counted: 1 of 32 columns
    assert plain < mine < 1.06 * plain


@pytest.mark.parametrize("name", ["td3_bc", "iql", "cql", "sac_n", "edac", "rebrac"])
def test_losses_are_those_of_mkl(name: str) -> None:
    """Over 100 updates, beside each other."""
    data = synthetic(seed=1)
    algorithms = {
        backend: build(name, data, (3, 7), hidden_dims=[64, 64], batch_size=64) for backend in ("highest", "amx")
    }
    for _ in range(10):
        metrics = {}
        for backend, algorithm in algorithms.items():
            matmul.use(backend)
            metrics[backend] = algorithm.train(10)
        for key, value in metrics["highest"].items():
            torch.testing.assert_close(metrics["amx"][key], value, rtol=1e-4, atol=1e-4)
