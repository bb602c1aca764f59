"""COCOA's anchors: where they come from (stages 3 and 4 of the method) and how a state gets one (stage 5)."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from rlbench.nets.ensemble import Model
from rlbench.nets.mlp import MLP
from rlbench.nets.optim import Adam, Params, assign, clone, gradients
from rlbench.rng import SeedStreams
from rlbench.task import Features
from rlbench.types import Count

NEWEST_ROWS = 300_000  # dataset rows whose trajectories the published buffer holds
BLOCK = 4096  # rows imagined at once
AHEAD = 32  # minibatches gathered at once
SETTLED, SETTLED_EPOCHS = 0.005, 5  # a loss that changes by less in so many epochs has settled
CANDIDATES = 500  # anchors, and differences, that `closest_delta` chooses among


class Imagination:
    """The stage that imagines trajectories which a reverse model makes diverge from the data.

    From x_0 = s' of a transition, and a direction u that is kept for the whole trajectory:
    a_j = clip(scale u + noise N(0, I), -1, 1), x_{j+1} ~ p(s | s' = x_j, a_j). The pairs (x_{j+1}, a_j) are the result:
    acting a_j at x_{j+1} leads back to x_j, towards the data. One unit is a block of transitions.

    Args:
        model: the reverse ensemble of the S seeds.
        following, action: the dataset's next observations and actions, `[N, ...]`.
        direction: of the first model steps, u: `dataset` (another transition's action), `gaussian` (random, of length
            0.5), `opposed` (the dataset's action with the least cosine to the transition's own), or `cvae` (an action
            that the behaviour model proposes at s').
        behaviour: the behaviour model, for `cvae`.
        seeds: S.
        length, scale, noise: L, and of the actions.
    """

    name = "anchor-seeking trajectories"

    def __init__(
        self,
        model: Model,
        following: Tensor,
        action: Tensor,
        seeds: Sequence[int],
        *,
        direction: str,
        behaviour: CVAE | None,
        length: int,
        scale: float,
        noise: float,
    ) -> None:
        self.model, self.behaviour = model, behaviour
        self.following, self.own, self.action = following[-NEWEST_ROWS:], action[-NEWEST_ROWS:], action
        self.direction, self.length, self.scale, self.noise = direction, length, scale, noise
        self.rng = SeedStreams(seeds, self.name, following.device)
        self.pairs: list[Tensor] = []
        self.rows = 0

    @property
    def done(self) -> bool:
        return self.rows == len(self.following)

    @property
    def progress(self) -> tuple[int, int]:
        return self.rows, len(self.following)

    @torch.no_grad()
    def train(self, n: int) -> None:
        for _ in range(n):
            block = slice(self.rows, self.rows + BLOCK)
            x = self.following[block].expand(len(self.rng), -1, -1)
            u = self.directions(x, self.own[block], self.rows)
            for _ in range(self.length):
                a = (self.scale * u + self.noise * self.rng.normal(*u.shape[1:])).clamp(-1, 1)
                x = self.model.sample(x, a, self.rng)
                self.pairs.append(torch.cat([x, a], -1))
            self.rows += x.shape[1]

    def directions(self, x: Tensor, own: Tensor, first: int) -> Tensor:
        """u, `[S, B, a]`, for next observations `[S, B, d]` whose transitions' own actions are `[B, a]`."""
        rows, width = own.shape
        if self.direction == "dataset":
            others = 1 + self.rng.integers(len(self.action) - 1, rows)
            place = torch.arange(rows, device=own.device) + first + len(self.action) - len(self.own)
            return self.action[(place + others) % len(self.action)]
        if self.direction == "gaussian":
            return 0.5 * F.normalize(self.rng.normal(rows, width), dim=-1)
        if self.direction == "opposed":
            all_actions = F.normalize(self.action, dim=-1).T
            index = [(F.normalize(part, dim=-1) @ all_actions).argmin(-1) for part in own.split(256)]
            return self.action[torch.cat(index)].expand(len(self.rng), -1, -1)
        assert self.behaviour is not None
        return self.behaviour.sample(x, self.rng)

    def state_dict(self) -> dict[str, Any]:
        """The pairs, `[S, rows * length, d + a]`; and the random state."""
        made = torch.cat(self.pairs, 1) if self.pairs else torch.empty(0)
        self.pairs = [made] if self.pairs else []
        return {"rows": self.rows, "pairs": made, "rng": self.rng.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rows = state["rows"]
        self.pairs = [state["pairs"]] if self.rows else []
        self.rng.load_state_dict(state["rng"])


def seeker_network(state_dim: int, hidden_dims: Sequence[int], action_dim: int) -> MLP:
    """The anchor seeker: each hidden layer Linear, ReLU, LayerNorm; the action is the tanh of the output."""
    return MLP(state_dim, hidden_dims, action_dim, layernorm="after")


class SeekerFit:
    """The stage that clones the imagined actions: minimises the mean squared error of tanh(net(x_{j+1})) to a_j.

    A seed ends when its epoch loss has changed by at most 0.5 % in five epochs in a row; one unit is an epoch.

    Args:
        pairs: `[S, P, d + a]`.
        state_dim: d.
        seeds: S.
        hidden_dims, learning_rate, batch_size, epochs: of the training; `epochs` at most.
    """

    name = "anchor seeker"

    def __init__(
        self,
        pairs: Tensor,
        state_dim: int,
        seeds: Sequence[int],
        *,
        hidden_dims: list[Count],
        learning_rate: float,
        batch_size: int,
        epochs: int,
    ) -> None:
        self.pairs = pairs
        self.state_dim, self.batch_size, self.epochs = state_dim, batch_size, epochs
        self.net = seeker_network(state_dim, hidden_dims, pairs.shape[-1] - state_dim)
        self.params = self.net.init(SeedStreams(seeds, f"{self.name} parameters", pairs.device))
        self.optimizer = Adam(self.params, learning_rate)
        self.shuffle = SeedStreams(seeds, f"{self.name} shuffle", pairs.device)
        self.result = clone(self.params)
        self.losses = torch.full((len(seeds),), float("inf"), device=pairs.device)
        """Of each seed's last epoch."""
        self.settled = torch.zeros(len(seeds), dtype=torch.int64, device=pairs.device)
        """Epochs in a row in which the loss hardly changed."""
        self.epoch = 0

    @property
    def active(self) -> Tensor:
        return self.settled < SETTLED_EPOCHS

    @property
    def done(self) -> bool:
        return self.epoch == self.epochs or not bool(self.active.any())

    @property
    def progress(self) -> tuple[int, int]:
        return self.epoch, self.epochs

    def loss(self, params: Params, pairs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean squared error of the action, `[S]`."""
        state, action = pairs.split([self.state_dim, pairs.shape[-1] - self.state_dim], dim=-1)
        loss = (torch.tanh(self.net(params, state)) - action).square().mean((1, 2))
        return loss, {"loss": loss}

    def train(self, n: int) -> None:
        for _ in range(n):
            total = torch.zeros_like(self.losses)
            for index in self.shuffle.permutation(self.pairs.shape[1]).split(AHEAD * self.batch_size, dim=1):
                rows = torch.stack([pairs[i] for pairs, i in zip(self.pairs, index, strict=True)])
                for batch in rows.split(self.batch_size, dim=1):
                    grads, metrics = gradients(lambda p, batch=batch: self.loss(p, batch), self.params)  # type: ignore[misc]
                    self.optimizer.step(grads)
                    total += metrics["loss"] * (batch.shape[1] / self.pairs.shape[1])
            self.epoch += 1
            active = self.active
            for name, value in self.params.items():
                self.result[name] = torch.where(active[:, None, None], value, self.result[name])
            still = (total - self.losses).abs() / self.losses <= SETTLED
            self.settled = torch.where(active, torch.where(still, self.settled + 1, 0), self.settled)
            self.losses = torch.where(active, total, self.losses)

    def state_dict(self) -> dict[str, Any]:
        training = {
            "params": clone(self.params),
            "optimizer": self.optimizer.state_dict(),
            "shuffle": self.shuffle.state_dict(),
        }
        return {
            "epoch": self.epoch,
            "params": clone(self.result),
            "losses": self.losses,
            "settled": self.settled,
            "training": None if self.done else training,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch, self.losses, self.settled = state["epoch"], state["losses"], state["settled"]
        assign(self.result, state["params"])
        if state["training"] is not None:
            assign(self.params, state["training"]["params"])
            self.optimizer.load_state_dict(state["training"]["optimizer"])
            self.shuffle.load_state_dict(state["training"]["shuffle"])


class CVAE:
    """A behaviour model p(a | s') as in ROMI (Wang et al., NeurIPS 2021): a conditional variational autoencoder.

    Latents have twice the action's width, and are clipped to [-0.5, 0.5] when an action is proposed.
    """

    HIDDEN = (750, 750)
    KL_WEIGHT = 0.5

    def __init__(self, state_dim: int, action_dim: int) -> None:
        self.latent = 2 * action_dim
        self.encoder = MLP(state_dim + action_dim, self.HIDDEN, 2 * self.latent, prefix="encoder.")
        self.decoder = MLP(state_dim + self.latent, self.HIDDEN, action_dim, prefix="decoder.")
        self.params: Params = {}

    def init(self, rng: SeedStreams) -> Params:
        return {**self.encoder.init(rng), **self.decoder.init(rng)}

    def loss(self, params: Params, state: Tensor, action: Tensor, noise: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        mean, log_std = self.encoder(params, state, action).chunk(2, dim=-1)
        log_std = log_std.clamp(-4, 15)
        made = torch.tanh(self.decoder(params, state, mean + log_std.exp() * noise))
        kl = -0.5 * (1 + 2 * log_std - mean.square() - (2 * log_std).exp()).mean((1, 2))
        return (made - action).square().mean((1, 2)) + self.KL_WEIGHT * kl, {}

    def sample(self, state: Tensor, rng: SeedStreams) -> Tensor:
        """Actions `[S, B, a]`."""
        latent = rng.normal(state.shape[1], self.latent).clamp(-0.5, 0.5)
        return torch.tanh(self.decoder(self.params, state, latent))


class CVAEFit:
    """The stage that trains the behaviour model; one unit is an epoch.

    Args:
        following, action: `[N, ...]`.
        seeds: S.
        learning_rate, batch_size, epochs: of the training.
    """

    name = "behaviour model"

    def __init__(
        self,
        following: Tensor,
        action: Tensor,
        seeds: Sequence[int],
        *,
        learning_rate: float,
        batch_size: int,
        epochs: int,
    ) -> None:
        self.rows = torch.cat([following, action], -1)
        self.dims = following.shape[1], action.shape[1]
        self.batch_size, self.epochs = batch_size, epochs
        self.net = CVAE(*self.dims)
        self.rng = SeedStreams(seeds, self.name, following.device)
        self.params = self.net.init(self.rng)
        self.optimizer = Adam(self.params, learning_rate)
        self.epoch = 0

    @property
    def done(self) -> bool:
        return self.epoch == self.epochs

    @property
    def progress(self) -> tuple[int, int]:
        return self.epoch, self.epochs

    def train(self, n: int) -> None:
        for _ in range(n):
            for index in self.rng.permutation(len(self.rows)).split(self.batch_size, dim=1):
                state, action = self.rows[index].split(self.dims, dim=-1)
                noise = self.rng.normal(index.shape[1], self.net.latent)
                grads, _ = gradients(
                    lambda p, s=state, a=action, z=noise: self.net.loss(p, s, a, z),  # type: ignore[misc]
                    self.params,
                )
                self.optimizer.step(grads)
            self.epoch += 1

    def state_dict(self) -> dict[str, Any]:
        training = {"optimizer": self.optimizer.state_dict(), "rng": self.rng.state_dict()}
        return {"epoch": self.epoch, "params": clone(self.params), "training": None if self.done else training}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch = state["epoch"]
        assign(self.params, state["params"])
        if state["training"] is not None:
            self.optimizer.load_state_dict(state["training"]["optimizer"])
            self.rng.load_state_dict(state["training"]["rng"])


class AnchoredFeatures(Features):
    """A state s and its anchor s~, side by side: `[s, s~]`. Here s~ = s; subclasses choose another function of s."""

    is_identity = False

    def __init__(self, state_dim: int) -> None:
        super().__init__(2 * state_dim)

    def anchor(self, state: Tensor) -> Tensor:
        """s~ for s, `[S, B, d]`."""
        return state

    @torch.no_grad()
    def __call__(self, observation: Tensor) -> Tensor:
        return torch.cat([observation, self.anchor(observation)], -1)


class SoughtAnchors(AnchoredFeatures):
    """Anchors found by the seeker in the forward model: h times s~ <- mean over elites of p(. | s~, seeker(s~)).

    Args:
        model: the forward ensemble of the S seeds (its outputs beyond the state are not used).
        seeker: the network.
        params: its parameters `[S, ...]`.
        horizon: h.
    """

    def __init__(self, model: Model, seeker: MLP, params: Params, horizon: int) -> None:
        super().__init__(seeker.sizes[0])
        self.model, self.seeker, self.params, self.horizon = model, seeker, params, horizon

    def anchor(self, state: Tensor) -> Tensor:
        for _ in range(self.horizon):
            action = torch.tanh(self.seeker(self.params, state))
            state = self.model.step(state, action)[..., : state.shape[-1]]
        return state

    def of_seed(self, index: int) -> SoughtAnchors:
        other = copy(self)
        other.model = self.model.of_seed(index)
        other.params = {name: value[index : index + 1] for name, value in self.params.items()}
        return other


class RandomAnchors(AnchoredFeatures):
    """Ablation: a random state of the dataset, the same one whenever the same s asks.

    Args:
        states: the dataset's, `[N, d]`.
    """

    shared = True

    def __init__(self, states: Tensor) -> None:
        super().__init__(states.shape[1])
        self.states = states

    def anchor(self, state: Tensor) -> Tensor:
        return self.states[scramble(state).sum(-1) % len(self.states)]


class NoisyAnchors(AnchoredFeatures):
    """Ablation: s plus uniform noise, the same whenever the same s asks.

    Args:
        bound: largest noise of each dimension, `[d]`.
    """

    shared = True

    def __init__(self, bound: Tensor) -> None:
        super().__init__(len(bound))
        self.bound = bound

    def anchor(self, state: Tensor) -> Tensor:
        together = scramble(state) + scramble(state).sum(-1, keepdim=True)
        uniform = (scramble(together.float()) % 65536) / 32768 - 1
        return state + self.bound * uniform


class ClosestAnchors(AnchoredFeatures):
    """Ablation: of some dataset states, the one whose difference to s is nearest to one of some dataset differences.

    Args:
        candidates: states of the dataset, `[C, d]`.
        differences: between states of the dataset, `[K, d]`.
    """

    shared = True

    def __init__(self, candidates: Tensor, differences: Tensor) -> None:
        super().__init__(candidates.shape[1])
        self.candidates, self.differences = candidates, differences
        # |(s - c) - delta| = |s - (c + delta)|: a nearest neighbour among all sums.
        self.sums = (candidates[:, None] + differences).flatten(0, 1)
        self.offset = 0.5 * self.sums.square().sum(1)

    def anchor(self, state: Tensor) -> Tensor:
        rows = state.flatten(0, -2)
        parts = [rows] if torch._C._is_tracing() else rows.split(256)
        index = [(self.offset - part @ self.sums.T).argmin(-1) for part in parts]
        return self.candidates[torch.cat(index) // len(self.differences)].view_as(state)


def scramble(x: Tensor) -> Tensor:
    """A large non-negative integer for each float, seemingly unrelated to it: `[..., d]` to int64 `[..., d]`."""
    place = torch.arange(1, x.shape[-1] + 1, device=x.device)
    bits = computed_bits(x) if torch._C._is_tracing() else x.contiguous().view(torch.int32).long()
    bits = (bits + place * 0x9E3779B1) & 0xFFFFFFFF
    for _ in range(2):
        bits = ((bits ^ (bits >> 15)) * 0x2C1B3C6D) & 0xFFFFFFFF
        bits = ((bits ^ (bits >> 12)) * 0x297A2D39) & 0xFFFFFFFF
    return bits ^ (bits >> 15)


def computed_bits(x: Tensor) -> Tensor:
    """The 32 bits of each float that is finite, as an integer: a graph that is exported cannot look at them."""
    fraction, exponent = torch.frexp(x.abs())
    normal = (exponent + 125) * 2**23 + (fraction * 2**24).long()
    small = (x.abs().double() * 2.0**149).long()  # zero, and what is too small for an exponent
    return torch.where(x.abs() < 2.0**-126, small, normal) + torch.signbit(x) * 2**31
