"""What the methods promise of their directions, with exact derivatives in place of estimates: no sampling, no noise."""

from typing import Any

import pytest
import torch
from torch import Tensor

from rlbench.algos.policy_gradient import harpg
from rlbench.algos.policy_gradient.estimators import hessian_product
from rlbench.algos.policy_gradient.rollouts import joined
from rlbench.envs.control import Control
from tests.algos.helpers import build
from tests.algos.policy_gradient.solved import lqr, lqr_return

CARTPOLE = Control("cartpole", "CartPole-v1")
SHORT = {"horizon": 1, "batch_size": 1}


def derivative(theta: Tensor) -> Tensor:
    """dJ/dtheta of `lqr1d`, `[S, 1]` to `[S, 1]`; theta = -k."""
    x = theta.detach().double().requires_grad_()
    return torch.autograd.grad(lqr_return(-x).sum(), x)[0].to(theta)


def curvature(theta: Tensor) -> Tensor:
    x = theta.detach().double().requires_grad_()
    (first,) = torch.autograd.grad(lqr_return(-x).sum(), x, create_graph=True)
    return torch.autograd.grad(first.sum(), x)[0].to(theta)


def errors(monkeypatch: pytest.MonkeyPatch, alpha: float, with_hessian: bool) -> tuple[float, float]:
    """Root mean square of d_t - dJ/dk of N-HARPG with constant alpha and eta when it comes by k = 0.8; |J''| there."""
    algorithm = lqr("nharpg", tuple(range(12)), hessian_batch_size=1, eta_0=0.1, alpha_0=alpha, **SHORT)
    monkeypatch.setattr(type(algorithm), "alpha_power", 0.0)
    monkeypatch.setattr(type(algorithm), "eta_power", 0.0)
    monkeypatch.setattr(algorithm, "gradient", lambda *given: derivative(given[1]))

    def product(*given: Any) -> Tensor:
        theta, v = given[1], given[4]
        return curvature(theta) * v if with_hessian else torch.zeros_like(v)

    monkeypatch.setattr(harpg, "hessian_product", product)
    for theta in (algorithm.theta, algorithm.previous):
        theta -= 0.8 - 40 * alpha
    algorithm.train(1 + 40 * 2)
    here = algorithm.previous
    torch.testing.assert_close(here, torch.full((12, 1), -0.8), rtol=0, atol=1e-5)
    return float((algorithm.d - derivative(here)).square().mean().sqrt()), float(curvature(here).abs().mean())


def test_harpg_tracks_the_gradient_and_without_the_hessian_it_lags(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is of order alpha^2, the lag (1 - eta) / eta alpha |J''|."""
    tracking = {alpha: errors(monkeypatch, alpha, with_hessian=True)[0] for alpha in (0.008, 0.004)}
    assert 3 < tracking[0.008] / tracking[0.004] < 5.5, tracking
    for alpha, error in tracking.items():
        late, bend = errors(monkeypatch, alpha, with_hessian=False)
        assert late == pytest.approx(0.9 / 0.1 * alpha * bend, rel=0.4)
        assert late > 20 * error


def test_igt_has_no_lag_where_the_return_is_quadratic(monkeypatch: pytest.MonkeyPatch) -> None:
    """N-PG-IGT's direction is the gradient at theta_t, to rounding; momentum without transport is late."""
    found = {}
    for name in ("npg_igt", "nsgdm"):
        algorithm = lqr(name, (0, 1), eta_0=0.2, alpha_0=0.01, **SHORT)
        monkeypatch.setattr(type(algorithm), "alpha_power", 0.0)
        monkeypatch.setattr(type(algorithm), "eta_power", 0.0)
        monkeypatch.setattr(algorithm, "gradient", lambda *given: -3.0 * (given[1] - 2.0))
        algorithm.train(60)
        assert (algorithm.iteration == 60).all()
        found[name] = (algorithm.d + 3.0 * (algorithm.previous - 2.0)).abs()
    assert (found["npg_igt"] < 1e-4).all()
    assert ((found["nsgdm"] - 0.8 / 0.2 * 3.0 * 0.01).abs() < 1e-3).all()


def test_igt_samples_and_scores_ahead_and_steps_from_where_it_is() -> None:
    algorithm = lqr("npg_igt", (0,), batch_size=80, alpha_0=0.1)
    algorithm.train(80)
    theta, previous, t = algorithm.theta.clone(), algorithm.previous.clone(), 1
    eta = (2 / (t + 2)) ** (4 / 5)
    ahead = theta + (1 - eta) / eta * (theta - previous)
    (batch,) = algorithm.sampler.sample([0], ahead, [2], 80)
    d = (1 - eta) * algorithm.d + eta * algorithm.gradient([0], ahead, batch)
    algorithm.train(80)
    torch.testing.assert_close(algorithm.d, d, rtol=1e-6, atol=0)
    torch.testing.assert_close(algorithm.theta, theta + 0.1 * 2 / (t + 2) * d.sign(), rtol=1e-6, atol=0)


def test_schedules() -> None:
    for name, alpha, eta in (
        ("vanilla_pg", 1 / 2, None), ("nsgdm", 1.0, 2 / 3), ("npg_igt", 1.0, 4 / 5), ("harpg", 1 / 2, 1.0),
        ("nharpg", 1.0, 1.0),
    ):  # fmt: skip
        algorithm = lqr(name, (0, 1, 2))
        algorithm.iteration[:] = torch.tensor([0, 1, 6])
        t = torch.tensor([0.0, 1.0, 6.0])
        found = algorithm.decaying([0, 1, 2], 0.3, algorithm.alpha_power).flatten()
        torch.testing.assert_close(found, 0.3 * (2 / (t + 2)) ** alpha)
        if eta is not None:
            algorithm.eta_0 = 0.5
            expected = 0.5 * (2 / (t + 2)) ** eta
            expected[0] = 1.0
            torch.testing.assert_close(algorithm.eta([0, 1, 2]).flatten(), expected)


def test_both_batches_of_harpg_count() -> None:
    algorithm = lqr("harpg", (0, 1), batch_size=400, hessian_batch_size=80)
    assert algorithm.train(399)["train/iterations"].tolist() == [0, 0]
    assert algorithm.train(1)["train/iterations"].tolist() == [1, 1]
    assert algorithm.train(479)["train/iterations"].tolist() == [1, 1]
    metrics = algorithm.train(1)
    assert metrics["train/iterations"].tolist() == [2, 2]
    assert metrics["train/episodes"].tolist() == [22, 22]
    assert algorithm.spent.tolist() == [880, 880]


def test_means_over_steps_are_those_over_episodes_by_their_mean_length() -> None:
    """Gradient and Hessian's product, of two seeds whose episodes differ in length."""
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for mean_over in ("episodes", "steps"):
        algorithm = build("harpg", CARTPOLE, (0, 1), hidden_dims=[], baseline="none", mean_over=mean_over)
        theta, both = algorithm.theta, [0, 1]
        batch = joined(algorithm.sampler.sample(both, theta, [0, 0], 400), 0)
        weight = algorithm.weights(both, batch)
        product = hessian_product(algorithm.policy, theta, batch, weight, torch.ones_like(theta))
        found[mean_over] = algorithm.gradient(both, theta, batch), product
    lengths = batch.mask.sum(2)
    mean = lengths.sum(1) / (lengths > 0).sum(1)
    assert (mean > 10).all()
    assert mean[0] != mean[1]
    for over_steps, over_episodes in zip(found["steps"], found["episodes"], strict=True):
        torch.testing.assert_close(over_steps, over_episodes / mean[:, None], rtol=1e-5, atol=1e-6)
