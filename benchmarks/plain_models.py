"""Plain loops of MOPO, MOBILE and COCOA: see `benchmarks.plain`. The models are untrained: a step costs the same."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.plain import GAMMA, Batch, Buffer, Critic, SquashedGaussian, Step, adam, descend, follow, mlp

MEMBERS, ELITES, PENALTY, LENGTH, SETS, SAMPLES = 7, 5, 2.5, 5, 5, 10
ROLLOUT_EVERY, ROLLOUT_STARTS = 100, 5000  # the published 1000 and 50000, in smaller portions


class Ensemble(nn.Module):
    """Mean and log-variance of (s' - s, r) by each member, on standardised inputs."""

    def __init__(self, d: int, a: int) -> None:
        super().__init__()
        sizes = [d + a, 200, 200, 200, 200, 2 * (d + 1)]
        pairs = list(pairwise(sizes))
        self.weights = nn.ParameterList([torch.randn(MEMBERS, i, o) / (2 * i**0.5) for i, o in pairs])
        self.biases = nn.ParameterList([torch.zeros(MEMBERS, 1, o) for _, o in pairs])
        self.high, self.low = nn.Parameter(torch.full((d + 1,), 0.5)), nn.Parameter(torch.full((d + 1,), -10.0))
        self.mean, self.std = torch.zeros(d + a), torch.ones(d + a)

    @torch.no_grad()
    def forward(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (of s' and r) and standard deviation, `[members, B, d + 1]`."""
        x = ((torch.cat([state, action], -1) - self.mean) / self.std).repeat(MEMBERS, 1, 1)
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.einsum("ebi,eio->ebo", x, weight) + bias
            if i < len(self.weights) - 1:
                x = x * torch.sigmoid(x)
        mean, log_var = x.chunk(2, -1)
        log_var = self.high - F.softplus(self.high - log_var)
        log_var = self.low + F.softplus(log_var - self.low)
        mean[..., :-1] += state
        return mean, torch.sqrt(torch.exp(log_var))


def ended(s: Tensor) -> Tensor:
    """Hopper's termination, `[B, 1]`."""
    healthy = torch.isfinite(s).all(-1) & (s[:, 1:].abs() < 100).all(-1) & (s[:, 0] > 0.7) & (s[:, 1].abs() < 0.2)
    return (~healthy).float()[:, None]


def model_based(data: Batch, *, penalised_reward: bool) -> Step:
    d, a_dim = data[0].shape[1], data[1].shape[1]
    hidden, real = [256, 256], 12
    model = Ensemble(d, a_dim)
    actor = SquashedGaussian(d, a_dim, hidden)
    critic_1, critic_2 = Critic(d, a_dim, hidden), Critic(d, a_dim, hidden)
    target_1, target_2 = map(deepcopy, (critic_1, critic_2))
    log_alpha = nn.Parameter(torch.zeros(1))
    actor_adam, adam_1, adam_2 = adam(actor, lr=1e-4), adam(critic_1), adam(critic_2)
    alpha_adam = torch.optim.Adam([log_alpha], lr=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(actor_adam, 3_000_000)
    dataset = Buffer(data, real)
    capacity = ROLLOUT_STARTS * LENGTH * SETS
    made = tuple(torch.zeros(capacity, width) for width in (d, a_dim, 1, d, 1))
    place, filled, count = 0, 0, 0

    def roll_out() -> None:
        nonlocal place, filled
        s = data[0][torch.randint(0, len(data[0]), (ROLLOUT_STARTS,))]
        for _ in range(LENGTH):
            with torch.no_grad():
                a, _ = actor(s)
            mean, std = model(s, a)
            samples = mean + torch.randn_like(mean) * std
            outcome = samples[torch.randint(0, ELITES, (len(s),)), torch.arange(len(s))]
            s2, r, done = outcome[:, :-1], outcome[:, -1:], ended(outcome[:, :-1])
            if penalised_reward:
                r = r - PENALTY * std.norm(dim=-1).amax(0)[:, None]
            index = (place + torch.arange(len(s))) % capacity
            for column, value in zip(made, (s, a, r, s2, done), strict=True):
                column[index] = value
            place, filled = (place + len(s)) % capacity, min(filled + len(s), capacity)
            # Of rollouts in a trained model of hopper 90 % reach their length; in random data all would end at once.
            s = s2

    def inconsistency(s: Tensor, a: Tensor) -> Tensor:
        mean, std = (x[:ELITES, :, :-1] for x in model(s, a))
        following = torch.stack([mean + torch.randn_like(mean) * std for _ in range(SAMPLES)]).reshape(-1, d)
        action, _ = actor(following)
        q = torch.min(target_1(following, action), target_2(following, action))
        return q.reshape(SAMPLES, ELITES, len(s), 1).mean(0).std(0)

    def step() -> dict[str, float]:
        nonlocal count
        if count % ROLLOUT_EVERY == 0:
            roll_out()
        count += 1
        index = torch.randint(0, filled, (256 - real,))
        drawn = tuple(column[index] for column in made)
        s, a, r, s2, done = (torch.cat(pair) for pair in zip(dataset.sample(), drawn, strict=True))
        alpha = log_alpha.exp().detach().clamp(0, 1)
        with torch.no_grad():
            a2, log_prob2 = actor(s2)
            value = torch.min(target_1(s2, a2), target_2(s2, a2))
            if penalised_reward:
                target = r + GAMMA * (1 - done) * (value - alpha * log_prob2)
            else:
                b = torch.cat([torch.zeros(real, 1), inconsistency(s[real:], a[real:])])
                target = (r - PENALTY * b + GAMMA * (1 - done) * value).clamp(min=0)
        loss_1, loss_2 = F.mse_loss(critic_1(s, a), target), F.mse_loss(critic_2(s, a), target)
        descend(loss_1, adam_1)
        descend(loss_2, adam_2)
        new, log_prob = actor(s)
        actor_loss = (alpha * log_prob - torch.min(critic_1(s, new), critic_2(s, new))).mean()
        descend(actor_loss, actor_adam)
        alpha_loss = -(log_alpha * (log_prob.detach() - a_dim)).mean()
        descend(alpha_loss, alpha_adam)
        schedule.step()
        follow(target_1, critic_1)
        follow(target_2, critic_2)
        return {"actor": actor_loss.item(), "1": loss_1.item(), "2": loss_2.item(), "alpha": alpha_loss.item()}

    return step


def mopo(data: Batch) -> Step:
    """MOPO (Yu et al., 2020)."""
    return model_based(data, penalised_reward=True)


def mobile(data: Batch) -> Step:
    """MOBILE (Sun et al., 2023)."""
    return model_based(data, penalised_reward=False)


class Transductive(nn.Module):
    """COCOA's predictor: it finds the anchors of the states that it is given, whenever it is given some."""

    def __init__(self, anchor: Callable[[Tensor], Tensor], d: int, a: int, outputs: int) -> None:
        super().__init__()
        self.anchor = anchor
        self.f, self.g = (nn.Sequential(mlp(d + a, [64, 64], 256, norm=True), nn.LayerNorm(256)) for _ in range(2))
        self.net = mlp(64, [100, 100], outputs)

    def forward(self, state: Tensor, action: Tensor | None = None) -> Tensor:
        with torch.no_grad():
            anchor = self.anchor(state)
        inputs = [state - anchor, anchor]
        if action is not None:
            inputs = [torch.cat([x, action], -1) for x in inputs]
        f, g = (net(x).reshape(len(state), 64, 4) for net, x in zip((self.f, self.g), inputs, strict=True))
        return self.net((f * g).sum(-1))


def cocoa(data: Batch) -> Step:
    """COCOA over IQL (Song et al., 2024), one step to the anchor."""
    d, a_dim = data[0].shape[1], data[1].shape[1]
    model, seeker = Ensemble(d, a_dim), mlp(d, [100, 100], a_dim, norm=True)

    def anchor(state: Tensor) -> Tensor:
        return model(state, torch.tanh(seeker(state)))[0][:ELITES, :, :-1].mean(0)

    def network(actions: int, outputs: int) -> Transductive:
        return Transductive(anchor, d, actions, outputs)

    buffer = Buffer(data)
    actor, value = network(0, a_dim), network(0, 1)
    log_std = nn.Parameter(torch.zeros(a_dim))
    critic_1, critic_2 = network(a_dim, 1), network(a_dim, 1)
    target_1, target_2 = (network(a_dim, 1) for _ in range(2))
    value_adam, adam_1, adam_2 = adam(value), adam(critic_1), adam(critic_2)
    actor_adam = torch.optim.Adam([*actor.parameters(), log_std], lr=3e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(actor_adam, 1_000_000)

    def step() -> dict[str, float]:
        s, a, r, s2, done = buffer.sample()
        with torch.no_grad():
            q = torch.min(target_1(s, a), target_2(s, a))
        u = q - value(s)
        value_loss = (torch.abs(0.7 - (u < 0).float()) * u**2).mean()
        descend(value_loss, value_adam)
        with torch.no_grad():
            target = r + GAMMA * (1 - done) * value(s2)
            weight = torch.exp(3.0 * (q - value(s))).clamp(max=100.0)
        loss_1, loss_2 = F.mse_loss(critic_1(s, a), target), F.mse_loss(critic_2(s, a), target)
        descend(loss_1, adam_1)
        descend(loss_2, adam_2)
        policy = torch.distributions.Normal(torch.tanh(actor(s)), log_std.clamp(-5, 2).exp())
        actor_loss = -(weight * policy.log_prob(a).sum(-1, keepdim=True)).mean()
        descend(actor_loss, actor_adam)
        schedule.step()
        follow(target_1, critic_1)
        follow(target_2, critic_2)
        return {"actor": actor_loss.item(), "value": value_loss.item(), "1": loss_1.item(), "2": loss_2.item()}

    return step
