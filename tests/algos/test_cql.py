"""CQL: against a torch.nn reference; log-sum-exp of known values; better than cloning and conservative."""

import math
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from rlbench.algos.conservative import log_sum_exp
from rlbench.build import build as build_from
from rlbench.config import compose
from rlbench.data.sampling import Batch
from rlbench.rng import SeedStreams
from rlbench.types import Precision
from tests.algos.helpers import bandit, build, descend, exact_and_independent, greedy, reference, synthetic
from tests.algos.soft import PlainSAC


@pytest.mark.parametrize("count", [3, 30])
def test_matches_reference(count: int) -> None:
    data = synthetic()
    cql = build("cql", data, (0, 5), hidden_dims=[32, 16], batch_size=16, cql_lse=count, cql_weight=2.0)
    plains = [PlainSAC(cql, data, k, seed, 16) for k, seed in enumerate((0, 5))]
    metrics = cql.train(20)
    for k, (plain, seed) in enumerate(zip(plains, (0, 5), strict=True)):
        plain.optimise(1e-4, 3e-4, 1e-4)
        uniform = SeedStreams((seed,), "uniform actions")
        for _ in range(20):
            batch = next(plain.draws)
            actor_loss = plain.update_actor(batch)
            y = plain.target(batch, entropy=False)
            scored: list[tuple[torch.Tensor, torch.Tensor]] = []  # 30 actions [B, a], each with its log-density [B, 1]
            with torch.no_grad():
                noise = plain.noise.normal(2, 10, 16, 2)[0]
                for kind, state in enumerate((batch.observation, batch.next_observation)):
                    scored += [plain.squash(state, noise[kind, i]) for i in range(10)]
                for action in 2 * uniform.uniform(1, 10, 16, 2)[0, 0] - 1:
                    scored.append((action, torch.full((16, 1), 2 * math.log(0.5))))
            loss, gaps = torch.tensor(0.0), torch.tensor(0.0)
            for critic in plain.critics:
                q = critic(torch.cat([batch.observation, batch.action], 1))
                values = torch.stack([critic(torch.cat([batch.observation, a], 1)) - p for a, p in scored])
                if count == 30:
                    lse = values.exp().sum(0).log().mean()
                else:
                    lse = (values[:10].exp() + values[10:20].exp() + values[20:].exp()).log().mean()
                loss = loss + ((q - y) ** 2).mean()
                gaps = gaps + 2.0 * (lse - q.mean())
            descend(plain.critic_optimizer, loss + gaps)
            plain.follow()
        assert metrics["train/critic_loss"][k].item() == pytest.approx(loss.item(), rel=1e-4)
        assert metrics["train/cql_loss"][k].item() == pytest.approx(gaps.item(), rel=1e-4)
        assert metrics["train/actor_loss"][k].item() == pytest.approx(actor_loss, rel=1e-4)
        plain.check(cql.params)


def test_log_sum_exp_of_known_values() -> None:
    values = torch.tensor([1.0, 2.0, 4.0]).log()[None, :, None, None, None].expand(1, 3, 10, 5, 1)
    torch.testing.assert_close(log_sum_exp(values, 30), torch.full((1, 5, 1), math.log(70.0)))
    torch.testing.assert_close(log_sum_exp(values, 3), torch.full((1, 10, 5, 1), math.log(7.0)))


def test_importance_weights_make_the_sum_an_integral() -> None:
    """Q = 0: sum_i exp(0 - log mu_i) / 30 estimates the volume 2^a of the actions, from each kind of draw alone."""
    cql = build("cql", synthetic(2000), hidden_dims=[8], batch_size=500)
    cql.params["actor"]["1.weight"].zero_()
    cql.params["actor"]["1.bias"].zero_()
    rows = torch.cat([cql.minibatches.next() for _ in range(8)], dim=1)
    _, density = cql.draw(Batch.of_rows(rows, 4, 2))
    volume = torch.exp(-density).mean((0, 2, 3, 4))
    torch.testing.assert_close(volume, torch.full((3,), 4.0), rtol=0.05, atol=0)
    assert torch.equal(volume[2], torch.tensor(4.0))


def test_pushes_down_actions_outside_the_dataset() -> None:
    """Only actions in (0, 1) are held: the conservative term alone lowers Q at a = -0.8 against Q at a = 0.5."""
    data = bandit(scale=0.0)
    data.table[:, 1] = abs(data.table[:, 1])
    gaps = {}
    for weight in (0.0, 5.0):
        cql = build("cql", data, hidden_dims=[32, 32], batch_size=64, cql_weight=weight, critic_learning_rate=3e-3)
        cql.train(150)
        with torch.no_grad():
            state = torch.zeros(1, 2, 1)
            held, outside = cql.critic(cql.params["critic"], state, torch.tensor([[[0.5], [-0.8]]])).mean(0).flatten()
        gaps[weight] = (held - outside).item()
    assert abs(gaps[0.0]) < 0.2
    assert gaps[5.0] > 1.0


def test_reaches_the_best_action_where_cloning_does_not() -> None:
    rates: dict[str, Any] = dict.fromkeys(("actor_learning_rate", "critic_learning_rate", "alpha_learning_rate"), 3e-3)
    cql = build("cql", bandit(scale=4.0), hidden_dims=[32, 32], batch_size=64, cql_weight=0.5, **rates)
    cql.train(500)
    assert (greedy(cql) - 0.5).abs().max() < 0.2


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_exact_and_independent(precision: str) -> None:
    exact_and_independent("cql", synthetic(), hidden_dims=[16], batch_size=16, precision=precision)


def test_bf16_follows_fp32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every loss of 50 updates on hopper's data, from the same random numbers."""
    monkeypatch.setenv("RLBENCH_CACHE", str(tmp_path))
    words = ["algo=cql", "env=hopper", "dataset.size=2000", "algo.batch_size=32"]
    fp32, bf16 = (build_from(compose([*words, f"algo.precision={each}"]))[0] for each in get_args(Precision))
    for _ in range(50):
        expected, found = fp32.train(1), bf16.train(1)
        for name, value in expected.items():
            assert found[name].item() == pytest.approx(value.item(), rel=0.04), name
    assert found["train/critic_loss"].item() != pytest.approx(expected["train/critic_loss"].item(), rel=1e-5)


def test_a_policy_trained_in_bf16_acts_in_fp32() -> None:
    cql = build("cql", synthetic(), hidden_dims=[16, 16], precision="bf16")
    x = torch.randn(1, 50, 4, generator=torch.Generator().manual_seed(0))
    action = reference(cql.params["actor"], 0)(x[0]).chunk(2, dim=-1)[0].tanh()
    torch.testing.assert_close(cql.action(cql.actor_params, x)[0], action, rtol=0, atol=1e-6)
