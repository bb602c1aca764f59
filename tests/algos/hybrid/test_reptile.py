"""The meta-update against the exact stationary law of Reptile on two quadratics."""

import numpy as np
import pytest
import torch
from torch import nn

from rlbench.algos.hybrid.reptile import Reptile

CURVATURE, CENTRE = torch.tensor([1.0, 4.0]), torch.tensor([0.0, 1.0])
RATE = 0.1
CHAINS = 2000


class Network(nn.Module):
    """Many independent parameters w of the loss a (w - c)^2 / 2, one a chain."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.full((CHAINS,), 0.5))


def stationary(steps: int, meta_step: float) -> tuple[float, float]:
    """Mean and standard deviation of w, from their fixed points; a task has probability 1/2.

    An iteration on task i does w <- (1 - b_i) w + b_i c_i with b_i = meta_step (1 - (1 - RATE a_i)^steps).
    """
    b, c = meta_step * (1 - (1 - RATE * CURVATURE.double().numpy()) ** steps), CENTRE.double().numpy()
    mean = (b * c).mean() / b.mean()
    second = (2 * (1 - b) * b * c * mean + b**2 * c**2).mean() / (1 - (1 - b) ** 2).mean()
    return float(mean), float(np.sqrt(second - mean**2))


def run(steps: int, meta_step: float) -> list[nn.Parameter]:
    """Two networks under one meta-update, trained by SGD, after enough iterations to forget the start."""
    generator = torch.Generator().manual_seed(0)
    networks = [Network(), Network()]
    meta = Reptile([dict(network.named_parameters()) for network in networks])
    iterations = int(8 / (meta_step * (1 - (1 - RATE) ** steps)))
    for _ in range(iterations):
        task = torch.randint(2, (CHAINS,), generator=generator)
        optimizer = torch.optim.SGD([network.w for network in networks], lr=RATE)
        with meta.adaptation(meta_step):
            for _ in range(steps):
                optimizer.zero_grad()
                loss = sum((CURVATURE[task] * (n.w - CENTRE[task]) ** 2 / 2).sum() for n in networks)
                loss.backward()  # type: ignore[union-attr]
                optimizer.step()
    return [network.w for network in networks]


@pytest.mark.parametrize(("steps", "mean"), [(1, 0.8), (5, 0.692502), (20, 0.532352)])
@pytest.mark.parametrize("meta_step", [0.05, 0.5])
def test_stationary_law(steps: int, mean: float, meta_step: float) -> None:
    """The mean does not depend on the size of the meta-step, the spread does: it tells 0.5 from 1."""
    exact, spread = stationary(steps, meta_step)
    assert exact == pytest.approx(mean, abs=1e-6)
    for w in run(steps, meta_step):
        assert w.mean().item() == pytest.approx(exact, abs=0.01)
        assert w.std().item() == pytest.approx(spread, rel=0.06)


def test_another_meta_step_has_another_spread() -> None:
    """What the tolerance above has to tell apart."""
    for steps in (1, 5, 20):
        assert stationary(steps, 1.0)[1] > 1.2 * stationary(steps, 0.5)[1]


def test_extremes_to_the_bit() -> None:
    start = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    for meta_step, wanted in ((1.0, start * 3 + 1), (0.0, start)):
        w = start.clone()
        with Reptile([{"w": w}]).adaptation(meta_step):
            w.mul_(3).add_(1)
        assert torch.equal(w, wanted)
