"""The transductive predictor: bilinear in what is known and how far it is from there.

Netanyahu et al., "Learning to Extrapolate: A Transductive Approach" (ICLR 2023), as COCOA uses it (Song et al., ICLR
2024). A state s is given as anchor s~ and difference D = s - s~; with embeddings f and g into R^{T x e},

    feature_t = sum_i f_{t,i}(D) g_{t,i}(s~),     t = 1..T,

and an ordinary network reads the T features. An action is appended to both inputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rlbench.nets.mlp import MLP, Network, Networks, stack
from rlbench.nets.optim import Params
from rlbench.rng import SeedStreams
from rlbench.types import Precision


class Transductive:
    """A stack of bilinear predictors, as many as `members` a seed.

    Args:
        state_dim, action_dim: widths of a raw state and of the action (0: none); observations are `[s, s~]`.
        embedding_dims: hidden widths of f and g; the last is T. Each hidden layer is Linear, ReLU, LayerNorm, and a
            LayerNorm stands on the output too.
        embedding_width: e.
        hidden_dims, out_dim: of the network behind.
        members: networks a seed.
        init, precision: of all three networks (see `MLP`).
        options: further options of the network behind.
    """

    def __init__(
        self,
        state_dim: int,
        action_dim: int,
        embedding_dims: Sequence[int],
        embedding_width: int,
        hidden_dims: Sequence[int],
        out_dim: int,
        *,
        members: int = 1,
        init: str = "torch",
        precision: Precision = "fp32",
        **options: object,
    ) -> None:
        self.members = members
        self.state_dim = state_dim
        self.shape = embedding_dims[-1], embedding_width

        def embedding(prefix: str) -> MLP:
            width = embedding_dims[-1] * embedding_width
            return MLP(
                state_dim + action_dim,
                embedding_dims,
                width,
                members=members,
                layernorm="after",
                final_layernorm=True,
                init=init,
                prefix=prefix,
                precision=precision,
            )

        self.f, self.g = embedding("f."), embedding("g.")
        self.behind = MLP(
            embedding_dims[-1],
            hidden_dims,
            out_dim,
            members=members,
            init=init,
            precision=precision,
            **options,  # type: ignore[arg-type]
        )

    def init(self, rng: SeedStreams) -> Params:
        return {**self.f.init(rng), **self.g.init(rng), **self.behind.init(rng)}

    def __call__(self, params: Params, observation: Tensor, action: Tensor | None = None) -> Tensor:
        state, anchor = observation.split(self.state_dim, dim=-1)
        inputs = [state - anchor, anchor]
        if action is not None:
            inputs = [torch.cat([x, action], -1) for x in inputs]
        f, g = (
            net.forward(params, stack(x, self.members)).unflatten(-1, self.shape)
            for net, x in zip((self.f, self.g), inputs, strict=True)
        )
        return self.behind.forward(params, (f * g).sum(-1))


class TransductiveNetworks(Networks):
    """Builds transductive predictors for any algorithm.

    Args:
        state_dim: width of a raw state; features are `[s, s~]`, twice as wide.
        action_dim: width of the action.
        embedding_dims, embedding_width: see `Transductive`.
    """

    def __init__(self, state_dim: int, action_dim: int, embedding_dims: Sequence[int], embedding_width: int) -> None:
        super().__init__(2 * state_dim, action_dim)
        self.state_dim = state_dim
        self.embedding = embedding_dims, embedding_width

    def state(self, hidden_dims: Sequence[int], out_dim: int, **options: object) -> Network:
        return Transductive(self.state_dim, 0, *self.embedding, hidden_dims, out_dim, **options)  # type: ignore[arg-type]

    def state_action(self, hidden_dims: Sequence[int], out_dim: int, **options: object) -> Network:
        dims = self.state_dim, self.action_dim
        return Transductive(*dims, *self.embedding, hidden_dims, out_dim, **options)  # type: ignore[arg-type]
