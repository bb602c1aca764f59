"""Random streams: chances, and that a seed's numbers do not depend on its company."""

from __future__ import annotations

import pytest
import torch

from rlbench.rng import SeedStreams

DRAWS = 2**20
on_each_device = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])


@on_each_device
@pytest.mark.parametrize("probability", [1e-4, 0.1, 0.25, 0.5, 0.75, 0.999])
def test_a_chance_comes_as_often_as_it_says(probability: float, device: str) -> None:
    (drawn,) = SeedStreams((0,), "x", device).chance(probability, DRAWS)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    error = (probability * (1 - probability) / DRAWS) ** 0.5
    assert drawn.mean().item() == pytest.approx(probability, abs=4 * error + 2**-17)


@on_each_device
def test_all_or_nothing(device: str) -> None:
    streams = SeedStreams((0,), "x", device)
    assert streams.chance(1.0, DRAWS).mean() > 1 - 2**-14
    assert streams.chance(0.0, DRAWS).sum() == 0


@on_each_device
def test_chances_do_not_depend_on_each_other(device: str) -> None:
    """Four come of one number of the generator."""
    (drawn,) = SeedStreams((0,), "x", device).chance(0.5, DRAWS)
    for apart in (1, 2, 3, 4, 5, 8):
        same = (drawn[apart:] == drawn[:-apart]).float().mean().item()
        assert same == pytest.approx(0.5, abs=4 * 0.5 / DRAWS**0.5)


@on_each_device
@pytest.mark.parametrize("kind", ["normal", "uniform", "chance"])
def test_a_seed_draws_the_same_alone_and_beside_others(kind: str, device: str) -> None:
    together = [SeedStreams((3, 5, 8), "x", device).draw(kind, shape, 0.3) for shape in ((7,), (3, 5))]
    alone = [SeedStreams((5,), "x", device).draw(kind, shape, 0.3) for shape in ((7,), (3, 5))]
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one[1], other[0], rtol=0, atol=0)
