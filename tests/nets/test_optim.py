"""The optimiser against torch's plain one."""

import torch

from rlbench.nets.optim import Adam


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
