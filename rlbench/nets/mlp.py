"""Stacks of independent networks, evaluated as batched matrix products.

Parameters are plain tensors in a flat dict, `[S * M, in, out]`: S seeds times M members of an ensemble, the member
running fastest. A network object holds no parameters: it describes the architecture, makes first parameters with
`init`, and computes with `net(params, ...)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from rlbench.nets import amx, tracing
from rlbench.nets.optim import Params
from rlbench.rng import SeedStreams
from rlbench.types import Precision

if TYPE_CHECKING:
    from rlbench.nets.pictures import Encoder

NARROW = 16
"""Products with fewer columns are up to five times faster with the columns, not the rows, contiguous in memory."""
CACHED, ROWS, ROWS_OF_UNITS = 512, 256, 512
"""Rows of some hundred numbers that stay in a core's cache from one operation to the next; at least so many of each
member, for products of fewer take longer, and more where matrix units multiply, which make the weights ready anew for
each part."""
BLOCK, BLOCKS, SHORT = 64, 512, 400
"""A GPU computes a product in blocks of the output. Where there are few, most of it idles through a long sum: on an
H200, gradients of weights 2 x [256, 256] from 7,936 rows take 171 us, and 52 us as 16 sums of 496 rows each. Sums over
512 rows in all take longer in parts than whole."""
FULL = 1 << 20
"""Numbers in a layer's output that occupy a whole GPU: on an H200 members one after the other gain with twice as many,
and lose with a sixteenth."""
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "swish": F.silu, "tanh": torch.tanh, "elu": F.elu}


class Network(Protocol):
    """What an algorithm needs of a network, whatever is inside.

    `net(params, observation)` or `net(params, observation, action)` maps `[S, B, ...]` to `[S * members, B, out]`.
    """

    members: int

    def init(self, rng: SeedStreams) -> Params: ...

    def __call__(self, params: Params, observation: Tensor, action: Tensor | None = None) -> Tensor: ...


def stack(x: Tensor, members: int) -> Tensor:
    """`[S, B, d]` repeated for each ensemble member: `[S * members, B, d]`."""
    if members == 1:
        return x
    if len(x) == 1:
        return x.expand(members, -1, -1)
    return x.unsqueeze(1).expand(-1, members, -1, -1).flatten(0, 1)


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`x @ weight + bias` for a stack: `[N, B, in]`, `[N, in, out]`, `[N, 1, out]`; computed in the type of `x`."""
    if amx.serves(x, weight) and amx.pays(x, weight):
        return amx.linear(x, weight, bias)
    width = weight.shape[-1]
    if width == 1 and x.dtype == weight.dtype and not x.is_cuda:
        # A batched product into a single column runs at a fortieth of the rate of a wide one.
        return column(x, weight, bias)
    if tracing.active or x.is_cuda or x.dtype != weight.dtype:
        # baddbmm first writes the bias to every row, which takes no less than to add it; a compiler adds in passing.
        return torch.bmm(x, weight.to(x.dtype)).add_(bias.to(x.dtype))
    if width < NARROW:
        weight = weight.transpose(1, 2).contiguous().transpose(1, 2)
    return torch.baddbmm(bias, x, weight)


def relu_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`relu(linear(x, weight, bias))`, in memory of its own."""
    if tracing.active or not x.is_cuda or x.shape[1] * weight.shape[2] < FULL:
        return linear(x, weight, bias).relu_()
    # One after the other, products of matrices add the bias and take the ReLU while they write; batched ones cannot.
    units = x.new_empty(*x.shape[:2], weight.shape[2])
    weight, bias = weight.to(x.dtype), bias.to(x.dtype)
    for i, member in enumerate(units):
        torch._addmm_activation(bias[i, 0], x[i], weight[i], out=member)
    return units


def column(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`x @ weight + bias` for weights of one column, as sums along the rows, in the wider of the types."""
    return (x * weight.mT).sum(-1, keepdim=True) + bias


def weight_gradient(x: Tensor, grad: Tensor) -> Tensor:
    """`x.mT @ grad`, the gradient of the weights of `linear`: `[N, B, in]`, `[N, B, out]` to `[N, in, out]`."""
    rows, width = grad.shape[1:]
    if grad.is_cuda:
        blocks = len(grad) * math.ceil(x.shape[-1] / BLOCK) * math.ceil(width / BLOCK)
        parts = max((n for n in range(2, min(BLOCKS // blocks, rows // SHORT) + 1) if rows % n == 0), default=1)
        if parts > 1:
            sums = x.unflatten(1, (parts, -1)).mT @ grad.unflatten(1, (parts, -1))
            return sums.sum(1, dtype=torch.promote_types(sums.dtype, torch.float32))
    if width < NARROW:
        return (grad.mT @ x).mT
    return x.mT @ grad


def last_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A network's last layer: `linear`, but in the type of the parameters, whatever that of `x`."""
    if x.dtype == weight.dtype:
        return linear(x, weight, bias)
    if x.is_cuda and weight.shape[-1] == 1:
        return column(x, weight, bias)  # compiled, one pass over x as it is
    parts = pieces(x, max(1, CACHED // len(x)))
    return joined([linear(part.to(weight.dtype), weight, bias) for part in parts])


def relu_stack(x: Tensor, kept: Sequence[Tensor], *layers: Tensor) -> Tensor:
    """Linear, ReLU, ..., Linear: `[N, B, in]` to `[N, B, out]`; the arguments are `ReluStack`'s."""
    if amx.serves(x, layers[0]):
        return amx.relu_stack(x, kept, layers)
    if not torch.is_grad_enabled() and not kept:  # a policy that is exported is made of operations alone
        return joined([ReluStack.compute(part, (), *layers)[-1] for part in in_parts(x)])
    output: Tensor = ReluStack.apply(x, kept, *layers)  # type: ignore[no-untyped-call]
    return output


class ReluStack(torch.autograd.Function):
    """Linear, ReLU, ..., Linear as one node of autograd: what is not needed is not kept, what can be is overwritten.

    Takes the stacked input, which units of each hidden layer are kept (`[N, B, width]`, 1 or 0; none named: all), then
    weight and bias of each layer. If the input is bfloat16 and the parameters float32, activations and products are
    bfloat16 (summed in float32), the output and all gradients float32. On a CPU, many rows go through all layers, and
    back, in parts that stay in the cache.
    """

    @staticmethod
    def compute(x: Tensor, kept: Sequence[Tensor], *layers: Tensor) -> list[Tensor]:
        """The input of every layer, and the output."""
        steps = [x]
        for i, (weight, bias) in enumerate(zip(layers[:-2:2], layers[1:-2:2], strict=True)):
            units = relu_linear(steps[-1], weight, bias)
            steps.append(units.mul_(kept[i]) if kept else units)
        return [*steps, last_linear(steps[-1], *layers[-2:])]

    @staticmethod
    def forward(ctx: Any, x: Tensor, kept: Sequence[Tensor], *layers: Tensor) -> Tensor:
        rows = in_parts(x)
        masks = [mask.split(rows[0].shape[1], dim=1) for mask in kept]
        parts = [ReluStack.compute(part, [mask[i] for mask in masks], *layers) for i, part in enumerate(rows)]
        ctx.save_for_backward(x, *layers, *(step for part in parts for step in part[1:-1]))
        ctx.kept = kept
        return joined([part[-1] for part in parts])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        of_x, _, *of_layers = ctx.needs_input_grad
        needed, saved = (of_x, *of_layers), ctx.saved_tensors
        x, layers, hidden = saved[0], saved[1 : len(needed)], saved[len(needed) :]
        if torch.is_grad_enabled():  # to be differentiated again: what was overwritten is needed after all
            grads = twice_differentiable(needed, grad, x, ctx.kept, layers)
        else:
            grads = ReluStack.all_gradients(needed, grad, x, layers, hidden)
        return grads[0], None, *grads[1:]

    @staticmethod
    def all_gradients(
        needed: Sequence[bool], grad: Tensor, x: Tensor, layers: Sequence[Tensor], hidden: Sequence[Tensor]
    ) -> tuple[Tensor | None, ...]:
        """Of the input and of every weight and bias, as far as they are needed, part by part."""
        parts, depth = in_parts(x), len(needed) // 2
        if len(parts) == 1:
            return tuple(ReluStack.gradients(needed, grad, [x, *hidden], layers))
        grads: list[list[Tensor | None]] = []
        for i, (part, rows) in enumerate(zip(parts, grad.split(parts[0].shape[1], dim=1), strict=True)):
            inputs = [part, *hidden[i * (depth - 1) : (i + 1) * (depth - 1)]]
            grads.append(ReluStack.gradients(needed, rows, inputs, layers))
        of_x, *of_layers = zip(*grads, strict=True)
        sums = [None if each[0] is None else reduce(Tensor.add_, each) for each in of_layers]
        return (joined(of_x) if needed[0] else None, *sums)

    @staticmethod
    def gradients(
        needed: Sequence[bool], grad: Tensor, inputs: Sequence[Tensor], layers: Sequence[Tensor]
    ) -> list[Tensor | None]:
        """Of the input and of every weight and bias, as far as they are needed, from these rows."""
        grads: list[Tensor | None] = [None] * len(needed)
        for i in reversed(range(len(inputs))):
            x, weight = inputs[i], layers[2 * i]
            if needed[2 + 2 * i]:
                grads[2 + 2 * i] = grad.sum(1, keepdim=True)
            if mixed := x.dtype != weight.dtype:  # autograd turns what is returned into the type of what it belongs to
                grad, weight = grad.to(x.dtype), weight.to(x.dtype)
            if needed[1 + 2 * i]:
                grads[1 + 2 * i] = weight_gradient(x, grad)
            if i == 0 and not needed[0]:
                break
            grad = grad * weight.mT if weight.shape[-1] == 1 and not mixed else torch.bmm(grad, weight.mT)
            if i > 0:
                torch.ops.aten.threshold_backward.grad_input(grad, x, 0, grad_input=grad)
            else:
                grads[0] = grad
        return grads


def in_parts(x: Tensor) -> list[Tensor] | tuple[Tensor, ...]:
    """`[N, B, d]` in pieces of its rows that stay in a core's cache; as a whole on a GPU, and in bfloat16."""
    if x.dtype != torch.float32:
        return [x]
    return pieces(x, max(ROWS_OF_UNITS if amx.active else ROWS, CACHED // len(x)))


def pieces(x: Tensor, rows: int) -> list[Tensor] | tuple[Tensor, ...]:
    """`[N, B, d]` in pieces of so many rows; as a whole on a GPU, and in a policy that is exported."""
    exported = torch._C._is_tracing()  # for any number of rows: a graph has the number of pieces that it was made with
    return [x] if exported or x.is_cuda or x.shape[1] <= rows else x.split(rows, dim=1)


def joined(parts: list[Tensor] | tuple[Tensor, ...]) -> Tensor:
    """The whole of such pieces."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def twice_differentiable(
    needed: Sequence[bool],
    grad: Tensor,
    x: Tensor,
    kept: Sequence[Tensor],
    layers: Sequence[Tensor],
    norms: Sequence[Tensor] = (),
    norm_before: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of a `ReluStack`, or of one with LayerNorms, as functions of everything they depend on."""
    arguments = [x, *layers, *norms]
    for i, (weight, bias) in enumerate(zip(layers[:-2:2], layers[1:-2:2], strict=True)):
        x = linear(x, weight, bias)
        if norms and norm_before:
            x = layer_norm(x, *norms[2 * i : 2 * i + 2])
        x = F.relu(x)
        if norms and not norm_before:
            x = layer_norm(x, *norms[2 * i : 2 * i + 2])
        x = x * kept[i] if kept else x
    output = last_linear(x, *layers[-2:])
    wanted = [argument for argument, need in zip(arguments, needed, strict=True) if need]
    grads = iter(torch.autograd.grad(output, wanted, grad, create_graph=True))
    return tuple(next(grads) if need else None for need in needed)


def layer_norm(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """LayerNorm over the last dimension (Ba et al., 2016): `[N, B, d]`; scale and shift `[N, 1, d]`."""
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:]), scale)


class MLP:
    """Stacked multilayer perceptrons: Linear, (LayerNorm,) activation, ..., Linear.

    Args:
        in_dim: width of the input (observation, or observation and action concatenated).
        hidden_dims: widths of the hidden layers.
        out_dim: width of the output.
        members: M, independent networks a seed.
        activation: of the hidden layers: `relu`, `swish`, `tanh` or `elu`.
        layernorm: LayerNorm on each hidden layer: `none`, `before` or `after` the activation.
        final_layernorm: LayerNorm on the output too.
        init: `torch` (U(+-1/sqrt(fan_in)) for weights and biases, torch.nn.Linear's default) or `orthogonal` (zero
            bias).
        gain: of the orthogonal weights.
        final_init: bound of the uniform initialisation of the last layer (weights and bias), instead of `init`'s.
        dropout: probability with which `dropped` leaves a hidden unit out; of ReLUs without LayerNorm only.
        prefix: prepended to parameter names, so that several networks share one dict.
        precision: `bf16` multiplies in bfloat16, apart from the last layer; parameters, gradients, output are float32.
    """

    def __init__(
        self,
        in_dim: int,
        hidden_dims: Sequence[int],
        out_dim: int,
        *,
        members: int = 1,
        activation: str = "relu",
        layernorm: str = "none",
        final_layernorm: bool = False,
        init: str = "torch",
        gain: float = math.sqrt(2.0),
        final_init: float | None = None,
        dropout: float = 0.0,
        prefix: str = "",
        precision: Precision = "fp32",
    ) -> None:
        self.sizes = [in_dim, *hidden_dims, out_dim]
        self.members = members
        self.activation = ACTIVATIONS[activation]
        self.is_relu_stack = activation == "relu" and layernorm == "none" and not final_layernorm
        self.is_normalised_stack = activation == "relu" and layernorm != "none"
        self.layernorm = layernorm
        self.final_layernorm = final_layernorm
        self.init_scheme = init
        self.gain = gain
        self.final_init = final_init
        if dropout > 0 and not self.is_relu_stack:
            raise ValueError("dropout is of ReLU layers without LayerNorm")
        self.dropout = dropout
        self.precision = precision
        layers = range(len(self.sizes) - 1)
        self.layers = [(f"{prefix}{i}.weight", f"{prefix}{i}.bias") for i in layers]
        self.norms = [(f"{prefix}{i}.norm.weight", f"{prefix}{i}.norm.bias") for i in layers]

    def _normalised(self, layer: int) -> bool:
        return self.final_layernorm if layer == len(self.layers) - 1 else self.layernorm != "none"

    def init(self, rng: SeedStreams) -> Params:
        """First parameters, `[S * members, ...]`, each seed's drawn from its own stream."""
        params: Params = {}
        for i, (weight, bias) in enumerate(self.layers):
            fan_in, fan_out = self.sizes[i : i + 2]
            last = i == len(self.layers) - 1
            if self.init_scheme == "orthogonal" and not (last and self.final_init is not None):
                params[weight] = orthogonal(rng, self.members, fan_in, fan_out) * self.gain
                params[bias] = torch.zeros(len(params[weight]), 1, fan_out, device=rng.device)
            else:
                bound = self.final_init if last and self.final_init is not None else 1 / math.sqrt(fan_in)
                params[weight] = ((2 * rng.uniform(self.members, fan_in, fan_out) - 1) * bound).flatten(0, 1)
                params[bias] = ((2 * rng.uniform(self.members, 1, fan_out) - 1) * bound).flatten(0, 1)
            if self._normalised(i):
                scale, shift = self.norms[i]
                params[scale] = torch.ones_like(params[bias])
                params[shift] = torch.zeros_like(params[bias])
        return {name: value.contiguous() for name, value in params.items()}

    def _factor(self, x: Tensor) -> Tensor:
        """In the type in which it is to be multiplied."""
        return x.bfloat16() if self.precision == "bf16" else x

    def _norm(self, params: Params, layer: int, x: Tensor) -> Tensor:
        scale, shift = self.norms[layer]
        return layer_norm(x, params[scale], params[shift])

    def hidden(self, params: Params, x: Tensor) -> Tensor:
        """The last hidden layer's activations for stacked input `[S * members, B, in]`."""
        for i, (weight, bias) in enumerate(self.layers[:-1]):
            x = linear(self._factor(x), params[weight], params[bias])
            if self.layernorm == "before":
                x = self._norm(params, i, x)
            x = self.activation(x)
            if self.layernorm == "after":
                x = self._norm(params, i, x)
        return x

    def forward(self, params: Params, x: Tensor) -> Tensor:
        """The output for input that is stacked already, `[S * members, B, in]`."""
        x = self._factor(x)
        layers = [params[name] for layer in self.layers for name in layer]
        if self.is_relu_stack:
            return relu_stack(x, (), *layers)
        if self.is_normalised_stack and amx.serves(x, layers[0]):
            norms = [params[name] for norm in self.norms[:-1] for name in norm]
            x = amx.relu_stack(x, (), layers, norms, self.layernorm == "before")
            return self._norm(params, len(self.layers) - 1, x) if self.final_layernorm else x
        return joined([self._forward(params, part) for part in in_parts(x)])

    def _forward(self, params: Params, x: Tensor) -> Tensor:
        last = len(self.layers) - 1
        weight, bias = self.layers[last]
        x = self.hidden(params, x)
        if self.final_layernorm:
            return self._norm(params, last, linear(self._factor(x), params[weight], params[bias]))
        return last_linear(x, params[weight], params[bias])

    def dropped(self, params: Params, x: Tensor, noise: SeedStreams) -> Tensor:
        """The output in training, of a stack with one member: each hidden unit is left out with probability `dropout`,
        the others are scaled up (Srivastava et al., 2014); as `forward` without dropout."""
        if self.dropout == 0:
            return self.forward(params, x)
        kept = [noise.chance(1 - self.dropout, x.shape[1], width) for width in self.sizes[1:-1]]
        # what scales a unit up scales the weights that it meets: there are fewer of them
        weights = [params[weight] / (1 - self.dropout if i else 1) for i, (weight, _) in enumerate(self.layers)]
        biases = [params[bias] for _, bias in self.layers]
        layers = [part for layer in zip(weights, biases, strict=True) for part in layer]
        return relu_stack(self._factor(x), kept, *layers)

    def __call__(self, params: Params, observation: Tensor, action: Tensor | None = None) -> Tensor:
        x = observation if action is None else torch.cat([observation, action], -1)
        return self.forward(params, stack(x, self.members))


def orthogonal(rng: SeedStreams, members: int, fan_in: int, fan_out: int) -> Tensor:
    """Weights `[S * members, fan_in, fan_out]` whose rows or columns, whichever are fewer, are orthonormal."""
    normal = rng.normal(members, max(fan_in, fan_out), min(fan_in, fan_out))
    # one factorisation a matrix: a batched one may depend on its companions' number
    basis = [orthonormal(matrix) for matrix in normal.flatten(0, 1)]
    return torch.stack([each if fan_in >= fan_out else each.T for each in basis])


def orthonormal(matrix: Tensor) -> Tensor:
    """A uniformly distributed orthonormal basis from a tall normal matrix `[n, m]`, n >= m (Saxe et al., 2014)."""
    q, r = torch.linalg.qr(matrix)
    return q * r.diagonal().sign()


class Networks:
    """Builds an algorithm's networks over states, and over states and actions.

    The hook for algorithms that change how a state enters a network (COCOA): another factory in the task, and every
    algorithm's actor and critics are built by it, their losses untouched.

    Args:
        observation_dim: width of the observation as the networks get it (see `Task.features`).
        action_dim: width of the action.
    """

    encoder: Encoder | None = None
    """What encodes pictures, where observations are such."""

    def __init__(self, observation_dim: int, action_dim: int) -> None:
        self.observation_dim = observation_dim
        self.action_dim = action_dim

    def state(self, hidden_dims: Sequence[int], out_dim: int, **options: object) -> Network:
        """A network `net(params, observation)`; options as `MLP`'s."""
        return MLP(self.observation_dim, hidden_dims, out_dim, **options)  # type: ignore[arg-type]

    def state_action(self, hidden_dims: Sequence[int], out_dim: int, **options: object) -> Network:
        """A network `net(params, observation, action)`; options as `MLP`'s."""
        return MLP(self.observation_dim + self.action_dim, hidden_dims, out_dim, **options)  # type: ignore[arg-type]
