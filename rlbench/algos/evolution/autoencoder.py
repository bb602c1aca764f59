"""A convolutional autoencoder of views: its code is a behaviour, its error a surprise."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rlbench.nets.optim import Adam, Params, assign, clone
from rlbench.rng import SeedStreams

CHANNELS = (3, 32, 64, 32, 16)
"""Of the views and of the encoder's four layers, each of which halves width and height."""
SIDE = 4
"""Width and height after the last of them, of views of 64 pixels."""
FLAT = CHANNELS[-1] * SIDE**2
STRIDE: dict[str, int] = {"stride": 2, "padding": 1}
KERNEL = 4
HELD_OUT = 0.2
"""Share of the views that decide when to stop."""
PATIENCE = 4
"""Increases of the error of the views held out, one after another, that end a training."""


class Autoencoder:
    """One seed's: four convolutions, a linear code, the same backwards; SELU in between, ReLU at the end.

    Args:
        seed: of its first parameters, and of the order in which it sees views.
        features: width of the code.
        learning_rate: of Adam.
        batch_size: views in a minibatch.
        device: where it computes.
    """

    def __init__(self, seed: int, features: int, learning_rate: float, batch_size: int, device: torch.device) -> None:
        self.batch_size, self.device = batch_size, device
        self.order = SeedStreams([seed], "autoencoder order", device)
        streams = SeedStreams([seed], "autoencoder", device)
        shapes: dict[str, tuple[int, ...]] = {}
        for i, (into, out) in enumerate(pairwise(CHANNELS)):
            shapes[f"encode{i}"] = (out, into, KERNEL, KERNEL)
            shapes[f"decode{i}"] = (out, into, KERNEL, KERNEL)
        shapes |= {"code": (features, FLAT), "uncode": (FLAT, features)}
        self.params: Params = {}
        for name, shape in shapes.items():
            width = shape[1] if name.startswith("decode") else shape[0]
            bound = 1 / math.sqrt(math.prod(shape[1:]))  # torch's default, of transposed convolutions too
            self.params[f"{name}.weight"] = (2 * streams.uniform(*shape)[0] - 1) * bound
            self.params[f"{name}.bias"] = (2 * streams.uniform(width)[0] - 1) * bound
        self.optimizer = Adam(self.params, learning_rate)

    def encode(self, params: Params, x: Tensor) -> Tensor:
        """Views `[B, 3, 64, 64]` to codes `[B, features]`."""
        for i in range(len(CHANNELS) - 1):
            x = F.selu(F.conv2d(x, params[f"encode{i}.weight"], params[f"encode{i}.bias"], **STRIDE))
        return F.selu(F.linear(x.flatten(1), params["code.weight"], params["code.bias"]))

    def decode(self, params: Params, code: Tensor) -> Tensor:
        """Codes `[B, features]` to views `[B, 3, 64, 64]`."""
        x = F.selu(F.linear(code, params["uncode.weight"], params["uncode.bias"]))
        x = x.reshape(-1, CHANNELS[-1], SIDE, SIDE)
        for i in reversed(range(len(CHANNELS) - 1)):
            x = F.conv_transpose2d(x, params[f"decode{i}.weight"], params[f"decode{i}.bias"], **STRIDE)
            x = F.selu(x) if i else F.relu(x)
        return x

    def errors(self, params: Params, views: Tensor) -> tuple[Tensor, Tensor]:
        """Codes, and the mean squared error of the pixels of each view, `[B]`."""
        code = self.encode(params, views)
        return code, (self.decode(params, code) - views).square().mean((1, 2, 3))

    def pixels(self, views: np.ndarray) -> Tensor:
        """Views uint8 `[B, h, w, 3]` as the network takes them, in [0, 1]."""
        return torch.from_numpy(views).to(self.device).permute(0, 3, 1, 2).float() / 255

    @torch.no_grad()
    def __call__(self, views: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Codes `[B, features]` and errors `[B]` of views uint8 `[B, h, w, 3]`, float64."""
        both = [self.errors(self.params, self.pixels(part)) for part in self.parts(views)]
        return tuple(torch.cat(each).cpu().double().numpy() for each in zip(*both, strict=True))  # type: ignore[return-value]

    def parts(self, views: np.ndarray) -> list[np.ndarray]:
        return [views[first : first + self.batch_size] for first in range(0, len(views), self.batch_size)]

    def fit(self, views: np.ndarray, epochs: int) -> float:
        """Train on most of the views; returns the error of the others at the end.

        Args:
            views: uint8 `[B, h, w, 3]`.
            epochs: at most.
        """
        order = self.order.permutation(len(views))[0].cpu().numpy()
        held = max(1, int(HELD_OUT * len(views)))
        kept, training = views[order[:held]], views[order[held:]]
        error, rises = float(self(kept)[1].mean()), 0
        for _ in range(epochs):
            shuffled = training[self.order.permutation(len(training))[0].cpu().numpy()]
            for part in self.parts(shuffled):
                self.step(self.pixels(part))
            before, error = error, float(self(kept)[1].mean())
            rises = rises + 1 if error > before else 0
            if rises == PATIENCE:
                break
        return error

    def step(self, views: Tensor) -> None:
        """One step of Adam."""
        leaves = {name: value.detach().requires_grad_() for name, value in self.params.items()}
        loss = self.errors(leaves, views)[1].mean()
        self.optimizer.step(torch.autograd.grad(loss, list(leaves.values())))

    def state_dict(self) -> dict[str, Any]:
        optimizer, order = self.optimizer.state_dict(), self.order.state_dict()
        return {"params": clone(self.params), "optimizer": optimizer, "order": order}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assign(self.params, state["params"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.order.load_state_dict(state["order"])
