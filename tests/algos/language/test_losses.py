"""The losses against closed forms: what minimises them is known exactly."""

import math
from collections.abc import Callable
from itertools import permutations

import pytest
import torch
from torch import Tensor

from rlbench.algos.language.dpo import dpo_loss
from rlbench.algos.language.ipo import ipo_loss

X, Y = 4, 8


def problem() -> tuple[Tensor, Tensor]:
    """Log-probabilities of a reference and rewards, `[X, Y]`, float64."""
    rng = torch.Generator().manual_seed(7)
    logits, reward = torch.randn(2, X, Y, generator=rng, dtype=torch.float64)
    return logits.log_softmax(-1), reward


def ordered(value: Tensor, K: int) -> Tensor:
    """Values `[K, X, N]` of all N ordered choices of K different responses, of values `[X, Y]`."""
    return value[:, torch.tensor(list(permutations(range(Y), K))).T].movedim(1, 0)


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


def weights(reward: Tensor, K: int) -> Tensor:
    """How often K different responses are ranked in an order, `[X, N]` (Plackett-Luce; of two, Bradley-Terry)."""
    odds = ordered(reward, K).exp()
    return (odds / odds.flip(0).cumsum(0).flip(0)).prod(0)


@pytest.mark.parametrize("K", [2, 3])
@pytest.mark.parametrize("beta", [0.1, 0.5, 1.0, 5.0])
def test_dpo_finds_the_optimal_policy(beta: float, K: int) -> None:
    reference, reward = problem()
    often, given = weights(reward, K), ordered(reference, K)

    def loss(logits: Tensor) -> Tensor:
        return (often * dpo_loss(ordered(logits.log_softmax(-1), K) - given, beta)).sum()

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
    h = minimised(lambda h: dpo_loss(torch.stack([h, 0 * h]), 0.5, eps), torch.zeros(()).double())
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
    (autograd,) = torch.autograd.grad(dpo_loss(picked - ref, beta).sum(), logits)
    reward = beta * (picked - ref).detach()
    probability = logp.detach().exp()
    up = torch.eye(Y, dtype=torch.float64)[w] - probability
    down = torch.eye(Y, dtype=torch.float64)[rejected] - probability
    expected = -beta * torch.sigmoid(reward[1] - reward[0])[:, None] * (up - down)
    assert float((autograd - expected).abs().max()) < 1e-6


def test_the_gradient_of_a_ranking_is_its_surprise() -> None:
    """In beta u_k: minus one for being chosen, plus its share of the odds in every choice that it took part in."""
    beta, K = 0.7, 4
    u = torch.randn(K, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64).requires_grad_()
    (autograd,) = torch.autograd.grad(dpo_loss(u, beta).sum(), u)
    odds = (beta * u.detach()).exp()
    expected = torch.zeros_like(odds)
    for k in range(K - 1):
        expected[k] -= beta
        expected[k:] += beta * odds[k:] / odds[k:].sum(0)
    assert float((autograd - expected).abs().max()) < 1e-12


def test_the_loss_of_pairs_is_the_logistic_one() -> None:
    """To the bit, its gradient too; swapping a pair negates the margin; equal policies lose log K!."""
    u = 3 * torch.randn(2, 100, generator=torch.Generator().manual_seed(0), requires_grad=True)
    logistic = -torch.nn.functional.logsigmoid(0.3 * u[0] - 0.3 * u[1])
    assert torch.equal(dpo_loss(u, 0.3), logistic)
    gradients = [torch.autograd.grad(each.sum(), u)[0] for each in (dpo_loss(u, 0.3), logistic)]
    assert torch.equal(*gradients)
    assert torch.allclose(dpo_loss(u.flip(0), 0.3) - dpo_loss(u, 0.3), 0.3 * (u[0] - u[1]), atol=1e-5)
    assert torch.equal(dpo_loss(u, 0.3, 0.5), dpo_loss(u.flip(0), 0.3, 0.5))
    for K in (2, 5):
        assert dpo_loss(torch.zeros(K), 0.1).item() == pytest.approx(math.log(math.factorial(K)), abs=1e-6)
    assert dpo_loss(torch.zeros(2), 0.1, 0.2).item() == pytest.approx(math.log(2), abs=1e-7)
