"""The layers' products on Intel's matrix units (AMX): three numbers in bfloat16 for one in float32, see `amx.cpp`.

It is compiled once, into the cache folder, where the processor has such units and a C++ compiler is at hand.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rlbench import cpu
from rlbench.files import write_atomically
from rlbench.nets import tracing
from rlbench.paths import cache_root

SOURCE = Path(__file__).with_suffix(".cpp")
FLAGS = ["-O3", "-std=c++20", "-w", "-shared", "-fPIC", "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq"]
TILES = ["-mamx-tile", "-mamx-bf16", "-mtune=sapphirerapids"]
"""What compilers know of the units, and of the first processor that had them."""

NEEDED = {"amx_tile", "amx_bf16", "avx512f", "avx512bw", "avx512vl", "avx512dq"}
"""Of the processor, as Linux names it."""

WORTH = 1 << 24
"""Multiplications of a layer from which on more is gained than a node of autograd in Python costs, 30 to 100 us."""

CHECKSUM = 32
"""Bytes of it at the end of the compiled file."""

active = False
"""Whether `rlbench.nets.mlp` is to use them: `rlbench.nets.matmul` decides."""


@cache
def available() -> bool:
    """Whether the operations below can be used here; has them compiled where they are not yet."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if not cpu.flags() >= NEEDED or compiler is None:
        return False
    try:
        torch.ops.load_library(_compiled(compiler))
    except (OSError, subprocess.CalledProcessError):  # a compiler that is too old, a cache that cannot be written
        return False
    _describe()
    return bool(torch.ops.rlbench_amx.permitted())


def _compiled(compiler: str) -> Path:
    """The library in the cache; compiled where it is missing or damaged."""
    home = Path(torch.__file__).parent  # torch.utils.cpp_extension knows it too, but takes half a second to import
    abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"
    command = [compiler, *FLAGS, *TILES, abi, f"-I{home}/include", f"-L{home}/lib", str(SOURCE), "-lc10", "-ltorch_cpu"]
    made_of = f"{command} {torch.__version__} {SOURCE.read_text()}"
    path = cache_root() / "compiled" / f"amx-{hashlib.sha256(made_of.encode()).hexdigest()[:16]}.so"
    if not _is_whole(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder, path.name)
            subprocess.run([*command, "-o", str(made)], check=True, capture_output=True)
            library = made.read_bytes()
        write_atomically(path, library + hashlib.sha256(library).digest())  # loaders pass over what follows a library
    return path


def _is_whole(path: Path) -> bool:
    """Whether there is a library that ends in its checksum: to load a part of one ends the process."""
    if not path.exists():
        return False
    content = path.read_bytes()
    return content[-CHECKSUM:] == hashlib.sha256(content[:-CHECKSUM]).digest()


def _describe() -> None:
    """What a compiler and a counter of operations ask of them: shapes, and 2 x rows x inputs x outputs of a product."""
    from torch.utils.flop_counter import register_flop_formula

    def linear(x: Tensor, weight: Tensor, _bias: Tensor) -> Tensor:
        return x.new_empty(*x.shape[:2], weight.shape[2])

    def input_gradient(grad: Tensor, weight: Tensor) -> Tensor:
        return grad.new_empty(*grad.shape[:2], weight.shape[1])

    def parameter_gradients(x: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
        n, width = grad.shape[0], grad.shape[2]
        return x.new_empty(n, x.shape[2], width), x.new_empty(n, 1, width)

    def relu_stack(
        x: Tensor, _kept: list[Tensor], layers: list[Tensor], _norms: list[Tensor], _before: bool, keep: str
    ) -> list[Tensor]:
        *hidden, output = (x.new_empty(*x.shape[:2], weight.shape[2]) for weight in layers[::2])
        if keep == "gates":
            hidden = [x.new_empty(*x.shape[:2], -(-units.shape[2] // 16), dtype=torch.int16) for units in hidden]
        return [*hidden, output] if keep else [output]

    def relu_stack_gradients(
        _grad: Tensor,
        x: Tensor,
        _hidden: list[Tensor],
        layers: list[Tensor],
        norms: list[Tensor],
        _before: bool,
        of_input: bool,
        of_parameters: bool,
    ) -> list[Tensor]:
        of_x = x.new_empty(x.shape if of_input else 0)
        return [of_x, *(x.new_empty(part.shape) for part in [*layers, *norms] if of_parameters)]

    for shape in (linear, input_gradient, parameter_gradients, relu_stack, relu_stack_gradients):
        torch.library.register_fake(f"rlbench_amx::{shape.__name__}", shape)

    def product(rows: list[int], weight: list[int], *_: Any, **__: Any) -> int:
        return 2 * rows[1] * math.prod(weight)

    def product_over_rows(x: list[int], grad: list[int], **_: Any) -> int:
        return 2 * math.prod(x) * grad[2]

    def products(x: list[int], _kept: object, layers: list[list[int]], *_: object, **__: Any) -> int:
        return sum(product(x, weight) for weight in layers[::2])

    def gradients(
        _grad: object,
        x: list[int],
        _hidden: object,
        layers: list[list[int]],
        _norms: object,
        _before: bool,
        of_x: bool,
        of_layers: bool,
        **_: Any,
    ) -> int:
        first, *others = (product(x, weight) for weight in layers[::2])
        return (of_x + of_layers) * first + (1 + of_layers) * sum(others)

    ops = torch.ops.rlbench_amx
    register_flop_formula([ops.linear, ops.input_gradient])(product)
    register_flop_formula(ops.parameter_gradients)(product_over_rows)
    register_flop_formula(ops.relu_stack)(products)
    register_flop_formula(ops.relu_stack_gradients)(gradients)


def serves(x: Tensor, weight: Tensor) -> bool:
    """Whether this product is to be computed here: float32 on the CPU, and not on its way into a file."""
    return (
        active
        and x.dtype == weight.dtype == torch.float32
        and x.is_cpu
        and x.numel() > 0
        and not torch._C._is_tracing()
    )


def pays(x: Tensor, weight: Tensor) -> bool:
    """Whether a single layer that is served takes less time than by PyTorch's operations, its gradients included."""
    return tracing.active or x.shape[1] * weight.numel() >= WORTH


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`x @ weight + bias`: `[N, B, in]`, `[N, in, out]`, `[N, 1, out]` to `[N, B, out]`."""
    if not torch.is_grad_enabled():
        return torch.ops.rlbench_amx.linear(x, weight, bias)
    output: Tensor = Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return output


def relu_stack(
    x: Tensor,
    kept: Sequence[Tensor],
    layers: Sequence[Tensor],
    norms: Sequence[Tensor] = (),
    norm_before: bool = False,
) -> Tensor:
    """Linear, ReLU, ..., Linear, as `rlbench.nets.mlp.ReluStack`: `[N, B, in]` to `[N, B, out]`; a LayerNorm before or
    after each ReLU, if `norms` are the scales and shifts of the hidden layers, `[N, 1, width]`."""
    if not torch.is_grad_enabled():
        return torch.ops.rlbench_amx.relu_stack(x, kept, layers, norms, norm_before, "")[0]
    output: Tensor = ReluStack.apply(x, kept, norm_before, len(layers), *layers, *norms)  # type: ignore[no-untyped-call]
    return output


class Linear(torch.autograd.Function):
    """`linear` as a node of autograd."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        if torch.is_grad_enabled():  # to be differentiated again, as plain operations are
            return (
                grad @ weight.mT if of_x else None,
                x.mT @ grad if of_weight else None,
                grad.sum(1, keepdim=True) if of_bias else None,
            )
        ops = torch.ops.rlbench_amx
        of_parameters = ops.parameter_gradients(x, grad) if of_weight or of_bias else (None, None)
        return ops.input_gradient(grad, weight) if of_x else None, *of_parameters


class ReluStack(torch.autograd.Function):
    """`relu_stack` as a node of autograd; takes the number of layers, and layers and norms."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, kept: Sequence[Tensor], norm_before: bool, count: int, *parameters: Tensor
    ) -> Tensor:
        layers, norms = parameters[:count], parameters[count:]
        # A gradient of the input alone asks of a ReLU only whether it is above 0, and a bit is written sooner.
        keep = "units" if norms or any(ctx.needs_input_grad[4:]) else "gates"
        *hidden, output = torch.ops.rlbench_amx.relu_stack(x, kept, layers, norms, norm_before, keep)
        ctx.save_for_backward(x, *parameters, *hidden)
        ctx.kept, ctx.norm_before, ctx.count = kept, norm_before, count
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        of_x, _, _, _, *of_each = ctx.needs_input_grad
        x, saved, total = ctx.saved_tensors[0], ctx.saved_tensors[1:], len(of_each)
        layers, norms, hidden = saved[: ctx.count], saved[ctx.count : total], saved[total:]
        if torch.is_grad_enabled():  # to be differentiated again
            from rlbench.nets.mlp import twice_differentiable

            grads = twice_differentiable((of_x, *of_each), grad, x, ctx.kept, layers, norms, ctx.norm_before)
            return grads[0], None, None, None, *grads[1:]
        of_parameters = any(of_each)
        ops = torch.ops.rlbench_amx
        grads = ops.relu_stack_gradients(grad, x, hidden, layers, norms, ctx.norm_before, of_x, of_parameters)
        return grads[0] if of_x else None, None, None, None, *(grads[1:] if of_parameters else [None] * total)
