"""Hy-Q: against a torch.nn reference that draws half of each minibatch from either source; what it needs data for."""

from functools import partial
from typing import Any

import gymnasium
import numpy as np

from rlbench.data.transitions import Transitions
from rlbench.envs.control import Control
from tests.algos.delayed import PlainTD3
from tests.algos.helpers import build, exact_and_independent, minibatches
from tests.algos.hybrid.halves import halves
from tests.algos.point import POINT, recorded

DATA = recorded()
SMALL: dict[str, Any] = {"hidden_dims": [32, 16], "batch_size": 16, "start_steps": 20}


def test_matches_reference() -> None:
    hyq = build("hyq", DATA, (0, 5), env=POINT, exploration_noise=0.3, reward_shift=-0.5, **SMALL)
    plains = [PlainTD3(hyq, k, seed) for k, seed in enumerate((0, 5))]
    metrics = hyq.train(60)
    for plain, seed in zip(plains, (0, 5), strict=True):
        draws = minibatches(DATA, seed, 8, purpose="offline minibatches")
        plain.train(60, partial(halves, draws=draws), shift=-0.5)
        plain.check(metrics, hyq.params)


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
