"""The learners, update for update, against plain torch.nn; what P-IQL learns from; dropout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rlbench import config
from rlbench.build import build
from rlbench.data.segments import write
from rlbench.rng import SeedStreams
from tests.algos.helpers import descend, follow, reference, same

UPDATES = 12


@pytest.fixture
def segments(tmp_path: Path) -> Path:
    """Twenty segments of five steps in env=disc2d, whose oracle likes the first action to be large."""
    rng = np.random.default_rng(0)
    action = rng.uniform(-1, 1, (20, 5, 2))
    arrays = {"obs": rng.normal(size=(20, 5, 2)), "action": action, "reward": np.zeros((20, 5))}
    path = tmp_path / "segments.npz"
    write(path, {**arrays, "rl_sum": action[..., 0].sum(1)}, {})
    return path


def learner(path: Path, algo: str, *words: str) -> Any:
    run = [f"algo={algo}", "env=disc2d", f"dataset=pref_segments:{path}", "steps=100", "seeds=2"]
    small = ["algo.batch_size=8", "algo.hidden_dims=[16]", "algo.learning_rate=0.003"]
    return build(config.compose([*run, *small, "tracking=disabled", *words]))[0]


def draws(like: Any, seed: int) -> Any:
    """The minibatches that a seed is to draw."""
    batches = like.minibatches
    batches.rng = SeedStreams((seed,), "minibatches")
    while True:
        yield batches.split(batches.next())


def log_probs(actor: torch.nn.Module, pairs: Any) -> Tensor:
    return -(torch.tanh(actor(pairs.observation[0])) - pairs.action[0]).square().sum(-1)


@pytest.mark.parametrize("algo", ["cpl", "cpl_kl", "cpl_bc"])
def test_cpl_matches_reference(segments: Path, algo: str) -> None:
    words = ["algo.dropout=0", "algo.bc_steps=5", "algo.warmup_steps=4", "algo.gamma=0.9"]
    cpl = learner(segments, algo, *words)
    actors = [reference(cpl.params["actor"], k) for k in range(2)]
    weights = cpl.params["actor"]["0.weight"][1]
    torch.testing.assert_close(weights @ weights.T, torch.eye(2), atol=1e-5, rtol=0)
    metrics = cpl.train(UPDATES)
    alpha, bias, coefficient = {"cpl": (0.1, 0.5, 0.0), "cpl_kl": (0.2, 0.75, 0.0), "cpl_bc": (0.1, 1.0, 1.0)}[algo]
    for k, actor in enumerate(actors):
        batches = draws(learner(segments, algo, *words), k)
        optimizer, old = torch.optim.Adam(actor.parameters(), lr=0.003), None
        for step in range(UPDATES):
            pairs = next(batches)
            lp = log_probs(actor, pairs)
            cloned = -lp.mean()
            if step < 5:
                descend(optimizer, cloned)
                continue
            if step == 5:
                optimizer = torch.optim.Adam(actor.parameters())
                old = reference(cpl.params["reference"], k) if algo == "cpl_kl" else None
            optimizer.param_groups[0]["lr"] = 0.003 * (0.1 if algo == "cpl_kl" else 1.0) * min(1, (step - 5) / 4)
            relative = lp - log_probs(old, pairs).detach() if old else lp
            first, second = (alpha * relative @ 0.9 ** torch.arange(5.0)).chunk(2)
            y = pairs.label[0]
            likely = y * second.exp() / (second.exp() + (bias * first).exp())
            likely = likely + (1 - y) * first.exp() / (first.exp() + (bias * second).exp())
            tie = y == 0.5  # a half of each logarithm, not the logarithm of half of each
            halves = (second.exp() / (second.exp() + (bias * first).exp())).log()
            halves = (halves + (first.exp() / (first.exp() + (bias * second).exp())).log()) / 2
            contrast = -torch.where(tie, halves, likely.log()).mean()
            descend(optimizer, contrast + coefficient * cloned)
        assert metrics["train/cpl_loss"][k].item() == pytest.approx(contrast.item(), rel=1e-4)
        same(actor, cpl.params["actor"], k)


def test_the_reward_of_p_iql_matches_reference(segments: Path) -> None:
    """It stands still after `reward_steps`; its last bias, which has no gradient but rounding, all the while."""
    words = ["algo.dropout=0", "algo.reward_steps=7"]
    piql = learner(segments, "piql", *words)
    rewards = [reference(piql.params["reward"], k) for k in range(2)]
    assert "train/reward_loss" in piql.train(7)
    assert "train/reward_loss" not in piql.train(3)
    for k, reward in enumerate(rewards):
        batches = draws(learner(segments, "piql", *words), k)
        optimizer = torch.optim.Adam(reward.parameters(), lr=0.003)
        for _ in range(7):
            pairs = next(batches)
            first, second = reward(torch.cat([pairs.observation[0], pairs.action[0]], -1))[..., 0].sum(1).chunk(2)
            descend(optimizer, F.binary_cross_entropy_with_logits(second - first, pairs.label[0]))
        weights = [part for name, part in reward.named_parameters() if name.endswith("weight")]
        for name, weight in zip(("0.weight", "1.weight"), weights, strict=True):
            torch.testing.assert_close(piql.params["reward"][name][k].T, weight.detach(), rtol=0, atol=1e-5)
        assert piql.params["reward"]["1.bias"][k].item() == 0.0


def test_the_rest_of_p_iql_matches_reference(segments: Path) -> None:
    """Value, actor, critics, targets, in this order, from a reward that is frozen."""
    words = ["algo.dropout=0", "algo.reward_steps=0"]
    piql = learner(segments, "piql", *words)
    start = {name: {key: value.clone() for key, value in params.items()} for name, params in piql.params.items()}
    piql.train(UPDATES)
    for k in range(2):
        actor, value, reward = (reference(start[name], k) for name in ("actor", "value", "reward"))
        critics, targets = ([reference(start["critic"], 2 * k + m) for m in range(2)] for _ in range(2))
        parts = actor, value, torch.nn.ModuleList(critics)
        actor_step, value_step, critic_step = (torch.optim.Adam(part.parameters(), lr=0.003) for part in parts)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(actor_step, T_max=100)
        batches = draws(learner(segments, "piql", *words), k)
        for _ in range(UPDATES):
            pairs = next(batches)
            state, following = pairs.observation[0][:, :-1], pairs.observation[0][:, 1:]
            acted = torch.cat([state, pairs.action[0][:, :-1]], -1)
            with torch.no_grad():
                q = torch.min(targets[0](acted), targets[1](acted))
            error = q - value(state)
            descend(value_step, (torch.where(error < 0, 0.3, 0.7) * error.square()).mean())
            with torch.no_grad():
                weight = (3 * (q - value(state))).exp().clamp(max=100)
                goal = reward(acted) + 0.99 * value(following)
            far = (torch.tanh(actor(state)) - pairs.action[0][:, :-1]).square().sum(-1, keepdim=True)
            descend(actor_step, (weight * far).mean())
            schedule.step()
            descend(
                critic_step, (critics[0](acted) - goal).square().mean() + (critics[1](acted) - goal).square().mean()
            )
            for target, critic in zip(targets, critics, strict=True):
                follow(target, critic, 0.005)
        same(actor, piql.params["actor"], k)
        same(value, piql.params["value"], k)
        for m in range(2):
            same(critics[m], piql.params["critic"], 2 * k + m)
            same(targets[m], piql.params["target"], 2 * k + m)


def test_dropout_is_of_training_alone(segments: Path) -> None:
    made = learner(segments, "cpl", "algo.dropout=0.5")
    states = torch.randn(2, 4000, 2, generator=torch.Generator().manual_seed(0))
    params = made.actor_params
    torch.testing.assert_close(made.action(params, states), made.action(params, states), rtol=0, atol=0)
    tried = [made.actor.dropped(params, states, made.noise) for _ in range(2)]
    assert (tried[0] != tried[1]).float().mean() > 0.9
    relative = learner(segments, "cpl_kl", "algo.dropout=0.5", "algo.bc_steps=1")
    relative.train(2)
    pairs = relative.minibatches.split(relative.next_batch())
    assert torch.equal(relative.reference(pairs), relative.reference(pairs))
