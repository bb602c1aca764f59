"""Plackett and Luce's model of rankings: its probabilities, by the definition, and its draws."""

from itertools import permutations

import pytest
import torch

from rlbench.language.ranking import every_two, ranking_drawn, ranking_loss

ORDERS = torch.tensor(list(permutations(range(4))))


def probabilities(utility: torch.Tensor) -> torch.Tensor:
    """Of every order of four, by the definition."""
    odds = utility.exp()[ORDERS]
    return torch.stack([odds[:, k] / odds[:, k:].sum(1) for k in range(4)], 1).prod(1)


def test_losses_are_those_of_the_definition() -> None:
    utility = torch.tensor([0.3, -1.2, 2.0, 0.4], dtype=torch.float64)
    loss = ranking_loss(utility[ORDERS].T)
    assert torch.allclose((-loss).exp(), probabilities(utility), rtol=1e-12)
    assert float((-loss).exp().sum()) == pytest.approx(1, abs=1e-12)


def test_nothing_overflows() -> None:
    utility = torch.tensor([500.0, -500.0, 0.0], requires_grad=True)
    loss = ranking_loss(utility)
    loss.backward()
    assert loss.item() == pytest.approx(500)
    assert utility.grad is not None
    assert torch.allclose(utility.grad, torch.tensor([0.0, -1.0, 1.0]))


def test_orders_are_drawn_as_often_as_they_are_likely() -> None:
    utility = torch.tensor([0.3, -1.2, 2.0, 0.4], dtype=torch.float64)
    count = 50_000
    uniform = torch.rand(count, 3, generator=torch.Generator().manual_seed(0))
    order = ranking_drawn(utility.expand(count, -1), uniform)
    assert torch.equal(order.sort(-1).values, torch.arange(4).expand(count, -1))
    found = (order[:, None] == ORDERS).all(-1).double().sum(0)
    expected = probabilities(utility)
    assert bool(((found - count * expected).abs() < 4.5 * (count * expected * (1 - expected)).sqrt()).all())


def test_every_two_responses_are_a_comparison() -> None:
    better, worse = every_two(torch.tensor([[4.0], [3.0], [1.0]]))
    assert sorted((better - worse).flatten().tolist()) == [1.0, 2.0, 3.0]
    assert torch.stack(every_two(torch.tensor([5.0, 2.0]))).tolist() == [[5.0], [2.0]]
