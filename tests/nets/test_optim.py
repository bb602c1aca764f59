"""The optimiser against torch's plain one."""

import subprocess
import sys

import pytest
import torch

from rlbench.nets import tracing
from rlbench.nets.optim import Adam, clipped


def test_adam_follows_gradients_of_any_strides() -> None:
    """Second derivatives come out transposed in memory, which the fused kernel does not look at."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(2, 3, 4, generator=generator)
    ours, plain = start.clone(), start.clone()
    adam, reference = Adam({"weight": ours}, 0.1), torch.optim.Adam([plain], lr=0.1, foreach=False)
    for _ in range(5):
        gradient = torch.randn(2, 4, 3, generator=generator).transpose(1, 2)
        adam.step([gradient])
        plain.grad = gradient
        reference.step()
    torch.testing.assert_close(ours, plain)


@pytest.mark.parametrize("fused", [True, False])
def test_adam_is_torchs(fused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of a step, with a rate that changes, and from a saved state."""
    monkeypatch.setattr(tracing, "active", not fused)
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(3, 4, generator=generator), torch.randn(7, generator=generator)]
    ours, plain = ({str(i): value.clone() for i, value in enumerate(start)} for _ in range(2))
    adam, reference = Adam(ours, 0.1), torch.optim.Adam(plain.values(), lr=0.1, foreach=False)
    for step in range(200):
        if step == 50:
            adam.set_rate(0.01)
            reference.param_groups[0]["lr"] = 0.01
        if step == 100:
            state = adam.state_dict()
            adam = Adam(ours, 0.5)
            adam.load_state_dict(state)
        gradients = [torch.randn(value.shape, generator=generator) for value in start]
        adam.step(gradients)
        for param, gradient in zip(plain.values(), gradients, strict=True):
            param.grad = gradient
        reference.step()
    for name, value in ours.items():
        torch.testing.assert_close(value, plain[name], rtol=1e-5, atol=1e-5)


def test_gradients_are_clipped_as_torch_does_it_seed_by_seed() -> None:
    generator = torch.Generator().manual_seed(0)
    grads = [torch.randn(3, *shape, generator=generator) for shape in ((4, 2), (7,), (1, 5))]
    grads = [grad * torch.tensor([0.01, 1.0, 100.0]).view(-1, *[1] * (grad.dim() - 1)) for grad in grads]
    found, norm = clipped(grads, 1.0)
    for s in range(3):
        alone = [torch.zeros_like(grad[s]).requires_grad_() for grad in grads]
        for value, grad in zip(alone, grads, strict=True):
            value.grad = grad[s].clone()
        torch.testing.assert_close(norm[s], torch.nn.utils.clip_grad_norm_(alone, 1.0))
        for value, grad in zip(alone, found, strict=True):
            torch.testing.assert_close(grad[s], value.grad)
    assert torch.equal(found[0][0], grads[0][0])  # a small one stays as it is


def test_gradients_of_several_seeds_import_nothing_more() -> None:
    """SymPy, which PyTorch imports to compare shapes, takes a third of a second of each run."""
    asked = """
import sys
import torch
from rlbench.nets.optim import gradients
before = set(sys.modules)
(grad,), _ = gradients(lambda params: (params["x"].square().sum(1), {}), {"x": torch.ones(2, 3)})
assert grad.tolist() == [[2.0] * 3] * 2
print(*sorted({name.split(".")[0] for name in set(sys.modules) - before} - {"torch"}))
"""
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
