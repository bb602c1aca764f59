"""TD3: against a torch.nn reference that plays its own episodes; the best policy of a known problem."""

from typing import Any

import pytest
import torch

from rlbench.rng import SeedStreams
from tests.algos.acting import Episodes
from tests.algos.helpers import build, descend, exact_and_independent, follow, reference, same
from tests.algos.point import POINT

SMALL: dict[str, Any] = {"hidden_dims": [32, 16], "batch_size": 16, "start_steps": 20}


def test_matches_reference() -> None:
    td3 = build("td3", POINT, (0, 5), exploration_noise=0.3, **SMALL)
    params = td3.params
    actors, target_actors = ([reference(params["actor"], k) for k in range(2)] for _ in range(2))
    critics, targets = ([reference(params["critic"], m) for m in range(4)] for _ in range(2))
    metrics = td3.train(60)
    for k, seed in enumerate((0, 5)):
        episodes, noise = Episodes(seed), SeedStreams((seed,), "policy noise")
        actor, pair, pair_targets = actors[k], critics[2 * k : 2 * k + 2], targets[2 * k : 2 * k + 2]
        actor_optimizer = torch.optim.Adam(actor.parameters(), lr=3e-4)
        critic_optimizer = torch.optim.Adam([p for c in pair for p in c.parameters()], lr=3e-4)
        for step in range(1, 61):
            if step <= 20:
                episodes.act(2 * episodes.exploration.uniform(1, 1)[0, 0] - 1)
                continue
            with torch.no_grad():
                action = torch.tanh(actor(episodes.state)) + 0.3 * episodes.exploration.normal(1, 1)[0, 0]
            episodes.act(action.clamp(-1, 1))
            s, a, r, s2, d = episodes.minibatch(16)
            with torch.no_grad():
                disturbance = (0.2 * noise.normal(16, 1)[0]).clamp(-0.5, 0.5)
                a2 = (torch.tanh(target_actors[k](s2)) + disturbance).clamp(-1, 1)
                q2 = torch.minimum(*(t(torch.cat([s2, a2], 1)) for t in pair_targets))
                y = r + 0.99 * (1 - d) * q2
            errors = [((c(torch.cat([s, a], 1)) - y) ** 2).mean() for c in pair]
            critic_loss = descend(critic_optimizer, errors[0] + errors[1])
            if step % 2 == 0:
                actor_loss = descend(actor_optimizer, -pair[0](torch.cat([s, torch.tanh(actor(s))], 1)).mean())
                follow(target_actors[k], actor, 0.005)
                for target, critic in zip(pair_targets, pair, strict=True):
                    follow(target, critic, 0.005)
        assert metrics["train/critic_loss"][k].item() == pytest.approx(critic_loss, rel=1e-4)
        assert metrics["train/actor_loss"][k].item() == pytest.approx(actor_loss, rel=1e-4, abs=1e-5)
        assert metrics["train/return"][k].item() == pytest.approx(episodes.last_return, rel=1e-5)
        same(actor, params["actor"], k)
        for m in range(2):
            same(pair[m], params["critic"], 2 * k + m)
            same(pair_targets[m], params["target_critic"], 2 * k + m)


def test_actor_waits_for_its_turn_whatever_the_chunks() -> None:
    td3 = build("td3", POINT, policy_freq=3, **SMALL)
    td3.train(20)
    moved = []
    for _ in range(9):
        before = td3.params["actor"]["0.weight"].clone()
        td3.train(1)
        moved.append(not torch.equal(before, td3.params["actor"]["0.weight"]))
    assert [20 + i for i, change in enumerate(moved, start=1) if change] == [21, 24, 27]


def test_learns_the_best_policy() -> None:
    """Each of three seeds loses less than a tenth of what doing nothing loses."""
    rates: dict[str, Any] = dict.fromkeys(("actor_learning_rate", "critic_learning_rate"), 1e-3)
    small: dict[str, Any] = {"hidden_dims": [32, 32], "batch_size": 64, "start_steps": 200, "tau": 0.02}
    td3 = build("td3", POINT, (0, 1, 2), steps=2000, **small, **rates)
    td3.train(2000)
    best = td3.task.evaluate(lambda state: (-2 * state).clamp(-1, 1))["eval/return"]
    idle = td3.task.evaluate(torch.zeros_like)["eval/return"]
    reached = td3.evaluate()["eval/return"]
    assert (best - idle > 1.0).all()
    assert (best - reached < 0.1 * (best - idle)).all(), (best, reached)


def test_exact_and_independent() -> None:
    exact_and_independent("td3", POINT, (23, 18), hidden_dims=[16], batch_size=8, start_steps=15)
