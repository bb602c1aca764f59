"""Updates of models in half precision: they add up as in single precision, and are taken up again to the same bits."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from rlbench.language.hf import Listed
from rlbench.language.tuning import Tuner

RATE, WARMUP, UPDATES = 5e-7, 150, 300  # those of DPO's code; an epoch is longer


@cache
def weights() -> tuple[Tensor, Tensor]:
    """Weights of a language model's size, and a gradient of each, all of which both precisions hold."""
    rng = torch.Generator().manual_seed(0)
    some = 0.02 * torch.randn(4096, generator=rng), torch.randn(4096, generator=rng)
    return some[0].bfloat16().float(), some[1].bfloat16().float()


def model(dtype: torch.dtype) -> Listed:
    module = nn.Module()
    module.weight = nn.Parameter(weights()[0].to(dtype, copy=True))
    return Listed([module])


def losses(model: Listed) -> list[Tensor]:
    """Their gradient is the same wherever the weights are."""
    (value,) = model.parameters()
    return [(value * weights()[1].to(value)).sum()[None]]


def moved(value: Tensor) -> float:
    """How far weights have gone downhill on average, in learning rates."""
    first, slope = weights()
    return float((-(value.detach().float() - first) * slope.sign()).mean()) / RATE


def test_small_updates_add_up_in_half_precision() -> None:
    """Weights are those of single precision, rounded; without copies in single precision hardly any moves."""
    found: dict[torch.dtype, Tensor] = {}
    for dtype in (torch.float32, torch.bfloat16):
        tuned = model(dtype)
        tuner = Tuner(tuned, RATE, WARMUP, 1e9)
        for _ in range(UPDATES):
            tuner.step(losses(tuned))
        (found[dtype],) = tuned.parameters()
    assert found[torch.bfloat16].dtype == torch.bfloat16
    assert torch.equal(found[torch.bfloat16], found[torch.float32].bfloat16())
    assert 200 < moved(found[torch.float32]) < 300
    assert abs(moved(found[torch.bfloat16]) / moved(found[torch.float32]) - 1) < 0.1

    naive = model(torch.bfloat16)
    optimizer = torch.optim.RMSprop(naive.parameters(), lr=RATE)
    for _ in range(UPDATES):
        optimizer.zero_grad()
        losses(naive)[0].backward()
        optimizer.step()
    assert moved(naive.parameters()[0]) < 0.1 * moved(found[torch.float32])


def test_gradients_in_half_precision_are_clipped_and_freed() -> None:
    tuned = model(torch.bfloat16)
    norm = Tuner(tuned, RATE, 0, 1.0).step(losses(tuned))
    assert norm.dtype == torch.float32
    assert abs(float(norm) / float(weights()[1].norm()) - 1) < 0.01
    assert tuned.parameters()[0].grad is None


def test_a_state_in_half_precision_is_taken_up_to_the_same_bits() -> None:
    whole, half, fresh = (model(torch.bfloat16) for _ in range(3))
    tuner, stopped, resumed = (Tuner(each, RATE, WARMUP, 1e9) for each in (whole, half, fresh))
    for _ in range(UPDATES):
        tuner.step(losses(whole))
    for _ in range(UPDATES // 3):
        stopped.step(losses(half))
    resumed.load_state_dict(stopped.state_dict())
    for _ in range(UPDATES - UPDATES // 3):
        resumed.step(losses(fresh))
    assert torch.equal(whole.parameters()[0], fresh.parameters()[0])
