"""TRPO: conjugate gradients and Fisher's matrix against linear algebra, and what the line search keeps."""

from typing import Any

import torch
from torch.autograd.functional import hessian, jacobian

from rlbench.algos.policy_gradient.estimators import discounted
from rlbench.algos.policy_gradient.rollouts import joined
from rlbench.algos.policy_gradient.trpo import conjugate_gradients, normalized
from rlbench.envs.control import Control
from tests.algos.helpers import build
from tests.algos.policy_gradient.solved import CHAIN

SWIMMER = Control("swimmer", "Swimmer-v4")


def build_chain() -> Any:
    return build("trpo", CHAIN, (0, 1), hidden_dims=[], batch_size=80, damping=0.05, cg_iterations=20)


def build_swimmer() -> Any:
    return build("trpo", SWIMMER, (0, 1), hidden_dims=[4], batch_size=80, horizon=40)


def test_conjugate_gradients_solve_each_seeds_system() -> None:
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(3, 5, 5, generator=generator)
    matrix = root @ root.mT + torch.eye(5)
    b = torch.randn(3, 5, generator=generator)
    found = conjugate_gradients(lambda v: (matrix @ v[..., None]).squeeze(-1), b, 12)
    torch.testing.assert_close(found, torch.linalg.solve(matrix, b), rtol=1e-3, atol=1e-4)


def test_divergences_against_torch_distributions() -> None:
    generator = torch.Generator().manual_seed(1)
    for algorithm in (build_chain(), build_swimmer()):
        policy, d = algorithm.policy, algorithm.task.networks.observation_dim
        mine, theirs = (policy.params(0.5 * torch.randn(algorithm.theta.shape, generator=generator)) for _ in range(2))
        observation = torch.randn(2, 7, d, generator=generator)
        distributions: list[Any] = []
        for params in (theirs, mine):
            parameters = policy.distribution(params, observation)
            if d == 3:
                distributions.append(torch.distributions.Categorical(probs=parameters))
            else:
                normal = torch.distributions.Normal(*parameters.chunk(2, -1))
                distributions.append(torch.distributions.Independent(normal, 1))
        expected = torch.distributions.kl_divergence(*distributions)
        torch.testing.assert_close(policy.divergence(mine, theirs, observation), expected, rtol=1e-4, atol=1e-5)


def test_a_step_is_the_natural_gradient_of_the_given_length() -> None:
    algorithm = build_chain()
    algorithm.theta += torch.randn(2, 6, generator=torch.Generator().manual_seed(2))
    theta = algorithm.theta.clone()
    rollouts = joined(algorithm.sampler.sample([0, 1], theta, [0, 0], 80), 0)
    metrics = algorithm.train(80)
    assert metrics["train/iterations"].tolist() == [1, 1]
    assert (metrics["train/kl"] <= 0.01).all()
    assert (metrics["train/kl"] > 0.0005).all()
    for place in range(2):
        s, a = rollouts.observation[place].flatten(0, 1), rollouts.action[place].flatten(0, 1)
        advantage = normalized(discounted(rollouts.reward, 0.99), rollouts.mask)[place].flatten()

        def gain(x: torch.Tensor, s: Any = s, a: Any = a, advantage: Any = advantage) -> torch.Tensor:
            return (((s @ x.reshape(3, 2)).log_softmax(-1) * a).sum(-1) * advantage).mean()

        old = (s @ theta[place].reshape(3, 2)).log_softmax(-1)

        def kl(x: torch.Tensor, s: Any = s, old: Any = old) -> torch.Tensor:
            return (old.exp() * (old - (s @ x.reshape(3, 2)).log_softmax(-1))).sum(-1).mean()

        fisher = hessian(kl, theta[place]) + 0.05 * torch.eye(6)
        direction = torch.linalg.solve(fisher, jacobian(gain, theta[place]))
        step = (0.02 / (direction @ fisher @ direction)).sqrt() * direction
        shortened = step * 0.5 ** (metrics["train/trials"][place] - 1)
        torch.testing.assert_close(algorithm.theta[place] - theta[place], shortened, rtol=1e-2, atol=1e-4)


def test_without_gain_the_policy_stays() -> None:
    algorithm = build_chain()
    zero = torch.zeros(2, 6)
    new, trials = algorithm.shortened(zero, torch.ones(2, 6), lambda x: -x.sum(1), lambda x: x.sum(1))
    assert torch.equal(new, zero)
    assert trials.tolist() == [10, 10]
    new, trials = algorithm.shortened(zero, torch.ones(2, 6), lambda x: x.sum(1), lambda x: x.square().sum(1))
    assert trials.tolist() == [6, 6]  # 6 / 4^5 < 0.01 < 6 / 4^4
    assert torch.equal(new, torch.full((2, 6), 0.5**5))
