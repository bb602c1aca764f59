"""Gradients and Hessian-vector products next to exact ones: `python -m results.policy_gradients.estimators`.

`lqr1d` at k = 0.8, std 0.5; `chain3` at a random theta in R^6, along a random v: of its six components the one that is
the most standard errors off. Means and standard errors are over groups of episodes; exact are the derivatives of the
return of an episode's steps.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.functional import hessian, jacobian

from rlbench import cpu
from rlbench.algos.policy_gradient.estimators import discounted, gradient, hessian_product
from rlbench.algos.policy_gradient.rollouts import Rollouts, joined
from tests.algos.policy_gradient.solved import GAMMA, LQR, chain, chain_return, lqr, lqr_return_until, played

GAIN, ALONG = torch.tensor([0.8], dtype=torch.float64), torch.ones(1, dtype=torch.float64)
LOGITS, DIRECTION = torch.randn(2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
SEEDS = 50


def exact(value: Callable[[Tensor], Tensor], theta: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient, and Hessian times v, of an expected return."""
    return jacobian(value, theta), hessian(value, theta) @ v


def lqr_exact() -> tuple[Tensor, Tensor]:
    """Of the steps of an episode."""
    return exact(lambda theta: lqr_return_until(-theta, LQR.kwargs["max_episode_steps"])[0], -GAIN, ALONG)


def lqr_with_baseline(first: int, baseline: str) -> Any:
    """HARPG with fifty seeds from `first` on, its baseline fitted to 20 episodes of seeds 0 to 49."""
    other, algorithm = (lqr("harpg", tuple(range(start, start + SEEDS)), baseline=baseline) for start in (0, first))
    fitting = played(other, -GAIN, 20)
    other.values.fit(list(range(SEEDS)), fitting, discounted(fitting.reward, GAMMA))
    algorithm.values = other.values
    return algorithm


def estimated(algorithm: Any, theta: Tensor, rollouts: Rollouts, v: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient and Hessian-vector product of each seed's episodes, `[S, D]`."""
    seeds = len(algorithm.task.seeds)
    stacked, directions = theta.float().expand(seeds, -1), v.float().expand(seeds, -1)
    weight = algorithm.weights(list(range(seeds)), rollouts)
    g = gradient(algorithm.policy, stacked, rollouts, weight)
    return g, hessian_product(algorithm.policy, stacked, rollouts, weight, directions)


def in_groups(algorithm: Any, theta: Tensor, v: Tensor, size: int, groups: int) -> Tensor:
    """The same of groups of each seed's episodes, one behind the other: `[2, S * groups, D]`."""
    places, found = range(len(algorithm.task.seeds)), []
    stacked = theta.float().expand(len(places), -1)
    for group in range(groups):
        first = [group * size for _ in places]
        batches = algorithm.sampler.sample(places, stacked, first, size * algorithm.sampler.horizon)
        found.append(torch.stack(estimated(algorithm, theta, joined(batches, 0), v)))
    return torch.cat(found, 1)


def cells(samples: Tensor, truth: Tensor) -> list[str]:
    """Mean and standard error, the exact value, and how many errors are between, of the component where most are."""
    samples = samples.double()
    mean, error = samples.mean(0), samples.std(0) / len(samples) ** 0.5
    off = (mean - truth).abs() / error
    d = int(off.argmax())
    return [f"{mean[d]:.4f} ± {error[d]:.4f}", f"{truth[d]:.4f}", f"{off[d]:.1f}"]


def show(name: str, algorithm: Any, size: int, samples: Tensor, truth: tuple[Tensor, Tensor]) -> None:
    """Print a row of the table."""
    seeds = algorithm.task.seeds
    found = [cell for each in zip(samples, truth, strict=True) for cell in cells(*each)]
    row = [name, f"{size * samples.shape[1]:,}", f"{seeds[0]} to {seeds[-1]}", *found]
    print(f"| {' | '.join(row)} |", flush=True)


def main() -> None:
    cpu.settle(1)
    names = ["", "episodes", "seeds", "gradient", "exact", "errors off", "product", "exact", "errors off"]
    print(f"| {' | '.join(names)} |\n{'|---' * len(names)}|")
    slope, curvature = lqr_exact()
    for baseline, first, size, groups in (
        ("none", 100, 400, 1),
        ("none", 300, 500, 12),
        ("linear", 100, 400, 1),
        ("linear", 200, 500, 8),
        ("linear", 300, 500, 12),
    ):
        algorithm = lqr_with_baseline(first, baseline)
        g, product = in_groups(algorithm, -GAIN, ALONG, size, groups)
        name = f"`lqr1d`, {'no' if baseline == 'none' else baseline} baseline"
        show(name, algorithm, size, torch.stack([-g, product]), (-slope, curvature))  # in k, which is -theta
    for first, size, groups in ((0, 400, 1), (100, 500, 8)):
        algorithm = chain("harpg", tuple(range(first, first + SEEDS)), baseline="none")
        samples = in_groups(algorithm, LOGITS, DIRECTION, size, groups)
        show("`chain3`, no baseline, worst of six", algorithm, size, samples, exact(chain_return, LOGITS, DIRECTION))


if __name__ == "__main__":
    main()
