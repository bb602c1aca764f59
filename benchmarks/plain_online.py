"""Plain loops of SAC and TD3 in the manner of CleanRL: see `benchmarks.plain`. A step is one of the environment."""

from __future__ import annotations

from copy import deepcopy

import gymnasium
import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.plain import GAMMA, Actor, Critic, SquashedGaussian, Step, adam, descend, follow

WARM_UP, BATCH, CAPACITY = 300, 256, 1_000_000


class Replay:
    """Numpy arrays; a minibatch is copied to tensors."""

    def __init__(self, d: int, a: int) -> None:
        self.arrays = [np.zeros((CAPACITY, width), dtype=np.float32) for width in (d, a, 1, d, 1)]
        self.count = 0

    def add(self, *values: ArrayLike) -> None:
        for array, value in zip(self.arrays, values, strict=True):
            array[self.count % CAPACITY] = value
        self.count += 1

    def sample(self) -> list[Tensor]:
        index = np.random.default_rng().integers(0, min(self.count, CAPACITY), BATCH)
        return [torch.tensor(array[index]) for array in self.arrays]


class Acting:
    """One environment in a vector of one, and its replay."""

    def __init__(self, env: str) -> None:
        self.envs = gymnasium.vector.SyncVectorEnv([lambda: gymnasium.make(env)])
        self.state, _ = self.envs.reset(seed=0)
        self.dims = self.state.shape[-1], self.envs.action_space.sample().shape[-1]
        self.replay = Replay(*self.dims)

    def step(self, action: np.ndarray) -> None:
        following, reward, terminated, _, _ = self.envs.step(action)
        self.replay.add(self.state, action, reward, following, terminated)
        self.state = following

    def tensor(self) -> Tensor:
        return torch.tensor(self.state, dtype=torch.float32)


def sac(env: str = "Hopper-v4") -> Step:
    """SAC (Haarnoja et al., 2018); as in CleanRL, two updates of the policy in every second step."""
    acting = Acting(env)
    d, a_dim = acting.dims
    actor = SquashedGaussian(d, a_dim, [256, 256])
    critic_1, critic_2 = Critic(d, a_dim, [256, 256]), Critic(d, a_dim, [256, 256])
    target_1, target_2 = map(deepcopy, (critic_1, critic_2))
    log_alpha = nn.Parameter(torch.zeros(1))
    critic_adam, actor_adam = adam(critic_1, critic_2, lr=1e-3), adam(actor)
    alpha_adam = torch.optim.Adam([log_alpha], lr=1e-3)
    count = 0

    def step() -> dict[str, float]:
        nonlocal count
        count += 1
        if count <= WARM_UP:
            acting.step(acting.envs.action_space.sample())
            return {}
        acting.step(actor(acting.tensor())[0].detach().numpy())
        s, a, r, s2, done = acting.replay.sample()
        alpha = log_alpha.exp().item()
        with torch.no_grad():
            a2, log_prob2 = actor(s2)
            value = torch.min(target_1(s2, a2), target_2(s2, a2)) - alpha * log_prob2
            target = r + (1 - done) * GAMMA * value
        loss = F.mse_loss(critic_1(s, a), target) + F.mse_loss(critic_2(s, a), target)
        descend(loss, critic_adam)
        if count % 2 == 0:
            for _ in range(2):
                new, log_prob = actor(s)
                q = torch.min(critic_1(s, new), critic_2(s, new))
                descend((alpha * log_prob - q).mean(), actor_adam)
                with torch.no_grad():
                    _, log_prob = actor(s)
                descend((-log_alpha.exp() * (log_prob - a_dim)).mean(), alpha_adam)
                alpha = log_alpha.exp().item()
        follow(target_1, critic_1)
        follow(target_2, critic_2)
        return {"loss": loss.item()} if count % 100 == 0 else {}

    return step


def td3(env: str = "Hopper-v4") -> Step:
    """TD3 (Fujimoto et al., 2018)."""
    acting = Acting(env)
    d, a_dim = acting.dims
    actor = Actor(d, a_dim, [256, 256])
    critic_1, critic_2 = Critic(d, a_dim, [256, 256]), Critic(d, a_dim, [256, 256])
    target_actor, target_1, target_2 = map(deepcopy, (actor, critic_1, critic_2))
    critic_adam, actor_adam = adam(critic_1, critic_2), adam(actor)
    count = 0

    def step() -> dict[str, float]:
        nonlocal count
        count += 1
        if count <= WARM_UP:
            acting.step(acting.envs.action_space.sample())
            return {}
        with torch.no_grad():
            action = actor(acting.tensor())
            action += torch.normal(0.0, 0.1, action.shape)
        acting.step(action.numpy().clip(-1, 1))
        s, a, r, s2, done = acting.replay.sample()
        with torch.no_grad():
            a2 = (target_actor(s2) + (torch.randn_like(a) * 0.2).clamp(-0.5, 0.5)).clamp(-1, 1)
            target = r + (1 - done) * GAMMA * torch.min(target_1(s2, a2), target_2(s2, a2))
        loss = F.mse_loss(critic_1(s, a), target) + F.mse_loss(critic_2(s, a), target)
        descend(loss, critic_adam)
        if count % 2 == 0:
            descend(-critic_1(s, actor(s)).mean(), actor_adam)
            follow(target_actor, actor)
            follow(target_1, critic_1)
            follow(target_2, critic_2)
        return {"loss": loss.item()} if count % 100 == 0 else {}

    return step
