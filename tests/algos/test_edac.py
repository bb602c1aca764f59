"""EDAC: against a torch.nn reference member by member; the similarity of known critics; better than cloning."""

from typing import Any

import pytest
import torch

from rlbench.algos.offline.edac import similarity
from rlbench.errors import UsageError
from tests.algos.helpers import bandit, build, descend, exact_and_independent, greedy, synthetic
from tests.algos.soft import PlainSAC


def test_matches_reference() -> None:
    data = synthetic()
    edac = build("edac", data, (0, 5), hidden_dims=[32, 16], batch_size=32, num_critics=4, eta=2.0)
    plains = [PlainSAC(edac, data, k, seed, 32) for k, seed in enumerate((0, 5))]
    metrics = edac.train(20)
    for k, plain in enumerate(plains):
        plain.optimise(3e-4, 3e-4, 3e-4)
        for _ in range(20):
            batch = next(plain.draws)
            y = plain.target(batch, entropy=True)
            units, loss = [], torch.tensor(0.0)
            for critic in plain.critics:
                action = batch.action.clone().requires_grad_()
                q = critic(torch.cat([batch.observation, action], 1))
                loss = loss + ((q - y) ** 2).mean()
                (gradient,) = torch.autograd.grad(q.sum(), action, create_graph=True)
                units.append(gradient / gradient.norm(dim=1, keepdim=True))
            alike = torch.tensor(0.0)
            for i in range(4):
                for j in range(4):
                    if i != j:
                        alike = alike + (units[i] * units[j]).sum(1).mean() / 3
            descend(plain.critic_optimizer, loss + 2.0 * alike)
            actor_loss = plain.update_actor(batch)
            plain.follow()
        assert metrics["train/critic_loss"][k].item() == pytest.approx(loss.item(), rel=1e-4)
        assert metrics["train/similarity"][k].item() == pytest.approx(alike.item(), rel=1e-4, abs=1e-5)
        assert metrics["train/actor_loss"][k].item() == pytest.approx(actor_loss, rel=1e-4)
        plain.check(edac.params)


def test_similarity_of_linear_critics() -> None:
    """Q_i(a) = w_i a has the gradient w_i everywhere: N = 3 directions at 0, 90 and 180 degrees, any lengths."""
    gradient = torch.tensor([[2.0, 0.0], [0.0, 0.1], [-5.0, 0.0]])[None, :, None, :]
    pairs = 2 * (0.0 + 0.0 - 1.0)
    torch.testing.assert_close(similarity(gradient), torch.full((1, 1), pairs / 2))
    same = torch.ones(1, 5, 7, 3)
    torch.testing.assert_close(similarity(same), torch.full((1, 7), 5.0))


def test_eta_keeps_critics_apart() -> None:
    data = synthetic()
    final = {}
    for eta in (0.0, 5.0):
        edac = build("edac", data, hidden_dims=[32], batch_size=32, num_critics=4, eta=eta)
        final[eta] = edac.train(150)["train/similarity"].item()
    assert final[5.0] < final[0.0] - 0.3


def test_one_critic_is_refused() -> None:
    with pytest.raises(UsageError, match="num_critics is 1"):
        build("edac", synthetic(), num_critics=1)


def test_reaches_the_best_action_where_cloning_does_not() -> None:
    rates: dict[str, Any] = dict.fromkeys(("actor_learning_rate", "critic_learning_rate", "alpha_learning_rate"), 3e-3)
    edac = build("edac", bandit(scale=4.0), hidden_dims=[32, 32], num_critics=3, eta=0.1, **rates)
    edac.train(800)
    assert (greedy(edac) - 0.5).abs().max() < 0.15


def test_exact_and_independent() -> None:
    exact_and_independent("edac", synthetic(), hidden_dims=[16], batch_size=16, num_critics=3)
