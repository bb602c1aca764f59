"""Plain training loops in the manner of single-file PyTorch implementations: what rlbench's speed is compared with.

Written from the papers, with the habits of CORL and its like: one `nn.Module` a network, a dataset of five tensors that
are indexed one by one, losses read with `.item()` at every step, target networks followed parameter by parameter, Adam
as `torch.optim` makes it by default, gradients left to flow wherever `backward` takes them. Same networks and same work
as CORL, whose speed they are to have (`results/speed.md`).
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GAMMA, TAU, BATCH = 0.99, 0.005, 256
Batch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
Step = Callable[[], dict[str, float]]


class Buffer:
    """Five tensors; a minibatch indexes each."""

    def __init__(self, columns: Batch, batch_size: int = BATCH) -> None:
        self.columns = columns
        self.batch_size = batch_size

    def sample(self) -> Batch:
        index = torch.randint(0, len(self.columns[0]), (self.batch_size,))
        s, a, r, s2, d = (column[index] for column in self.columns)
        return s, a, r, s2, d


def mlp(inputs: int, hidden: list[int], outputs: int, norm: bool = False) -> nn.Sequential:
    """Linear, ReLU (, LayerNorm), ..., Linear."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.ReLU(), *([nn.LayerNorm(width)] if norm else [])]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


class Actor(nn.Module):
    """tanh of a network's output."""

    def __init__(self, d: int, a: int, hidden: list[int]) -> None:
        super().__init__()
        self.net = mlp(d, hidden, a)

    def forward(self, state: Tensor) -> Tensor:
        return torch.tanh(self.net(state))


class Critic(nn.Module):
    """One value for a state and an action."""

    def __init__(self, d: int, a: int, hidden: list[int], norm: bool = False) -> None:
        super().__init__()
        self.net = mlp(d + a, hidden, 1, norm)

    def forward(self, state: Tensor, action: Tensor) -> Tensor:
        return self.net(torch.cat([state, action], -1))


class SquashedGaussian(nn.Module):
    """A sampled action in (-1, 1) and its log-probability."""

    def __init__(self, d: int, a: int, hidden: list[int]) -> None:
        super().__init__()
        self.trunk = nn.Sequential(*list(mlp(d, hidden, 1))[:-1])
        self.mean, self.log_std = nn.Linear(hidden[-1], a), nn.Linear(hidden[-1], a)

    def forward(self, state: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.trunk(state)
        normal = torch.distributions.Normal(self.mean(hidden), self.log_std(hidden).clamp(-5, 2).exp())
        u = normal.rsample()
        log_prob = normal.log_prob(u) - torch.log(1 - torch.tanh(u) ** 2 + 1e-6)
        return torch.tanh(u), log_prob.sum(-1, keepdim=True)


class StackedCritic(nn.Module):
    """N values at once, each layer a batched product (as EDAC's authors write it)."""

    def __init__(self, d: int, a: int, hidden: list[int], members: int) -> None:
        super().__init__()
        sizes = [d + a, *hidden, 1]
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        self.members = members
        for fan_in, fan_out in pairwise(sizes):
            bound = fan_in**-0.5
            self.weights.append(nn.Parameter(torch.empty(members, fan_in, fan_out).uniform_(-bound, bound)))
            self.biases.append(nn.Parameter(torch.empty(members, 1, fan_out).uniform_(-bound, bound)))

    def forward(self, state: Tensor, action: Tensor) -> Tensor:
        x = torch.cat([state, action], -1)
        if x.dim() == 2:
            x = x.unsqueeze(0).repeat_interleave(self.members, dim=0)
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = x @ weight + bias
            if i < len(self.weights) - 1:
                x = F.relu(x)
        return x.squeeze(-1)


def follow(target: nn.Module, source: nn.Module) -> None:
    for old, new in zip(target.parameters(), source.parameters(), strict=True):
        old.data.copy_((1 - TAU) * old.data + TAU * new.data)


def adam(*modules: nn.Module, lr: float = 3e-4) -> torch.optim.Adam:
    return torch.optim.Adam([p for module in modules for p in module.parameters()], lr=lr)


def descend(loss: Tensor, *optimizers: torch.optim.Optimizer) -> None:
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()


def td3_bc(data: Batch) -> Step:
    """TD3+BC (Fujimoto and Gu, 2021)."""
    d, a = data[0].shape[1], data[1].shape[1]
    buffer = Buffer(data)
    actor, critic_1, critic_2 = Actor(d, a, [256, 256]), Critic(d, a, [256, 256]), Critic(d, a, [256, 256])
    target_actor, target_1, target_2 = map(deepcopy, (actor, critic_1, critic_2))
    actor_adam, adam_1, adam_2 = adam(actor), adam(critic_1), adam(critic_2)
    count = 0

    def step() -> dict[str, float]:
        nonlocal count
        count += 1
        s, a, r, s2, done = buffer.sample()
        log: dict[str, float] = {}
        with torch.no_grad():
            noise = (torch.randn_like(a) * 0.2).clamp(-0.5, 0.5)
            a2 = (target_actor(s2) + noise).clamp(-1, 1)
            target = r + (1 - done) * GAMMA * torch.min(target_1(s2, a2), target_2(s2, a2))
        loss = F.mse_loss(critic_1(s, a), target) + F.mse_loss(critic_2(s, a), target)
        log["critic_loss"] = loss.item()
        descend(loss, adam_1, adam_2)
        if count % 2 == 0:
            pi = actor(s)
            q = critic_1(s, pi)
            scale = 2.5 / q.abs().mean().detach()
            actor_loss = -scale * q.mean() + F.mse_loss(pi, a)
            log["actor_loss"] = actor_loss.item()
            descend(actor_loss, actor_adam)
            follow(target_1, critic_1)
            follow(target_2, critic_2)
            follow(target_actor, actor)
        return log

    return step


def iql(data: Batch) -> Step:
    """IQL (Kostrikov et al., 2022)."""
    d, a = data[0].shape[1], data[1].shape[1]
    buffer = Buffer(data)
    actor, log_std = Actor(d, a, [256, 256]), nn.Parameter(torch.zeros(a))
    value = mlp(d, [256, 256], 1)
    critics = nn.ModuleList([Critic(d, a, [256, 256]), Critic(d, a, [256, 256])])
    targets = deepcopy(critics).requires_grad_(False)
    value_adam, critic_adam = adam(value), adam(critics)
    actor_adam = torch.optim.Adam([*actor.parameters(), log_std], lr=3e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(actor_adam, 1_000_000)

    def step() -> dict[str, float]:
        s, a, r, s2, done = buffer.sample()
        r, done = r.squeeze(-1), done.squeeze(-1)
        log: dict[str, float] = {}
        with torch.no_grad():
            next_v = value(s2).squeeze(-1)
            q = torch.min(targets[0](s, a), targets[1](s, a)).squeeze(-1)
        advantage = q - value(s).squeeze(-1)
        value_loss = (torch.abs(0.7 - (advantage < 0).float()) * advantage**2).mean()
        log["value_loss"] = value_loss.item()
        descend(value_loss, value_adam)
        target = r + (1 - done) * GAMMA * next_v.detach()
        critic_loss = torch.stack([F.mse_loss(critic(s, a).squeeze(-1), target) for critic in critics]).mean()
        log["q_loss"] = critic_loss.item()
        descend(critic_loss, critic_adam)
        follow(targets, critics)
        weight = torch.exp(3.0 * advantage.detach()).clamp(max=100.0)
        policy = torch.distributions.Normal(actor(s), torch.exp(log_std.clamp(-20, 2)))
        actor_loss = torch.mean(-policy.log_prob(a).sum(-1) * weight)
        log["actor_loss"] = actor_loss.item()
        descend(actor_loss, actor_adam)
        schedule.step()
        return log

    return step


def cql(data: Batch) -> Step:
    """CQL(H) with importance sampling, 10 actions of each kind (Kumar et al., 2020)."""
    d, a = data[0].shape[1], data[1].shape[1]
    buffer = Buffer(data)
    hidden, count = [256, 256, 256], 10
    actor = SquashedGaussian(d, a, hidden)
    critic_1, critic_2 = Critic(d, a, hidden), Critic(d, a, hidden)
    target_1, target_2 = map(deepcopy, (critic_1, critic_2))
    log_alpha = nn.Parameter(torch.zeros(1))
    actor_adam, adam_1, adam_2 = adam(actor, lr=1e-4), adam(critic_1), adam(critic_2)
    alpha_adam = torch.optim.Adam([log_alpha], lr=1e-4)

    def many(x: Tensor) -> Tensor:
        return x.unsqueeze(1).repeat(1, count, 1)

    def values(critic: Critic, s: Tensor, actions: Tensor) -> Tensor:
        pairs = many(s).reshape(-1, d), actions.reshape(-1, actions.shape[-1])
        return critic(*pairs).reshape(len(s), count)

    def step() -> dict[str, float]:
        s, a, r, s2, done = buffer.sample()
        log: dict[str, float] = {}
        new, log_prob = actor(s)
        alpha_loss = -(log_alpha * (log_prob - a.shape[1]).detach()).mean()
        alpha = log_alpha.exp()
        actor_loss = (alpha.detach() * log_prob - torch.min(critic_1(s, new), critic_2(s, new))).mean()
        log |= {"alpha_loss": alpha_loss.item(), "actor_loss": actor_loss.item(), "alpha": alpha.item()}
        log |= {"entropy": -log_prob.mean().item()}
        q_1, q_2 = critic_1(s, a), critic_2(s, a)
        with torch.no_grad():
            a2, _ = actor(s2)
            target = r + (1 - done) * GAMMA * torch.min(target_1(s2, a2), target_2(s2, a2))
        error_1, error_2 = F.mse_loss(q_1, target), F.mse_loss(q_2, target)
        uniform = torch.empty(len(s), count, a.shape[1], device=s.device).uniform_(-1, 1)
        with torch.no_grad():
            now, now_log_prob = actor(many(s))
            then, then_log_prob = actor(many(s2))
        density = torch.full((len(s), count), a.shape[1] * torch.tensor(0.5).log().item(), device=s.device)
        kinds = (uniform, density), (then, then_log_prob.squeeze(-1)), (now, now_log_prob.squeeze(-1))
        gaps: list[Tensor] = []
        for critic, q in ((critic_1, q_1), (critic_2, q_2)):
            each = [values(critic, s, actions) - log_density for actions, log_density in kinds]
            log |= {f"q{len(gaps)}_{i}": value.mean().item() for i, value in enumerate(each)}
            log |= {f"std{len(gaps)}": torch.cat(each, 1).std(1).mean().item()}
            gaps.append((torch.logsumexp(torch.cat(each, 1), dim=1) - q.squeeze(-1)).mean())
        loss = error_1 + error_2 + 5.0 * (gaps[0] + gaps[1])
        log |= {"error_1": error_1.item(), "error_2": error_2.item(), "gap_1": gaps[0].item(), "gap_2": gaps[1].item()}
        descend(alpha_loss, alpha_adam)
        actor_adam.zero_grad()
        actor_loss.backward()
        actor_adam.step()
        adam_1.zero_grad()
        adam_2.zero_grad()
        loss.backward()
        adam_1.step()
        adam_2.step()
        follow(target_1, critic_1)
        follow(target_2, critic_2)
        return log

    return step


def soft_ensemble(data: Batch, members: int, eta: float) -> Step:
    """SAC-N, and with eta > 0 EDAC (An et al., 2021)."""
    d, a = data[0].shape[1], data[1].shape[1]
    buffer = Buffer(data)
    hidden = [256, 256, 256]
    actor, critic = SquashedGaussian(d, a, hidden), StackedCritic(d, a, hidden, members)
    target_critic = deepcopy(critic)
    log_alpha = nn.Parameter(torch.zeros(1))
    actor_adam, critic_adam = adam(actor), adam(critic)
    alpha_adam = torch.optim.Adam([log_alpha], lr=3e-4)

    def diversity(s: Tensor, a: Tensor) -> Tensor:
        s = s.unsqueeze(0).repeat_interleave(members, dim=0)
        a = a.unsqueeze(0).repeat_interleave(members, dim=0).requires_grad_(True)
        (gradient,) = torch.autograd.grad(critic(s, a).sum(), a, retain_graph=True, create_graph=True)
        gradient = (gradient / (gradient.norm(p=2, dim=2, keepdim=True) + 1e-10)).transpose(0, 1)
        others = (1 - torch.eye(members, device=s.device)).unsqueeze(0)
        alike = (gradient @ gradient.transpose(1, 2) * others).sum(dim=(1, 2))
        return alike.mean() / (members - 1)

    def step() -> dict[str, float]:
        s, a, r, s2, done = buffer.sample()
        log: dict[str, float] = {}
        with torch.no_grad():
            _, log_prob = actor(s)
        alpha_loss = -(log_alpha * (log_prob - a.shape[1])).mean()
        descend(alpha_loss, alpha_adam)
        alpha = log_alpha.exp().detach()
        new, log_prob = actor(s)
        q = critic(s, new)
        log |= {"alpha_loss": alpha_loss.item(), "q_std": q.std(0).mean().item(), "entropy": -log_prob.mean().item()}
        actor_loss = (alpha * log_prob.squeeze(-1) - q.min(0).values).mean()
        log["actor_loss"] = actor_loss.item()
        descend(actor_loss, actor_adam)
        with torch.no_grad():
            a2, log_prob2 = actor(s2)
            value = target_critic(s2, a2).min(0).values.unsqueeze(-1) - alpha * log_prob2
            target = r + GAMMA * (1 - done) * value
        critic_loss = ((critic(s, a) - target.view(1, -1)) ** 2).mean(dim=1).sum(dim=0)
        if eta > 0:
            critic_loss = critic_loss + eta * diversity(s, a)
        log["critic_loss"] = critic_loss.item()
        descend(critic_loss, critic_adam)
        with torch.no_grad():
            follow(target_critic, critic)
            log["random_std"] = critic(s, -1 + 2 * torch.rand_like(a)).std(0).mean().item()
        return log

    return step


def sac_n(data: Batch) -> Step:
    return soft_ensemble(data, members=10, eta=0.0)


def edac(data: Batch) -> Step:
    return soft_ensemble(data, members=10, eta=1.0)


def rebrac(data: Batch) -> Step:
    """ReBRAC (Tarasov et al., 2023); the dataset's next action is the row's own here: what a step costs is the same."""
    d, a_dim = data[0].shape[1], data[1].shape[1]
    buffer = Buffer(data, 1024)
    following = data[1].clone()
    hidden = [256, 256, 256]
    actor = Actor(d, a_dim, hidden)
    critic_1, critic_2 = Critic(d, a_dim, hidden, norm=True), Critic(d, a_dim, hidden, norm=True)
    target_actor, target_1, target_2 = map(deepcopy, (actor, critic_1, critic_2))
    actor_adam, critic_adam = adam(actor, lr=1e-3), adam(critic_1, critic_2, lr=1e-3)
    count = 0

    def step() -> dict[str, float]:
        nonlocal count
        count += 1
        s, a, r, s2, done = buffer.sample()
        next_action = following[torch.randint(0, len(following), (1024,))]
        log: dict[str, float] = {}
        with torch.no_grad():
            noise = (torch.randn_like(a) * 0.2).clamp(-0.5, 0.5)
            a2 = (target_actor(s2) + noise).clamp(-1, 1)
            distance = ((a2 - next_action) ** 2).sum(-1, keepdim=True)
            value = torch.min(target_1(s2, a2), target_2(s2, a2)) - 0.01 * distance
            target = r + (1 - done) * GAMMA * value
        loss = F.mse_loss(critic_1(s, a), target) + F.mse_loss(critic_2(s, a), target)
        log["critic_loss"] = loss.item()
        descend(loss, critic_adam)
        if count % 2 == 0:
            pi = actor(s)
            q = torch.min(critic_1(s, pi), critic_2(s, pi))
            distance = ((pi - a) ** 2).sum(-1)
            actor_loss = (0.01 * distance - q.squeeze(-1) / q.abs().mean().detach()).mean()
            log |= {"actor_loss": actor_loss.item(), "bc": distance.mean().item(), "q": q.mean().item()}
            descend(actor_loss, actor_adam)
            follow(target_actor, actor)
            follow(target_1, critic_1)
            follow(target_2, critic_2)
        return log

    return step
