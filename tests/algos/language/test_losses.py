"""The losses against closed forms: what minimises them is known exactly."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rlbench.algos.language.dpo import dpo_loss, log_ratio_margin
from rlbench.algos.language.ipo import ipo_loss

X, Y = 4, 8


def problem() -> tuple[Tensor, Tensor]:
    """Log-probabilities of a reference and rewards, `[X, Y]`, float64."""
    rng = torch.Generator().manual_seed(7)
    logits, reward = torch.randn(2, X, Y, generator=rng, dtype=torch.float64)
    return logits.log_softmax(-1), reward


def pairs(logp: Tensor) -> Tensor:
    """Log-probabilities `[2, X, Y, Y]` of all ordered pairs of responses."""
    return torch.stack([logp[:, :, None].expand(-1, -1, Y), logp[:, None, :].expand(-1, Y, -1)])


def minimised(loss: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
    """What minimises a loss, by L-BFGS."""
    x = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [x], max_iter=2000, tolerance_grad=1e-14, tolerance_change=1e-18, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(x)
        value.backward()
        return value

    optimizer.step(closure)
    return x.detach()


def weights(reward: Tensor) -> Tensor:
    """How often the first of two different responses is preferred, `[X, Y, Y]` (Bradley-Terry)."""
    different = ~torch.eye(Y, dtype=torch.bool)
    return torch.sigmoid(reward[:, :, None] - reward[:, None, :]) * different


@pytest.mark.parametrize("beta", [0.1, 0.5, 1.0, 5.0])
def test_dpo_finds_the_optimal_policy(beta: float) -> None:
    reference, reward = problem()
    often, given = weights(reward), pairs(reference)

    def loss(logits: Tensor) -> Tensor:
        return (often * dpo_loss(log_ratio_margin(pairs(logits.log_softmax(-1)), given), beta)).sum()

    found = minimised(loss, reference).log_softmax(-1)
    optimal = (reference + reward / beta).log_softmax(-1)
    assert float((found.exp() * (found - optimal)).sum(-1).max()) < 1e-8
    assert float((reference.exp() * (reference - optimal)).sum(-1).min()) > 1e-4  # it began elsewhere


def test_ipo_finds_its_margin() -> None:
    beta, p = 0.3, 0.8
    h = minimised(lambda h: p * ipo_loss(h, beta) + (1 - p) * ipo_loss(-h, beta), torch.zeros(()).double())
    assert float(h) == pytest.approx((2 * p - 1) / (2 * beta), abs=1e-9)


@pytest.mark.parametrize("eps", [0.05, 0.3])
def test_conservative_dpo_stops_at_the_share_of_right_labels(eps: float) -> None:
    h = minimised(lambda h: dpo_loss(h, 0.5, eps), torch.zeros(()).double())
    assert float(torch.sigmoid(0.5 * h)) == pytest.approx(1 - eps, abs=1e-8)


def test_the_gradient_is_the_papers() -> None:
    """-beta sigma(r_l - r_w) (grad log pi(y_w) - grad log pi(y_l)), in the logits of a tabular policy."""
    beta = 0.5
    reference, _ = problem()
    logits = (reference + 0.7 * problem()[1]).requires_grad_()
    logp = logits.log_softmax(-1)
    w, rejected = torch.tensor([0, 3, 5, 7]), torch.tensor([1, 2, 4, 6])
    rows = torch.arange(X)
    picked = torch.stack([logp[rows, w], logp[rows, rejected]])
    ref = torch.stack([reference[rows, w], reference[rows, rejected]])
    (autograd,) = torch.autograd.grad(dpo_loss(log_ratio_margin(picked, ref), beta).sum(), logits)
    reward = beta * (picked - ref).detach()
    probability = logp.detach().exp()
    up = torch.eye(Y, dtype=torch.float64)[w] - probability
    down = torch.eye(Y, dtype=torch.float64)[rejected] - probability
    expected = -beta * torch.sigmoid(reward[1] - reward[0])[:, None] * (up - down)
    assert float((autograd - expected).abs().max()) < 1e-6


def test_swapped_pairs_have_opposite_margins_and_equal_policies_lose_log_2() -> None:
    reference, reward = problem()
    logp = reward.log_softmax(-1)
    h = log_ratio_margin(pairs(logp), pairs(reference))
    assert torch.equal(log_ratio_margin(pairs(logp).flip(0), pairs(reference).flip(0)), -h)
    assert dpo_loss(torch.zeros(()), 0.1).item() == pytest.approx(math.log(2), abs=1e-7)
    assert dpo_loss(torch.zeros(()), 0.1, 0.2).item() == pytest.approx(math.log(2), abs=1e-7)
