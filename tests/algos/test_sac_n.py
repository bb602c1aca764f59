"""SAC-N: against a torch.nn reference; better than cloning."""

from typing import Any

import pytest
import torch

from tests.algos.helpers import bandit, build, descend, exact_and_independent, greedy, synthetic
from tests.algos.soft import PlainSAC


def test_matches_reference() -> None:
    data = synthetic()
    sac_n = build("sac_n", data, (0, 5), hidden_dims=[32, 16], batch_size=32, num_critics=4)
    plains = [PlainSAC(sac_n, data, k, seed, 32) for k, seed in enumerate((0, 5))]
    metrics = sac_n.train(40)
    for k, plain in enumerate(plains):
        plain.optimise(3e-4, 3e-4, 3e-4)
        for _ in range(40):
            batch = next(plain.draws)
            y = plain.target(batch, entropy=True)
            pairs = torch.cat([batch.observation, batch.action], 1)
            loss = torch.stack([((c(pairs) - y) ** 2).mean() for c in plain.critics]).sum()
            critic_loss = descend(plain.critic_optimizer, loss)
            actor_loss = plain.update_actor(batch)
            plain.follow()
        assert metrics["train/critic_loss"][k].item() == pytest.approx(critic_loss, rel=1e-4)
        assert metrics["train/actor_loss"][k].item() == pytest.approx(actor_loss, rel=1e-4)
        plain.check(sac_n.params)


def test_reaches_the_best_action_where_cloning_does_not() -> None:
    rates: dict[str, Any] = dict.fromkeys(("actor_learning_rate", "critic_learning_rate", "alpha_learning_rate"), 3e-3)
    sac_n = build("sac_n", bandit(scale=4.0), hidden_dims=[32, 32], num_critics=3, **rates)
    sac_n.train(800)
    assert (greedy(sac_n) - 0.5).abs().max() < 0.15


def test_exact_and_independent() -> None:
    exact_and_independent("sac_n", synthetic(), hidden_dims=[16], batch_size=16, num_critics=3)
