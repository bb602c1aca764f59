"""TD3+BC: against a torch.nn reference; the scale of lambda; better than cloning."""

from typing import Any

import pytest
import torch
from torch import Tensor

from rlbench.algos.normalized import NormalizedFeatures
from rlbench.data.sampling import Batch
from rlbench.rng import SeedStreams
from rlbench.task import Features
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


@pytest.mark.parametrize("normalize", [True, False])
def test_matches_reference(normalize: bool) -> None:
    data = synthetic()
    td3_bc = build("td3_bc", data, (0, 5), hidden_dims=[32, 16], batch_size=32, normalize_states=normalize)
    params = td3_bc.params
    actors, target_actors = ([reference(params["actor"], k) for k in range(2)] for _ in range(2))
    critics, targets = ([reference(params["critic"], m) for m in range(4)] for _ in range(2))
    metrics = td3_bc.train(40)
    mean, std = torch.tensor(data.observation.mean(0)), torch.tensor(data.observation.std(0)) + 1e-3
    if not normalize:
        mean, std = torch.zeros(4), torch.ones(4)
    for k, seed in enumerate((0, 5)):
        noise, draws = SeedStreams((seed,), "policy noise"), minibatches(data, seed, 32)
        pair, pair_targets = critics[2 * k : 2 * k + 2], targets[2 * k : 2 * k + 2]
        actor_optimizer = torch.optim.Adam(actors[k].parameters(), lr=3e-4)
        critic_optimizer = torch.optim.Adam([p for c in pair for p in c.parameters()], lr=3e-4)
        for update in range(1, 41):
            batch = next(draws)
            s, s2, a = (batch.observation - mean) / std, (batch.next_observation - mean) / std, batch.action
            with torch.no_grad():
                disturbance = (0.2 * noise.normal(32, 2)[0]).clamp(-0.5, 0.5)
                a2 = (torch.tanh(target_actors[k](s2)) + disturbance).clamp(-1, 1)
                q2 = torch.minimum(*(t(torch.cat([s2, a2], 1)) for t in pair_targets))
                y = batch.reward + 0.99 * (1 - batch.terminated) * q2
            errors = [((c(torch.cat([s, a], 1)) - y) ** 2).mean() for c in pair]
            critic_loss = descend(critic_optimizer, errors[0] + errors[1])
            if update % 2 == 0:
                pi = torch.tanh(actors[k](s))
                q = pair[0](torch.cat([s, pi], 1))
                actor_loss = descend(
                    actor_optimizer, -2.5 / q.abs().mean().detach() * q.mean() + ((pi - a) ** 2).mean()
                )
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


def test_actor_loss_does_not_depend_on_the_scale_of_the_critics() -> None:
    td3_bc = build("td3_bc", synthetic(), (0, 5), hidden_dims=[16], batch_size=32)
    batch = Batch.of_rows(td3_bc.minibatches.next(), 4, 2)
    before, _ = td3_bc.actor_loss(td3_bc.params["actor"], batch)
    for name in ("1.weight", "1.bias"):
        td3_bc.params["critic"][name][:2] *= 1000  # both critics of the first seed
    after, _ = td3_bc.actor_loss(td3_bc.params["actor"], batch)
    torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-5)


def test_normalised_features_are_what_a_policy_is_given() -> None:
    data = synthetic()
    td3_bc = build("td3_bc", data, (0, 5), hidden_dims=[16])
    seen = td3_bc.task.features(torch.tensor(data.observation).expand(2, -1, -1))
    assert seen.mean((0, 1)).abs().max() < 1e-5
    torch.testing.assert_close(seen.std((0, 1)), torch.ones(4), rtol=0, atol=5e-3)
    stored = td3_bc.minibatches.rows[:, :4]
    torch.testing.assert_close(stored, seen[0])


class Shifted(Features):
    """A state and another half a unit away, side by side, as COCOA's anchors are."""

    is_identity = False

    def __call__(self, observation: Tensor) -> Tensor:
        return torch.cat([observation, observation - 0.5], -1)


def test_states_side_by_side_are_normalised_alike() -> None:
    data = synthetic()
    features = NormalizedFeatures(Shifted(8), data.observation)
    state, other = features(torch.tensor(data.observation)[None]).chunk(2, -1)
    expected = torch.tensor(0.5 / (data.observation.std(0) + 1e-3)).expand_as(state)
    torch.testing.assert_close(state - other, expected, rtol=1e-4, atol=1e-4)
    assert features.dim == 8
    with pytest.raises(ValueError, match="whole number"):
        NormalizedFeatures(Features(7), data.observation)


def test_reaches_the_best_action_where_cloning_does_not() -> None:
    data = bandit()
    settings: dict[str, Any] = {"hidden_dims": [32, 32], "actor_learning_rate": 3e-3, "critic_learning_rate": 3e-3}
    td3_bc = build("td3_bc", data, **settings)
    td3_bc.train(1500)
    assert (greedy(td3_bc) - 0.5).abs().max() < 0.1
    cloned = build("td3_bc", data, alpha=0.0, **settings)
    cloned.train(1500)
    assert greedy(cloned).mean().abs() < 0.1


def test_exact_and_independent() -> None:
    exact_and_independent("td3_bc", synthetic(), hidden_dims=[16], batch_size=16)
