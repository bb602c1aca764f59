"""The losses' identities, DPO among them, and what happens where cloning ends."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
import torch
from torch import Tensor

from rlbench.algos.language.dpo import dpo_loss
from rlbench.algos.preference.contrast import agreement, contrastive_loss, ranking_loss
from rlbench.algos.preference.learner import Pairs
from rlbench.nets.policy import Choice, PlainGaussian, TanhGaussian
from tests.algos.preference.known import algorithm

RNG = torch.Generator().manual_seed(0)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=RNG)


def pairs_of(learner: Any) -> Pairs:
    return learner.minibatches.split(learner.next_batch())


def test_the_loss_is_the_formula() -> None:
    """-log[exp S+ / (exp S+ + exp(lambda S-))], whichever of the two is preferred."""
    score = normal(2, 10)
    first, second = score.double().chunk(2, 1)
    for label, better, worse in ((0.0, first, second), (1.0, second, first)):
        expected = -(better.exp() / (better.exp() + (0.3 * worse).exp())).log().mean(1)
        found = contrastive_loss(score, torch.full((2, 5), label), 0.3)
        torch.testing.assert_close(found.double(), expected)
    both = [contrastive_loss(score, torch.full((2, 5), label), 0.3) for label in (0.0, 0.5, 1.0)]
    torch.testing.assert_close(both[1], (both[0] + both[2]) / 2)
    swapped = torch.cat(score.chunk(2, 1)[::-1], 1)
    torch.testing.assert_close(contrastive_loss(swapped, torch.full((2, 5), 0.5), 0.3), both[1])
    assert contrastive_loss(torch.tensor([[500.0, -500.0]]), torch.tensor([[1.0]])).item() == 1000.0


def test_only_the_conservative_loss_rewards_likelihood() -> None:
    score, label = normal(3, 16), torch.randint(0, 2, (3, 8), generator=RNG).float()
    torch.testing.assert_close(contrastive_loss(score + 2, label), contrastive_loss(score, label))
    before, after = (contrastive_loss(score + c, label, 0.5) for c in (0.0, 2.0))
    assert (after < before).all()
    large = torch.tensor([[-60.0, -80.0]]), torch.tensor([[0.0]])  # where softplus is linear the margin is the loss
    before, after = (contrastive_loss(large[0] + c, large[1], 0.5) for c in (0.0, 2.0))
    assert (before - after).item() == pytest.approx((1 - 0.5) * 2.0)


def test_the_ranking_loss_is_that_of_all_ordered_pairs() -> None:
    score, rank = normal(2, 6), normal(2, 6)
    for seed in range(2):
        terms = []
        for i, j in combinations(range(6), 2):
            better, worse = (i, j) if rank[seed, i] > rank[seed, j] else (j, i)
            terms.append((1 + (0.5 * score[seed, worse] - score[seed, better]).exp()).log())
        assert ranking_loss(score, rank, 0.5)[seed].item() == pytest.approx(torch.stack(terms).mean().item(), rel=1e-5)


def test_agreement_counts_the_pairs_that_are_ordered_right() -> None:
    score = torch.tensor([[0.0, 1.0, 2.0, 5.0, 0.0, 0.0]])
    assert agreement(score, torch.tensor([[1.0, 1.0, 0.0]])).item() == pytest.approx(2 / 3)


def test_relative_cpl_of_single_steps_is_dpo() -> None:
    """Rafailov et al., eq. 7, as `algo=dpo` has it."""
    beta = 0.3
    learner = algorithm(
        "algo=cpl_kl", "dataset.length=1", "dataset.labels=sampled", f"algo.alpha={beta}", "algo.bc_steps=20"
    )
    learner.train(60)
    pairs = pairs_of(learner)
    state, choice = (column[0, :, 0].argmax(-1) for column in (pairs.observation, pairs.action))
    with torch.no_grad():
        loss, _ = learner.loss_after(learner.step_log_probs(learner.actor_params, pairs), pairs)
        tables = [
            (learner.params[name]["0.weight"][0] + learner.params[name]["0.bias"][0]).log_softmax(1)[state, choice]
            for name in ("actor", "reference")
        ]
    assert (tables[0] - tables[1]).abs().max() > 0.05
    ratio = (tables[0] - tables[1]).double()
    first, second = ratio.chunk(2)
    preferred = pairs.label[0] > 0.5
    chosen, rejected = torch.where(preferred, second, first), torch.where(preferred, first, second)
    dpo = dpo_loss(torch.stack([chosen, rejected]), beta).mean()
    assert loss.item() == pytest.approx(dpo.item(), abs=1e-6)


def test_where_cloning_ends() -> None:
    """The optimiser begins anew, the reference is the policy, the step size rises from 0; before it, all is cloning."""
    learner = algorithm("algo=cpl_kl", "algo.bc_steps=10", "algo.warmup_steps=4", "algo.warmup_to=0.5")
    learner.train(9)
    assert learner.actor_optimizer.count.item() == 9
    apart = [(learner.params["actor"][name] - learner.params["reference"][name]).abs().max() for name in ("0.weight",)]
    assert apart[0] > 0.05
    assert "train/cpl_loss" not in learner.train(1)
    optimizer = learner.actor_optimizer
    assert [float(value.abs().sum()) for value in (*optimizer.mean, *optimizer.square, optimizer.count)] == [0] * 5
    torch.testing.assert_close(learner.params["reference"], learner.params["actor"], rtol=0, atol=0)
    rates = []
    for _ in range(6):
        assert "train/cpl_loss" in learner.train(1)
        rates.append(optimizer.rate.item())
    assert rates == pytest.approx([0.0, 0.00125, 0.0025, 0.00375, 0.005, 0.005])


def test_cloning_is_of_all_segments() -> None:
    learner = algorithm("algo.bc_steps=5", "dataset.labels=sampled", "dataset.pairs=300")
    pairs = pairs_of(learner)
    with torch.no_grad():
        expected = -learner.step_log_probs(learner.actor_params, pairs)
    learner.step = 1
    assert learner.update_pairs(pairs)["train/bc_loss"].item() == pytest.approx(expected.mean().item())


def test_fine_tuning_is_of_the_preferred_and_of_both_of_a_tie() -> None:
    learner = algorithm("algo=pref_sft", "dataset.labels=sampled", "dataset.pairs=300")
    pairs = pairs_of(learner)._replace(label=torch.tensor([0.0, 1.0, 0.5] * 32)[None])
    log_prob = normal(1, 192, 8)
    found, _ = learner.loss_after(log_prob, pairs)
    first, second = log_prob[0].chunk(2)
    kept = torch.cat([first[0::3], first[2::3], second[1::3], second[2::3]])
    assert found.item() == pytest.approx(-kept.mean().item(), rel=1e-5)


def test_what_a_policy_says_of_actions() -> None:
    output, action = normal(3, 5, 2), torch.rand(3, 5, 2, generator=RNG) * 1.8 - 0.9
    bounded, free = PlainGaussian(bounded=True), PlainGaussian(bounded=False)
    torch.testing.assert_close(bounded.log_prob(output, action), -((output.tanh() - action) ** 2).sum(-1))
    torch.testing.assert_close(free.log_prob(output, action), -((output - action) ** 2).sum(-1))
    choice = torch.tensor([1, 0, 1, 1, 0])
    likely = Choice().log_prob(output, torch.eye(2)[choice].expand(3, -1, -1))
    known = torch.distributions.Categorical(logits=output).log_prob(choice.expand(3, -1))
    torch.testing.assert_close(likely, known)
    head, both = TanhGaussian(-5.0, 2.0), normal(3, 5, 4)
    mean, log_std = head.split(both)
    normals = torch.distributions.Normal(mean.double(), log_std.double().exp())
    squashed = torch.distributions.TransformedDistribution(normals, [torch.distributions.TanhTransform()])
    torch.testing.assert_close(
        head.log_prob(both, action)[..., 0].double(), squashed.log_prob(action.double()).sum(-1), rtol=1e-4, atol=1e-4
    )
