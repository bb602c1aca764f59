"""Networks of pictures built of torch.nn, with the weights of one seed, and pictures to show them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rlbench.data.segments import write
from rlbench.nets.optim import Params

SIDE = 15
SEGMENTS, STEPS = 20, 3


def segments(path: Path) -> Path:
    """Write segments of noise, in pictures of three frames."""
    rng = np.random.default_rng(0)
    action = rng.uniform(-1, 1, (SEGMENTS, STEPS, 1))
    arrays = {
        "frames": rng.integers(0, 256, (SEGMENTS * STEPS + 2, 3, SIDE, SIDE), dtype=np.uint8),
        "obs": np.arange(SEGMENTS * STEPS).reshape(SEGMENTS, STEPS, 1) + np.arange(3),
        "action": action,
        "reward": np.zeros((SEGMENTS, STEPS)),
        "rl_sum": action[..., 0].sum(1),
    }
    write(path, arrays, {})
    return path


class Plain(nn.Module):
    """DrQ-v2's encoder, trunk and an MLP with ReLU.

    Args:
        params: of a `Seeing`, with the encoder's or without.
        seed: which seed.
        shape: of a picture.
        members: M, of which this is `member`.
    """

    def __init__(
        self, params: Params, seed: int, shape: tuple[int, int, int], member: int = 0, members: int = 1
    ) -> None:
        super().__init__()
        self.shape = shape
        if "encoder.0.weight" in params:
            layers: list[nn.Module] = []
            for i, (into, stride) in enumerate([(shape[0], 2), (32, 1), (32, 1), (32, 1)]):
                made = nn.Conv2d(into, 32, 3, stride)
                assert made.bias is not None
                made.weight.data = params[f"encoder.{i}.weight"][seed].clone()
                made.bias.data = params[f"encoder.{i}.bias"][seed].clone()
                layers += [made, nn.ReLU()]
            self.encoder = nn.Sequential(*layers, nn.Flatten())
        norm = nn.LayerNorm(50)
        norm.weight.data = params["trunk.norm.weight"][seed, 0].clone()
        norm.bias.data = params["trunk.norm.bias"][seed, 0].clone()
        self.trunk = nn.Sequential(linear(params, "trunk", seed), norm, nn.Tanh())
        depth = sum(name.split(".")[0].isdigit() and name.endswith("weight") for name in params)
        first, *rest = (linear(params, str(i), seed * members + member) for i in range(depth))
        self.mlp = nn.Sequential(first, *(part for each in rest for part in (nn.ReLU(), each)))

    def encode(self, pictures: Tensor) -> Tensor:
        """`[B, k C H W]`, uint8."""
        features: Tensor = self.encoder(pictures.view(-1, *self.shape).float() / 255 - 0.5)
        return features

    def read(self, features: Tensor, action: Tensor | None = None) -> Tensor:
        """What trunk and MLP make of features (and actions)."""
        x = self.trunk(features)
        out: Tensor = self.mlp(x if action is None else torch.cat([x, action], -1))
        return out

    def forward(self, pictures: Tensor, action: Tensor | None = None) -> Tensor:
        return self.read(self.encode(pictures), action)


def linear(params: Params, name: str, place: int) -> nn.Linear:
    weight, bias = params[f"{name}.weight"][place], params[f"{name}.bias"][place, 0]
    made = nn.Linear(*weight.shape)
    made.weight.data, made.bias.data = weight.T.clone(), bias.clone()
    return made
