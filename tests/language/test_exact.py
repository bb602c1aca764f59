"""Exact quantities of enumerated languages, against closed forms and samples."""

import math

import pytest
import torch
from torch import Tensor

from rlbench.language import exact
from tests.language.winners import winners


def problem(S: int = 2, C: int = 3, Y: int = 50) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1)
    logits, reward = torch.randn(2, S, C, Y, generator=rng, dtype=torch.float64)
    return logits.log_softmax(-1), reward


def test_the_tilted_policy_is_the_best_there_is() -> None:
    reference, reward = problem()
    beta = 0.4
    policy, _ = exact.tilted(reference, reward, beta)

    def objective(logp: Tensor) -> Tensor:
        return exact.expected(logp, reward) - beta * exact.divergence(logp, reference)

    assert torch.allclose(objective(policy), exact.optimum(reference, reward, beta), atol=1e-12)
    rng = torch.Generator().manual_seed(2)
    for _ in range(20):
        other = (policy + 0.3 * torch.randn(policy.shape, generator=rng, dtype=torch.float64)).log_softmax(-1)
        assert bool((objective(other) < objective(policy)).all())
        kl = exact.divergence(other, reference)
        assert bool((exact.expected(other, reward) < exact.frontier(reference, reward, kl)).all())


@pytest.mark.parametrize("beta", [0.05, 0.5, 5.0])
def test_tilted_policies_lie_on_the_frontier(beta: float) -> None:
    reference, reward = problem()
    policy, _ = exact.tilted(reference, reward, beta)
    most = exact.frontier(reference, reward, exact.divergence(policy, reference))
    assert torch.allclose(most, exact.expected(policy, reward), atol=1e-8)


def test_the_frontier_of_two_responses_is_the_closed_form() -> None:
    """Reference 1/2, 1/2 and rewards 1, -1: at probability p, reward 2 p - 1 and KL log 2 - H(p)."""
    p = torch.tensor([0.6, 0.9], dtype=torch.float64)
    kl = math.log(2) + torch.special.xlogy(p, p) + torch.special.xlogy(1 - p, 1 - p)
    reference = torch.full((2, 1, 2), math.log(0.5), dtype=torch.float64)
    reward = torch.tensor([1.0, -1.0], dtype=torch.float64).expand(2, 1, -1)
    assert torch.allclose(exact.frontier(reference, reward, kl), 2 * p - 1, atol=1e-9)


def test_best_of_n_is_what_sampling_gives() -> None:
    reference, reward = problem(1, 1, 6)
    n = 4
    rng = torch.Generator().manual_seed(3)
    drawn = torch.multinomial(reference[0, 0].exp(), 400_000, replacement=True, generator=rng).reshape(-1, n)
    best = drawn.gather(1, reward[0, 0][drawn].argmax(1, keepdim=True)).squeeze(1)
    share = torch.bincount(best, minlength=6) / len(best)
    probability = exact.best_of(reference, reward, n)[0, 0].exp()
    assert float(probability.sum()) == pytest.approx(1.0, abs=1e-12)
    assert torch.allclose(share.double(), probability, atol=5 * math.sqrt(0.25 / len(best)))
    assert bool((exact.divergence(probability.log()[None, None], reference) <= math.log(n) - (n - 1) / n).all())


def test_winners_are_what_comparing_gives() -> None:
    reference, reward = problem(1, 1, 6)
    rng = torch.Generator().manual_seed(4)
    first, second = torch.multinomial(reference[0, 0].exp(), 800_000, replacement=True, generator=rng).reshape(2, -1)
    kept = first != second
    first, second = first[kept], second[kept]
    r = reward[0, 0]
    won = torch.rand(len(first), generator=rng, dtype=torch.float64) < torch.sigmoid(r[first] - r[second])
    share = torch.bincount(torch.where(won, first, second), minlength=6) / len(first)
    assert torch.allclose(share.double(), winners(reference, reward)[0, 0].exp(), atol=5 * math.sqrt(0.25 / len(first)))
