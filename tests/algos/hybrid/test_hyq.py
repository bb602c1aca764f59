"""Hy-Q: against a torch.nn reference that draws half of each minibatch from either source; what it needs data for."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from rlbench.data.transitions import Transitions
from rlbench.envs.control import Control
from rlbench.rng import SeedStreams
from tests.algos.acting import Episodes
from tests.algos.helpers import build, descend, exact_and_independent, follow, minibatches, reference, same
from tests.algos.hybrid.halves import halves
from tests.algos.point import POINT, recorded

DATA = recorded()
SMALL: dict[str, Any] = {"hidden_dims": [32, 16], "batch_size": 16, "start_steps": 20}


def test_matches_reference() -> None:
    hyq = build("hyq", DATA, (0, 5), env=POINT, exploration_noise=0.3, reward_shift=-0.5, **SMALL)
    params = hyq.params
    actors, target_actors = ([reference(params["actor"], k) for k in range(2)] for _ in range(2))
    critics, targets = ([reference(params["critic"], m) for m in range(4)] for _ in range(2))
    metrics = hyq.train(60)
    for k, seed in enumerate((0, 5)):
        episodes, noise = Episodes(seed), SeedStreams((seed,), "policy noise")
        draws = minibatches(DATA, seed, 8, purpose="offline minibatches")
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
            s, a, r, s2, d, _ = halves(episodes, draws)
            with torch.no_grad():
                disturbance = (0.2 * noise.normal(16, 1)[0]).clamp(-0.5, 0.5)
                a2 = (torch.tanh(target_actors[k](s2)) + disturbance).clamp(-1, 1)
                q2 = torch.minimum(*(t(torch.cat([s2, a2], 1)) for t in pair_targets))
                y = r - 0.5 + 0.99 * (1 - d) * q2
            errors = [((c(torch.cat([s, a], 1)) - y) ** 2).mean() for c in pair]
            critic_loss = descend(critic_optimizer, errors[0] + errors[1])
            if step % 2 == 0:
                actor_loss = descend(actor_optimizer, -pair[0](torch.cat([s, torch.tanh(actor(s))], 1)).mean())
                follow(target_actors[k], actor, 0.005)
                for target, critic in zip(pair_targets, pair, strict=True):
                    follow(target, critic, 0.005)
        assert metrics["train/critic_loss"][k].item() == pytest.approx(critic_loss, rel=1e-4)
        assert metrics["train/actor_loss"][k].item() == pytest.approx(actor_loss, rel=1e-4, abs=1e-5)
        same(actor, params["actor"], k)
        for m in range(2):
            same(pair[m], params["critic"], 2 * k + m)
            same(pair_targets[m], params["target_critic"], 2 * k + m)


class Corridor(gymnasium.Env[np.ndarray, np.ndarray]):
    """x' = x + a / 10 from x = -1 on; the only reward, 1, and the end are beyond 0.8: 18 steps of 1 away."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.x = np.full(1, -1.0, dtype=np.float32)
        return self.x.copy(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.x = np.clip(self.x + action / 10, -1, 1).astype(np.float32)
        there = bool(self.x[0] > 0.8)
        return self.x.copy(), float(there), there, False, {}


gymnasium.register("Corridor-v0", f"{__name__}:Corridor", max_episode_steps=40)


def test_finds_by_data_what_luck_does_not() -> None:
    """The way to the end of a corridor, of which the data hold single steps of random actions: TD3 never sees it."""
    rng = np.random.default_rng(0)
    state, action = rng.uniform(-1, 1, (2, 500, 1))
    following = np.clip(state + action / 10, -1, 1)
    there = following[:, 0] > 0.8
    data = Transitions.of_columns(state, action, there, following, there, ~there)
    small: dict[str, Any] = {"hidden_dims": [32, 32], "batch_size": 64, "start_steps": 100, "tau": 0.02}
    rates: dict[str, Any] = {"actor_learning_rate": 1e-3, "critic_learning_rate": 1e-3}
    env = Control("corridor", f"{__name__}:Corridor-v0")
    hyq, td3 = build("hyq", data, (0, 1, 2), env=env, **small, **rates), build("td3", env, (0, 1, 2), **small, **rates)
    hyq.train(800)
    td3.train(800)
    assert (hyq.evaluate()["eval/return"] == 1).sum() >= 2  # an actor may be stuck where tanh is flat
    assert (td3.evaluate()["eval/return"] == 0).all()


def test_exact_and_independent() -> None:
    exact_and_independent("hyq", DATA, (23, 18), env=POINT, hidden_dims=[16], batch_size=8, start_steps=15)
