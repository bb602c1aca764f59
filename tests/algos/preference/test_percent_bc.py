"""Cloning of the best episodes as a baseline of preference learning: its network, and its dropout."""

from typing import Any

import pytest
import torch

from rlbench import config
from rlbench.algos.offline.bc import best_rows
from rlbench.data.sampling import Batch
from rlbench.errors import UsageError
from tests.algos.helpers import build, descend, exact_and_independent, minibatches, reference, same, synthetic

DATA = synthetic()
DIMS = DATA.observation_dim, DATA.action_dim
SMALL: dict[str, Any] = {"hidden_dims": [32, 16], "batch_size": 32}


def test_matches_reference() -> None:
    algorithm = build("percent_bc", DATA, (0, 5), dropout=0.0, **SMALL)
    actors = [reference(algorithm.params["actor"], k) for k in range(2)]
    first = algorithm.params["actor"]["0.weight"]  # orthogonal, with gain 1 and no bias
    torch.testing.assert_close(first @ first.mT, torch.eye(first.shape[1]).expand(2, -1, -1))
    assert not algorithm.params["actor"]["0.bias"].any()
    algorithm.train(40)
    for k, seed in enumerate((0, 5)):
        draws = minibatches(DATA, seed, 32, best_rows(DATA, 0.1))
        optimizer = torch.optim.Adam(actors[k].parameters(), lr=1e-4)
        for _ in range(40):
            batch = next(draws)
            descend(optimizer, (torch.tanh(actors[k](batch.observation)) - batch.action).square().mean())
        same(actors[k], algorithm.params["actor"], k)


def test_dropout_is_of_training_alone() -> None:
    algorithm = build("percent_bc", DATA, (0, 5), dropout=0.5, **SMALL)
    batch = Batch.of_rows(algorithm.next_batch(), *DIMS)
    losses = [algorithm.loss(algorithm.params["actor"], batch)[0] for _ in range(2)]
    assert (losses[0] != losses[1]).all()
    acted = [algorithm.action(algorithm.params["actor"], batch.observation) for _ in range(2)]
    assert torch.equal(*acted)
    error = (acted[0] - batch.action).square().mean((1, 2))
    without = build("percent_bc", DATA, (0, 5), dropout=0.0, **SMALL)
    assert without.loss(algorithm.params["actor"], batch)[0].tolist() == pytest.approx(error.tolist(), rel=1e-5)


def test_exact_and_independent() -> None:
    exact_and_independent("percent_bc", DATA, **SMALL)


def test_somebody_has_to_stay() -> None:
    """Where all hidden units are left out, what is left is 0 / 0."""
    with pytest.raises(UsageError, match=r"algo.dropout=1.0"):
        config.compose(["algo=percent_bc", "algo.dropout=1.0"])
