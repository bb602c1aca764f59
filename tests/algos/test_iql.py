"""IQL: against a torch.nn reference, and its closed forms."""

from typing import Any

import numpy as np
import pytest
import torch

from rlbench.algos.implicit_q import expectile_loss
from rlbench.algos.offline.iql import normalized_rewards
from rlbench.data.sampling import Batch
from rlbench.data.transitions import Transitions
from rlbench.errors import UsageError
from tests.algos.helpers import (
    bandit,
    build,
    descend,
    exact_and_independent,
    follow,
    greedy,
    minibatches,
    reference,
    same,
    synthetic,
)

UPDATES = 40


def reference_run(iql: Any, data: Transitions, k: int, seed: int, policy: str, scale: float) -> dict[str, float]:
    """IQL of one seed from the same first weights; returns the last losses after checking the last weights."""
    start = iql.start
    actor, value = reference(start["actor"], k), reference(start["value"], k)
    critics, targets = ([reference(start["critic"], 2 * k + m) for m in range(2)] for _ in range(2))
    log_std = torch.zeros(data.action_dim, requires_grad=True)
    actor_optimizer = torch.optim.Adam([*actor.parameters(), *([log_std] if policy == "gaussian" else [])], lr=3e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(actor_optimizer, T_max=iql.task.steps)
    value_optimizer = torch.optim.Adam(value.parameters(), lr=3e-4)
    critic_optimizer = torch.optim.Adam([p for c in critics for p in c.parameters()], lr=3e-4)
    draws = minibatches(data, seed, 32)
    losses = {}
    for _ in range(UPDATES):
        s, a, r, s2, d, _ = next(draws)
        with torch.no_grad():
            q = torch.minimum(*(t(torch.cat([s, a], 1)) for t in targets))
        u = q - value(s)
        losses["train/value_loss"] = descend(value_optimizer, (torch.abs(0.8 - (u < 0).float()) * u**2).mean())
        with torch.no_grad():
            weight = torch.exp(2.0 * (q - value(s))).clamp(max=1.5)
            y = r * scale + 0.99 * (1 - d) * value(s2)
        mean = torch.tanh(actor(s))
        if policy == "gaussian":
            error = -torch.distributions.Normal(mean, log_std.exp()).log_prob(a).sum(1, keepdim=True)
        else:
            error = ((mean - a) ** 2).sum(1, keepdim=True)
        losses["train/actor_loss"] = descend(actor_optimizer, (weight * error).mean())
        schedule.step()
        errors = [((c(torch.cat([s, a], 1)) - y) ** 2).mean() for c in critics]
        losses["train/critic_loss"] = descend(critic_optimizer, errors[0] + errors[1])
        for target, critic in zip(targets, critics, strict=True):
            follow(target, critic, 0.005)
    same(actor, iql.params["actor"], k)
    same(value, iql.params["value"], k)
    for m in range(2):
        same(critics[m], iql.params["critic"], 2 * k + m)
        same(targets[m], iql.params["target"], 2 * k + m)
    if policy == "gaussian":
        torch.testing.assert_close(iql.params["actor"]["log_std"][k, 0], log_std.detach(), rtol=0, atol=1e-5)
    return losses


@pytest.mark.parametrize("policy", ["gaussian", "deterministic"])
@pytest.mark.parametrize("normalize", [True, False])
def test_matches_reference(policy: str, normalize: bool) -> None:
    data = synthetic()
    settings: dict[str, Any] = {"hidden_dims": [32, 16], "batch_size": 32, "expectile": 0.8, "temperature": 2.0}
    settings |= {"advantage_max": 1.5, "policy": policy, "normalize_rewards": normalize}
    iql = build("iql", data, (0, 5), steps=60, **settings)
    iql.start = {name: {k: v.clone() for k, v in params.items()} for name, params in iql.params.items()}
    metrics = iql.train(UPDATES)
    returns = data.reward.reshape(30, 20).sum(1)
    scale = 1000 / float(returns.max() - returns.min()) if normalize else 1.0
    for k, seed in enumerate((0, 5)):
        for name, loss in reference_run(iql, data, k, seed, policy, scale).items():
            assert metrics[name][k].item() == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize("expectile", [0.5, 0.7, 0.9])
def test_expectile_of_a_uniform_distribution(expectile: float) -> None:
    """The tau-expectile e of U(0, 1) solves tau (1 - e)^2 = (1 - tau) e^2."""
    q = (torch.arange(10000) + 0.5) / 10000
    v = torch.tensor(0.0, requires_grad=True)
    optimizer = torch.optim.SGD([v], lr=0.5)
    for _ in range(200):
        descend(optimizer, expectile_loss(q - v, expectile).mean())
    root = np.sqrt(expectile) / (np.sqrt(expectile) + np.sqrt(1 - expectile))
    assert v.item() == pytest.approx(root, abs=1e-4)


def test_value_is_the_expectile_of_the_rewards() -> None:
    """In a bandit Q = r, so V is the expectile of the rewards of the dataset's actions."""
    data = bandit(scale=4.0)
    settings: dict[str, Any] = {"hidden_dims": [32, 32], "expectile": 0.8, "normalize_rewards": False, "tau": 0.05}
    iql = build("iql", data, value_learning_rate=3e-3, critic_learning_rate=3e-3, **settings)
    iql.train(1000)
    with torch.no_grad():
        v = iql.value(iql.params["value"], torch.linspace(-1, 1, 9)[None, :, None]).mean().item()
    reward = torch.tensor(data.reward, dtype=torch.float64)
    low, high = reward.min().item(), 0.0
    for _ in range(60):
        middle = (low + high) / 2
        u = reward - middle
        high, low = (middle, low) if (torch.where(u < 0, 0.2, 0.8) * u).mean() < 0 else (high, middle)
    assert v == pytest.approx(low, abs=0.1)


@pytest.mark.parametrize("policy", ["gaussian", "deterministic"])
def test_policy_is_the_advantage_weighted_mean(policy: str) -> None:
    """With Q = r the policy's mean is E[exp(beta r) a] / E[exp(beta r)]: near the best, 0.5, where cloning gives 0."""
    data = bandit(scale=4.0)
    settings: dict[str, Any] = {"hidden_dims": [32, 32], "policy": policy, "normalize_rewards": False, "tau": 0.05}
    rates: dict[str, Any] = dict.fromkeys(("actor_learning_rate", "critic_learning_rate", "value_learning_rate"), 3e-3)
    iql = build("iql", data, steps=1500, temperature=3.0, **rates, **settings)
    iql.train(1500)
    weight = np.exp(3.0 * data.reward)
    expected = float((weight * data.action[:, 0]).sum() / weight.sum())
    assert expected > 0.4
    np.testing.assert_allclose(greedy(iql).numpy(), expected, atol=0.08)


def test_advantage_weights_are_capped() -> None:
    iql = build("iql", synthetic(), hidden_dims=[8], batch_size=4, advantage_max=5.0, temperature=2.0)
    batch = Batch.of_rows(iql.minibatches.next(), 4, 2)
    _, metrics = iql.actor_loss(iql.params["actor"], batch, torch.tensor([[[0.0], [0.5], [-1.0], [100.0]]]))
    expected = (1 + np.exp(1.0) + np.exp(-2.0) + 5.0) / 4
    assert metrics["train/advantage_weight"].mean().item() == pytest.approx(expected, rel=1e-6)


def test_rewards_span_a_thousand() -> None:
    data = synthetic()
    returns = normalized_rewards(data).reshape(30, 20).sum(1)
    assert (returns.max() - returns.min()).item() == pytest.approx(1000, rel=1e-5)


def test_equal_returns_cannot_be_normalised() -> None:
    state = np.zeros((4, 1))
    data = Transitions.of_columns(state, state, np.ones(4), state, np.array([0, 1, 0, 1]), np.zeros(4))
    with pytest.raises(UsageError, match="normalize_rewards=false"):
        build("iql", data, normalize_rewards=True)


def test_exact_and_independent() -> None:
    exact_and_independent("iql", synthetic(), hidden_dims=[16], batch_size=16)


def test_rewards_are_shifted_after_they_are_scaled() -> None:
    data = synthetic()
    shifted, plain = (build("iql", data, reward_shift=shift).minibatches.next() for shift in (-1.0, 0.0))
    reward = data.observation_dim + data.action_dim
    torch.testing.assert_close(shifted[..., reward], plain[..., reward] - 1, rtol=0, atol=0)
