"""Ensembles of probabilistic networks: one-step models of a system, learned from its transitions.

Chua et al., "Deep Reinforcement Learning in a Handful of Trials using Probabilistic Dynamics Models" (NeurIPS 2018), in
the form of MOPO's and COCOA's code. Each of the E members predicts mean mu and log-variance l of a Gaussian,

    loss = sum_members [ mean((mu - y)^2 exp(-l)) + mean(l) ] + 0.01 sum(l_max) - 0.01 sum(l_min)
           + sum_layers decay/2 |W|^2,

with l softly held within learned bounds l_min, l_max that the members share.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from rlbench.nets.mlp import MLP, pieces, stack
from rlbench.nets.optim import Adam, Params, assign, clone, gradients
from rlbench.rng import SeedStreams
from rlbench.types import Count

BOUND_WEIGHT = 0.01  # of the log-variance bounds in the loss
IMPROVEMENT = 0.01  # relative gain on the holdout rows that counts
AHEAD = 16  # minibatches gathered at once
AT_ONCE = 256  # rows predicted at once on a CPU: more of them leave the cache between two layers


class Ensemble(MLP):
    """Stacked probabilistic networks; parameters `[S * members, ...]`, bounds of the log-variance `[S, 1, 1, out]`.

    Args:
        in_dim, hidden_dims, out_dim: widths; the networks' own output is twice as wide, mean and log-variance.
        members: E, networks a seed.
    """

    def __init__(self, in_dim: int, hidden_dims: Sequence[int], out_dim: int, members: int) -> None:
        super().__init__(in_dim, hidden_dims, 2 * out_dim, members=members, activation="swish")
        self.out_dim = out_dim

    def init(self, rng: SeedStreams) -> Params:
        params: Params = {}
        for (weight, bias), fan_in, fan_out in zip(self.layers, self.sizes, self.sizes[1:], strict=False):
            # The papers' truncated normal has its bounds at +-2, fifteen and more of these standard deviations away.
            params[weight] = (rng.normal(self.members, fan_in, fan_out) / (2 * math.sqrt(fan_in))).flatten(0, 1)
            params[bias] = torch.zeros(len(rng) * self.members, 1, fan_out, device=rng.device)
        shape = len(rng), 1, 1, self.out_dim
        params["log_var_max"] = torch.full(shape, 0.5, device=rng.device)
        params["log_var_min"] = torch.full(shape, -10.0, device=rng.device)
        return params

    def predict(self, params: Params, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, `[S, members, B, out]` each, for stacked inputs `[S * members, B, in]`."""
        high, low = params["log_var_max"], params["log_var_min"]
        mean, log_var = self.forward(params, x).unflatten(0, (high.shape[0], -1)).chunk(2, dim=-1)
        log_var = high - F.softplus(high - log_var)
        return mean, low + F.softplus(log_var - low)

    def loss(self, params: Params, x: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss without weight decay, `[S]`, for inputs `[S * members, B, in]`, targets `[S, members, B, out]`."""
        mean, log_var = self.predict(params, x)
        likelihood = (mean - y).square() * torch.exp(-log_var) + log_var
        bounds = (params["log_var_max"] - params["log_var_min"]).flatten(1).sum(1)
        return likelihood.mean((2, 3)).sum(1) + BOUND_WEIGHT * bounds, {}


@dataclass(frozen=True)
class EnsembleTraining:
    """How an ensemble is trained; see `rlbench.algos.offline.dynamics.Dynamics` for the fields."""

    hidden_dims: list[Count]
    members: int
    elites: int
    learning_rate: float
    weight_decay: list[float]
    batch_size: int
    holdout_fraction: float
    holdout_rows: int
    patience: int
    max_epochs: int | None


class EnsembleFit:
    """The stage that trains an ensemble: one unit is an epoch, early stopping is each seed's own.

    Every member has a bootstrap sample of the training rows, reshuffled each epoch. After an epoch, members that gained
    more than 1 % on the holdout rows are stored; a seed ends after `patience` epochs in which none did. The result is
    every member at its best, and as elites those with the least holdout error.

    Args:
        name: for progress, and separates the random streams of several ensembles of a seed.
        inputs, targets: `[N, in]` and `[N, out]`.
        seeds: S.
        training: hyperparameters.
    """

    def __init__(
        self, name: str, inputs: Tensor, targets: Tensor, seeds: Sequence[int], training: EnsembleTraining
    ) -> None:
        self.name = name
        self.training = training
        device = inputs.device
        self.rows = torch.cat([inputs, targets], -1)
        self.in_dim = inputs.shape[1]
        self.net = Ensemble(self.in_dim, training.hidden_dims, targets.shape[1], training.members)
        split = SeedStreams(seeds, f"{name} split", device)
        order = split.permutation(len(inputs))
        holdout = min(int(training.holdout_fraction * len(inputs)), training.holdout_rows)
        self.holdout = self.rows[order[:, :holdout]]
        kept = order[:, holdout:].int()
        drawn = split.integers(kept.shape[1], training.members, kept.shape[1])
        self.bootstrap = torch.stack([row[index] for row, index in zip(kept, drawn, strict=True)])
        self.mean, self.std = (torch.empty(len(seeds), 1, self.in_dim, device=device) for _ in range(2))
        for k, row in enumerate(kept):
            x = inputs[row]
            self.mean[k], self.std[k] = x.mean(0), x.std(0, correction=0)
        self.std[self.std < 1e-12] = 1.0
        self.params = self.net.init(SeedStreams(seeds, f"{name} parameters", device))
        self.optimizer = Adam(self.params, training.learning_rate)
        self.shuffle = SeedStreams(seeds, f"{name} shuffle", device)
        self.best = clone(self.params)
        self.errors = torch.full((len(seeds), training.members), 1e10, device=device)
        """Holdout mean squared error of each stored member."""
        self.stale = torch.zeros(len(seeds), dtype=torch.int64, device=device)
        """Epochs since a member improved."""
        self.epoch = 0

    @property
    def active(self) -> Tensor:
        """Which seeds go on, `[S]`."""
        return self.stale < self.training.patience

    @property
    def done(self) -> bool:
        return self.epoch == self.training.max_epochs or not bool(self.active.any())

    @property
    def progress(self) -> tuple[int, int]:
        left = self.training.patience - int(self.stale.min())
        return self.epoch, self.training.max_epochs or self.epoch + left

    def train(self, n: int) -> None:
        for _ in range(n):
            order = self.shuffle.uniform(*self.bootstrap.shape[1:]).argsort(-1)
            for index in self.bootstrap.gather(-1, order).split(AHEAD * self.training.batch_size, dim=-1):
                rows = self.rows.index_select(0, index.reshape(-1)).view(*index.shape, -1)
                for batch in rows.split(self.training.batch_size, dim=2):
                    self._update(batch)
            self.epoch += 1
            self._keep_best()

    def _inputs(self, rows: Tensor) -> Tensor:
        """Standardised inputs of rows `[S, E, B, in + out]`, stacked."""
        x = (rows[..., : self.in_dim] - self.mean[:, None]) / self.std[:, None]
        return x.flatten(0, 1)

    def _update(self, batch: Tensor) -> None:
        x, y = self._inputs(batch), batch[..., self.in_dim :]
        grads, _ = gradients(lambda p: self.net.loss(p, x, y), self.params)
        by_name = dict(zip(self.params, grads, strict=True))
        for (weight, _), decay in zip(self.net.layers, self.training.weight_decay, strict=True):
            by_name[weight].add_(self.params[weight], alpha=decay)
        self.optimizer.step(grads)

    @torch.no_grad()
    def _keep_best(self) -> None:
        rows = self.holdout[:, None].expand(-1, self.training.members, -1, -1)
        mean, _ = self.net.predict(self.params, self._inputs(rows))
        error = (mean - rows[..., self.in_dim :]).square().mean((2, 3))
        active = self.active
        improved = active[:, None] & ((self.errors - error) / self.errors > IMPROVEMENT)
        self.errors = torch.where(improved, error, self.errors)
        for name, value in self.params.items():
            # The bounds belong to all members: they are the last, not the best.
            changed = active if name.startswith("log_var") else improved.flatten()
            self.best[name] = torch.where(changed.view(-1, *[1] * (value.dim() - 1)), value, self.best[name])
        self.stale = torch.where(active & ~improved.any(1), self.stale + 1, torch.where(active, 0, self.stale))

    def state_dict(self) -> dict[str, Any]:
        """The model so far (see `Model`), and while not done what training on needs."""
        training = {
            "params": clone(self.params),
            "optimizer": self.optimizer.state_dict(),
            "shuffle": self.shuffle.state_dict(),
        }
        return {
            "epoch": self.epoch,
            "stale": self.stale,
            "params": clone(self.best),
            "errors": self.errors,
            "elites": self.errors.argsort(dim=1, stable=True)[:, : self.training.elites],
            "mean": self.mean,
            "std": self.std,
            "training": None if self.done else training,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch, self.stale, self.errors = state["epoch"], state["stale"], state["errors"]
        assign(self.best, state["params"])
        if state["training"] is not None:
            assign(self.params, state["training"]["params"])
            self.optimizer.load_state_dict(state["training"]["optimizer"])
            self.shuffle.load_state_dict(state["training"]["shuffle"])


class Model:
    """A trained ensemble, frozen: from x (a state, or the one after it) and an action to the change of x, and more.

    Outputs are `[..., dx + e]`: the predicted state first, then e further targets (the reward).

    Args:
        state: of a finished `EnsembleFit`.
        seeds: S; a state of one seed serves all of them.
    """

    def __init__(self, state: dict[str, Any], seeds: int) -> None:
        def of_all(value: Tensor) -> Tensor:
            return value if len(state["elites"]) == seeds else value.repeat(seeds, *[1] * (value.dim() - 1))

        self.params: Params = {name: of_all(value) for name, value in state["params"].items()}
        self.mean, self.std, self.elites = (of_all(state[name]) for name in ("mean", "std", "elites"))
        weights = [value for name, value in self.params.items() if name.endswith(".weight")]
        sizes = [weights[0].shape[1], *[w.shape[2] for w in weights]]
        self.net = Ensemble(sizes[0], sizes[1:-1], sizes[-1] // 2, weights[0].shape[0] // seeds)
        self.elite_params = {name: self.of_elites(value) for name, value in self.params.items()}

    def of_elites(self, value: Tensor) -> Tensor:
        """The elites' part of something stacked `[S * E, ...]`; what the members share stays as it is."""
        if len(value) == len(self.elites):
            return value
        first = torch.arange(len(self.elites), device=value.device)[:, None] * self.net.members
        return value[(self.elites + first).flatten()]

    def of_seed(self, index: int) -> Model:
        """The model of the seed in place `index` alone."""
        parts = {name: value.unflatten(0, (len(self.elites), -1))[index] for name, value in self.params.items()}
        one = slice(index, index + 1)
        return Model({"params": parts, "mean": self.mean[one], "std": self.std[one], "elites": self.elites[one]}, 1)

    @torch.no_grad()
    def predict(self, x: Tensor, action: Tensor, elites: bool = True) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, `[S, M, B, out]`, of the elites or of all members, for `[S, B, ...]`."""
        standard = (torch.cat([x, action], -1) - self.mean) / self.std
        params = self.elite_params if elites else self.params
        members = self.elites.shape[1] if elites else self.net.members
        outputs = [self.net.predict(params, stack(part, members)) for part in pieces(standard, AT_ONCE)]
        mean, log_var = (torch.cat(each, dim=2) for each in zip(*outputs, strict=True))
        return torch.cat([mean[..., : x.shape[-1]] + x[:, None], mean[..., x.shape[-1] :]], -1), (log_var / 2).exp()

    def step(self, x: Tensor, action: Tensor) -> Tensor:
        """The deterministic step, the mean over the elites: `[S, B, out]`."""
        return self.predict(x, action)[0].mean(1)

    def sample(self, x: Tensor, action: Tensor, rng: SeedStreams) -> Tensor:
        """The stochastic step, from an elite drawn for each row: `[S, B, out]`."""
        return draw(*self.predict(x, action), rng)


def draw(mean: Tensor, std: Tensor, rng: SeedStreams) -> Tensor:
    """A sample of a uniformly drawn member for each row: `[S, M, B, out]` to `[S, B, out]`."""
    members, rows, width = mean.shape[1:]
    member = rng.integers(members, rows)[:, None, :, None].expand(-1, 1, -1, width)
    chosen, spread = mean.gather(1, member).squeeze(1), std.gather(1, member).squeeze(1)
    return chosen + spread * rng.normal(rows, width)
