"""Estimates of gradients and Hessians against exact derivatives, and against autograd on the definition."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.functional import hessian, jacobian

from results.policy_gradients.estimators import (
    ALONG,
    DIRECTION,
    GAIN,
    LOGITS,
    SEEDS,
    estimated,
    exact,
    in_groups,
    lqr_exact,
    lqr_with_baseline,
)
from rlbench.algos.policy_gradient import estimators
from rlbench.algos.policy_gradient.estimators import along, gradient, hessian_product, log_probs, phi
from rlbench.algos.policy_gradient.rollouts import Rollouts
from rlbench.envs.control import Control
from tests.algos.helpers import build
from tests.algos.policy_gradient.solved import (
    chain,
    chain_return,
    close,
    deviation,
    lqr_return,
    lqr_return_until,
    played,
)

CARTPOLE = Control("cartpole", "CartPole-v1")
SWIMMER = Control("swimmer", "Swimmer-v4")


def wrong_products(algorithm: Any, theta: Tensor, rollouts: Rollouts, v: Tensor) -> dict[str, Tensor]:
    """What comes out without the product with the score, and with the score's mean over the steps."""
    weight = algorithm.weights(list(range(len(algorithm.task.seeds))), rollouts)

    def product(of_score: Any) -> Tensor:
        stacked = theta.float().expand(len(algorithm.task.seeds), -1).clone().requires_grad_()
        log_prob = log_probs(algorithm.policy, stacked, rollouts)
        slope = along(log_prob, stacked, v.float().expand_as(stacked))
        return torch.autograd.grad(phi(of_score(slope.detach()) * log_prob + slope, rollouts, weight).sum(), stacked)[0]

    return {"no score": product(torch.zeros_like), "mean score": product(lambda slope: slope.mean(2, keepdim=True))}


def test_lqr_has_the_derivatives_of_central_differences() -> None:
    first, second = exact(lambda k: lqr_return(k)[0], GAIN, ALONG)
    low, middle, high = (lqr_return(GAIN + d).item() for d in (-1e-4, 0.0, 1e-4))
    assert first.item() == pytest.approx((high - low) / 2e-4, abs=1e-7)
    assert second.item() == pytest.approx((high - 2 * middle + low) / 1e-8, abs=1e-5)
    assert first.item() == pytest.approx(0.97616, abs=1e-5)
    assert second.item() == pytest.approx(-2.87738, abs=1e-5)


@pytest.mark.parametrize("baseline", ["none", "linear"])
def test_lqr_estimates(baseline: str) -> None:
    """20,000 episodes: within four standard errors of the truth; wrong estimators are far off."""
    algorithm = lqr_with_baseline(100, baseline)
    rollouts = played(algorithm, -GAIN, 400)
    g, product = estimated(algorithm, -GAIN, rollouts, ALONG)
    truth, curvature = lqr_exact()
    assert close(g, truth), (g.mean(), truth)
    assert close(product, curvature), (product.mean(), curvature)
    if baseline == "linear":  # without, 20,000 episodes tell little of one from the other
        assert (g.std(0) / SEEDS**0.5 < 0.05).all()
        assert (product.std(0) / SEEDS**0.5 < 0.5).all()
        for name, wrong in wrong_products(algorithm, -GAIN, rollouts, ALONG).items():
            assert (deviation(wrong, curvature) > 6).all(), name


@pytest.mark.slow
def test_lqr_estimates_of_many_episodes() -> None:
    """300,000 episodes with a baseline fitted to others, in 600 parts: to 0.02, and to four standard errors of 0.05."""
    g, product = in_groups(lqr_with_baseline(300, "linear"), -GAIN, ALONG, 500, 12)
    truth, curvature = lqr_exact()
    assert g.mean().item() == pytest.approx(truth.item(), abs=0.02)
    assert close(g, truth), deviation(g, truth)
    assert close(product, curvature), deviation(product, curvature)
    assert product.std() / len(product) ** 0.5 < 0.06


def test_what_the_horizon_cuts_off() -> None:
    """The return of 40 steps is below that of all by less than gamma^40, and so is its derivative."""
    assert (lqr_return_until(GAIN, 400) - lqr_return(GAIN)).abs().item() < 1e-9
    (first, _), (whole, _) = (
        exact(value, GAIN, ALONG) for value in (lambda k: lqr_return_until(k, 40)[0], lambda k: lqr_return(k)[0])
    )
    assert 0 < whole.item() - first.item() < 0.9**40


@pytest.mark.parametrize("episodes", [400, pytest.param(4000, marks=pytest.mark.slow)])
def test_chain_estimates(episodes: int) -> None:
    """Every component of gradient and Hessian-vector product, at a random theta: 50 seeds."""
    algorithm = chain("harpg", tuple(range(SEEDS)), baseline="none")
    rollouts = played(algorithm, LOGITS, episodes)
    g, product = estimated(algorithm, LOGITS, rollouts, DIRECTION)
    truth, curvature = exact(chain_return, LOGITS, DIRECTION)
    step = 1e-5 * torch.eye(6, dtype=torch.float64)
    differences = torch.stack([chain_return(LOGITS + d) - chain_return(LOGITS - d) for d in step]) / 2e-5
    torch.testing.assert_close(truth, differences, rtol=0, atol=1e-8)
    assert close(g, truth), deviation(g, truth)
    assert close(product, curvature), deviation(product, curvature)
    for name, wrong in wrong_products(algorithm, LOGITS, rollouts, DIRECTION).items():
        assert deviation(wrong, curvature).max() > 8, name


@pytest.mark.parametrize(("env", "changes"), [(CARTPOLE, {}), (SWIMMER, {"learn_std": True})], ids=["choice", "box"])
def test_networks_against_the_definition(env: Control, changes: dict[str, Any]) -> None:
    """B v as sum over episodes of g <score, v> and the Hessian of Phi, each by autograd on one episode at a time."""
    algorithm = build("harpg", env, (0, 5), hidden_dims=[4, 3], batch_size=60, horizon=25, **changes)
    places = [0, 1]
    rollouts = played(algorithm, algorithm.theta[0], 3)
    v = torch.randn(algorithm.theta.shape, generator=torch.Generator().manual_seed(0))
    weight = torch.randn(rollouts.mask.shape, generator=torch.Generator().manual_seed(1)) * rollouts.mask
    theta = algorithm.theta + 0.1 * v.flip(1)
    g = gradient(algorithm.policy, theta, rollouts, weight)
    product = hessian_product(algorithm.policy, theta, rollouts, weight, v)
    for s in places:
        firsts, products = [], []
        for e in range(int(rollouts.episodes[s])):
            steps = int(rollouts.mask[s, e].sum())
            observation, action = rollouts.observation[s, e, :steps], rollouts.action[s, e, :steps]

            def log_prob(theta: Tensor, observation: Tensor = observation, action: Tensor = action) -> Tensor:
                params = algorithm.policy.params(theta[None])
                return algorithm.policy.log_prob(params, observation[None], action[None])[0]

            def objective(theta: Tensor, log_prob: Any = log_prob, w: Tensor = weight[s, e, :steps]) -> Tensor:
                return (w * log_prob(theta)).sum()

            score = jacobian(log_prob, theta[s]).sum(0)
            firsts.append(jacobian(objective, theta[s]))
            products.append(firsts[-1] * (score @ v[s]) + hessian(objective, theta[s]) @ v[s])
        torch.testing.assert_close(g[s], torch.stack(firsts).mean(0), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(product[s], torch.stack(products).mean(0), rtol=1e-4, atol=1e-4)


def test_discounted_sums() -> None:
    found = estimators.discounted(torch.tensor([[1.0, 2.0, 4.0], [0.0, 0.0, 1.0]]), 0.5)
    torch.testing.assert_close(found, torch.tensor([[3.0, 4.0, 4.0], [0.25, 0.5, 1.0]]))
