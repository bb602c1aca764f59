"""Networks that see pictures: DrQ-v2's encoder, what reads its output, and its random shift.

Yarats, Fergus, Lazaric and Pinto, "Mastering Visual Continuous Control: Improved Data-Augmented Reinforcement Learning"
(ICLR 2022), figure 2 and appendix B. A picture is a stack of the last k frames, `[k C, H, W]`, uint8, and handed on as
one row of `k C H W` numbers. The encoder is x / 255 - 0.5, then four convolutions of 3 x 3 with 32 channels, the first
in steps of two, each with a ReLU; a network reads it through a trunk, tanh(LayerNorm(linear)), 50 wide.

One encoder serves several networks, and learns with one of them: its parameters are in that network's dict. Networks
take either pictures (uint8), which they encode with the parameters that they are given, or features, which are encoded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from rlbench.errors import UsageError
from rlbench.nets.mlp import MLP, Networks, linear, orthogonal
from rlbench.nets.optim import Params
from rlbench.rng import SeedStreams

CHANNELS, STRIDES = 32, (2, 1, 1, 1)
KERNEL = 3
TRUNK = 50
SHIFT = 4
"""Pixels by which a picture is shifted at most, in each direction."""
LEAST = 15
"""Width and height of the smallest picture that the convolutions leave something of."""


class Encoder:
    """The convolutions, of S seeds.

    Args:
        shape: of a picture, `(k C, H, W)`.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.shape = shape
        inputs = [shape[0], *[CHANNELS] * (len(STRIDES) - 1)]
        self.layers = [
            (f"encoder.{i}.weight", f"encoder.{i}.bias", into, stride)
            for i, (into, stride) in enumerate(zip(inputs, STRIDES, strict=True))
        ]
        sides = list(shape[1:])
        for stride in STRIDES:
            sides = [(side - KERNEL) // stride + 1 for side in sides]
        if min(sides) < 1:
            raise UsageError(f"pictures of {shape[1]} x {shape[2]} are too small to be convolved: env.size={LEAST}")
        self.dim = CHANNELS * math.prod(sides)
        """Width of its output."""

    def init(self, rng: SeedStreams) -> Params:
        """First parameters: weights `[S, 32, into, 3, 3]`, orthogonal with gain sqrt(2); no bias."""
        params: Params = {}
        for weight, bias, into, _ in self.layers:
            flat = math.sqrt(2.0) * orthogonal(rng, 1, into * KERNEL**2, CHANNELS).mT
            params[weight] = flat.unflatten(2, (into, KERNEL, KERNEL)).contiguous()
            params[bias] = torch.zeros(len(rng), CHANNELS, device=rng.device)
        return params

    def __call__(self, params: Params, pictures: Tensor) -> Tensor:
        """`[S, B, k C H W]`, uint8, to `[S, B, dim]`."""
        encoded = []
        # One seed after another: a grouped convolution of all is no faster, and rounds by the number of companions.
        for seed, rows in enumerate(pictures):
            x = rows.unflatten(-1, self.shape).to(params[self.layers[0][0]].dtype) / 255 - 0.5
            for weight, bias, _, stride in self.layers:
                x = F.relu(F.conv2d(x, params[weight][seed], params[bias][seed], stride))
            encoded.append(x.flatten(1))
        return torch.stack(encoded)

    def own(self, params: Params) -> Params:
        """The encoder's of a network's parameters."""
        return {name: params[name] for layer in self.layers for name in layer[:2]}


class Seeing:
    """A network behind the encoder: the trunk, and an `MLP` that reads it (and an action).

    Args:
        encoder: what encodes pictures.
        mlp: what reads the trunk; its members share the trunk.
    """

    def __init__(self, encoder: Encoder, mlp: MLP) -> None:
        self.encoder, self.mlp = encoder, mlp
        self.members = mlp.members

    def init(self, rng: SeedStreams) -> Params:
        """First parameters of trunk and MLP: those of the encoder are `Encoder.init`'s."""
        weight = orthogonal(rng, 1, self.encoder.dim, TRUNK)
        zeros = torch.zeros(len(rng), 1, TRUNK, device=rng.device)
        trunk = {"weight": weight.contiguous(), "bias": zeros, "norm.weight": zeros + 1, "norm.bias": zeros.clone()}
        return {**{f"trunk.{name}": value for name, value in trunk.items()}, **self.mlp.init(rng)}

    def trunk(self, params: Params, seen: Tensor) -> Tensor:
        """Pictures or features `[S, B, ...]` to `[S, B, 50]`."""
        x = self.encoder(params, seen) if seen.dtype == torch.uint8 else seen
        x = linear(x, params["trunk.weight"], params["trunk.bias"])
        x = torch.addcmul(params["trunk.norm.bias"], F.layer_norm(x, x.shape[-1:]), params["trunk.norm.weight"])
        return torch.tanh(x)

    def __call__(self, params: Params, observation: Tensor, action: Tensor | None = None) -> Tensor:
        return self.mlp(params, self.trunk(params, observation), action)

    def dropped(self, params: Params, observation: Tensor, noise: SeedStreams) -> Tensor:
        """The output in training, with dropout in the MLP (see there)."""
        return self.mlp.dropped(params, self.trunk(params, observation), noise)


class PictureNetworks(Networks):
    """Builds networks that see pictures; their weights are orthogonal, as DrQ-v2's.

    Args:
        frames: k, frames in a picture; their numbers are what data hold of it.
        action_dim: width of the action.
        frame_shape: `(C, H, W)`.
    """

    def __init__(self, frames: int, action_dim: int, frame_shape: tuple[int, int, int]) -> None:
        super().__init__(frames, action_dim)
        self.frame_shape = frame_shape
        self.encoder: Encoder = Encoder((frames * frame_shape[0], *frame_shape[1:]))

    def state(self, hidden_dims: Sequence[int], out_dim: int, **options: object) -> Seeing:
        return self.behind(0, hidden_dims, out_dim, options)

    def state_action(self, hidden_dims: Sequence[int], out_dim: int, **options: object) -> Seeing:
        return self.behind(self.action_dim, hidden_dims, out_dim, options)

    def behind(self, more: int, hidden_dims: Sequence[int], out_dim: int, options: dict[str, object]) -> Seeing:
        """A network whose MLP reads the trunk and so many numbers more."""
        settings = {"init": "orthogonal", "gain": 1.0, **options}
        return Seeing(self.encoder, MLP(TRUNK + more, hidden_dims, out_dim, **settings))  # type: ignore[arg-type]


def shifted(pictures: Tensor, offset: Tensor) -> Tensor:
    """Pictures moved by whole pixels, those at the edge repeated beyond it: what DrQ-v2's padding and cropping do.

    Args:
        pictures: `[..., C, H, W]`.
        offset: of what is shown, downwards and to the right, int64 `[..., 2]`.
    """
    for axis, places in ((-2, offset[..., 0]), (-1, offset[..., 1])):
        size = pictures.shape[axis]
        index = (torch.arange(size, device=pictures.device) + places[..., None]).clamp(0, size - 1)[..., None, :]
        index = index.unsqueeze(-1 if axis == -2 else -2)
        pictures = pictures.gather(axis, index.expand(pictures.shape))
    return pictures
