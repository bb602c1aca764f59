"""ReBRAC: against a torch.nn reference; which rows know their next action; better than cloning."""

from typing import Any

import numpy as np
import pytest
import torch

from rlbench.algos.offline.rebrac import rows_with_next_action
from rlbench.data.transitions import Transitions
from rlbench.errors import UsageError
from rlbench.rng import SeedStreams
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


def test_data_without_a_second_step_are_refused() -> None:
    data = synthetic()
    table = data.table.copy()
    table[:, -2], table[:, -1] = 0.0, 1.0
    single = Transitions(table, data.observation_dim, data.action_dim, data.card)
    with pytest.raises(UsageError, match="all episodes have one step\nalgo=td3_bc"):
        build("rebrac", single)


def test_matches_reference() -> None:
    data = synthetic()
    settings: dict[str, Any] = {"hidden_dims": [32, 16], "batch_size": 32, "actor_bc_coef": 0.05, "critic_bc_coef": 0.3}
    rebrac = build("rebrac", data, (0, 5), **settings)
    params = rebrac.params
    actors, target_actors = ([reference(params["actor"], k) for k in range(2)] for _ in range(2))
    critics, targets = ([reference(params["critic"], m, layernorm=True) for m in range(4)] for _ in range(2))
    metrics = rebrac.train(20)
    kept = np.flatnonzero(data.truncated == 0)
    actions = torch.tensor(np.concatenate([data.action, data.action[:1]]))
    for k, seed in enumerate((0, 5)):
        noise, draws = SeedStreams((seed,), "policy noise"), minibatches(data, seed, 32, kept)
        pair, pair_targets = critics[2 * k : 2 * k + 2], targets[2 * k : 2 * k + 2]
        actor_optimizer = torch.optim.Adam(actors[k].parameters(), lr=1e-3)
        critic_optimizer = torch.optim.Adam([p for c in pair for p in c.parameters()], lr=1e-3)
        for update in range(1, 21):
            s, a, r, s2, d, index = next(draws)
            with torch.no_grad():
                disturbance = (0.2 * noise.normal(32, 2)[0]).clamp(-0.5, 0.5)
                a2 = (torch.tanh(target_actors[k](s2)) + disturbance).clamp(-1, 1)
                q2 = torch.minimum(*(t(torch.cat([s2, a2], 1)) for t in pair_targets))
                q2 = q2 - 0.3 * ((a2 - actions[index + 1]) ** 2).sum(1, keepdim=True)
                y = r + 0.99 * (1 - d) * q2
            errors = [((c(torch.cat([s, a], 1)) - y) ** 2).mean() for c in pair]
            critic_loss = descend(critic_optimizer, errors[0] + errors[1])
            if update % 2 == 0:
                pi = torch.tanh(actors[k](s))
                q = torch.minimum(*(c(torch.cat([s, pi], 1)) for c in pair))
                penalty = 0.05 * ((pi - a) ** 2).sum(1, keepdim=True)
                actor_loss = descend(actor_optimizer, (penalty - q / q.abs().mean().detach()).mean())
                follow(target_actors[k], actors[k], 0.005)
                for target, critic in zip(pair_targets, pair, strict=True):
                    follow(target, critic, 0.005)
        assert metrics["train/critic_loss"][k].item() == pytest.approx(critic_loss, rel=1e-4)
        assert metrics["train/actor_loss"][k].item() == pytest.approx(actor_loss, rel=1e-4, abs=1e-5)
        same(actors[k], params["actor"], k)
        same(target_actors[k], params["target_actor"], k)
        for m in range(2):
            same(pair[m], params["critic"], 2 * k + m)
            same(pair_targets[m], params["target_critic"], 2 * k + m)


def test_rows_know_their_next_action() -> None:
    """Episodes: 0 1 2 (terminated), 3 4 (cut), 5 6 (recording stopped): rows 4 and 6 have no next action."""
    state = np.arange(7.0)[:, None]
    action = state / 10
    terminated, truncated = np.zeros(7), np.zeros(7)
    terminated[2], truncated[4] = 1, 1
    data = Transitions.of_columns(state, action, np.zeros(7), state + 1, terminated, truncated)
    rows = rows_with_next_action(build("rebrac", data, hidden_dims=[4]).task)
    assert rows[:, 0].tolist() == [0, 1, 2, 3, 5]
    alive = rows[:, -2] == 0
    torch.testing.assert_close(rows[alive, -1], rows[alive, 1] + 0.1)


def test_reaches_the_best_action_where_cloning_does_not() -> None:
    rebrac = build("rebrac", bandit(), hidden_dims=[32, 32], batch_size=256)
    rebrac.train(800)
    assert (greedy(rebrac) - 0.5).abs().max() < 0.1


def test_exact_and_independent() -> None:
    exact_and_independent("rebrac", synthetic(), hidden_dims=[16], batch_size=16)
