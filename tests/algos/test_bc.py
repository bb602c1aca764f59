"""BC: against a torch.nn reference, on a linear policy, and which episodes it clones."""

import numpy as np
import pytest
import torch

from rlbench.algos.offline.bc import best_rows
from rlbench.data.transitions import Transitions
from tests.algos.helpers import build, descend, exact_and_independent, minibatches, reference, same, synthetic


@pytest.mark.parametrize("fraction", [1.0, 0.3])
def test_matches_reference(fraction: float) -> None:
    data = synthetic()
    bc = build("bc", data, (0, 5), hidden_dims=[32, 16], batch_size=32, best_fraction=fraction)
    actors = [reference(bc.params["actor"], k) for k in range(2)]
    metrics = bc.train(40)
    order = np.argsort([-data.reward[20 * e : 20 * e + 20].sum() for e in range(30)])
    kept = np.concatenate([np.arange(20 * e, 20 * e + 20) for e in sorted(order[: int(30 * fraction)])])
    mean, std = data.observation[kept].mean(0), data.observation[kept].std(0)
    for k, seed in enumerate((0, 5)):
        draws = minibatches(data, seed, 32, kept)
        optimizer = torch.optim.Adam(actors[k].parameters(), lr=3e-4)
        for _ in range(40):
            batch = next(draws)
            state = (batch.observation - torch.tensor(mean)) / (torch.tensor(std) + 1e-3)
            loss = descend(optimizer, (torch.tanh(actors[k](state)) - batch.action).square().mean())
        assert metrics["train/actor_loss"][k].item() == pytest.approx(loss, rel=1e-4)
        same(actors[k], bc.params["actor"], k)


def test_recovers_a_linear_policy() -> None:
    rng = np.random.default_rng(0)
    state = rng.normal(3.0, 2.0, (4000, 3))
    weights = np.array([[0.1, -0.2], [0.05, 0.1], [-0.1, 0.02]])
    zeros = np.zeros(len(state))
    data = Transitions.of_columns(state, np.tanh(state @ weights), zeros, state, zeros, zeros)
    bc = build("bc", data, hidden_dims=[64], learning_rate=3e-3)
    bc.train(1500)
    new = rng.normal(3.0, 2.0, (500, 3))
    observation = torch.tensor(new, dtype=torch.float32)[None]
    with torch.no_grad():
        action = bc.action(bc.actor_params, bc.task.features(observation))[0].numpy()
    error = action - np.tanh(new @ weights)
    assert np.sqrt((error**2).mean()) < 0.02


def test_best_rows_are_those_of_the_best_episodes() -> None:
    lengths, returns = [3, 1, 4, 2], [1.0, 5.0, -2.0, 4.0]
    ends = np.cumsum(lengths) - 1
    reward, last = np.zeros(10), np.zeros(10)
    reward[ends], last[ends] = returns, 1
    state = np.zeros((10, 1))
    data = Transitions.of_columns(state, state, reward, state, last, np.zeros(10))
    assert best_rows(data, 0.5).tolist() == [3, 8, 9]
    assert best_rows(data, 0.75).tolist() == [0, 1, 2, 3, 8, 9]
    assert best_rows(data, 0.0).tolist() == [3]


def test_exact_and_independent() -> None:
    exact_and_independent("bc", synthetic(), hidden_dims=[16], batch_size=16)
