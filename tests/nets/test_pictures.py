"""DrQ-v2's networks against torch.nn with the same weights, seed by seed; the shift against padding and cropping."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from rlbench.errors import UsageError
from rlbench.nets.optim import Params
from rlbench.nets.pictures import LEAST, SHIFT, Encoder, PictureNetworks, shifted
from rlbench.rng import SeedStreams
from tests.nets.seeing import Plain

SHAPE = (9, 25, 29)
ROWS = torch.randint(0, 256, (2, 5, 9 * 25 * 29), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def drawn(like: Params, seed: int) -> Params:
    """Parameters none of which is 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    return {name: 0.2 * torch.randn(value.shape, generator=generator) for name, value in like.items()}


@pytest.mark.parametrize(("members", "acts"), [(1, False), (2, True)])
def test_networks_are_those_of_torch(members: int, acts: bool) -> None:
    networks = PictureNetworks(3, 2, (3, 25, 29))
    net = networks.state_action([16], 4, members=members) if acts else networks.state([16], 4, members=members)
    streams = SeedStreams((0, 1), "parameters")
    params = drawn({**networks.encoder.init(streams), **net.init(streams)}, 7)
    leaves = {name: value.clone().requires_grad_() for name, value in params.items()}
    action = torch.rand(2, 5, 2) if acts else None
    out = net(leaves, ROWS, action)
    assert out.shape == (2 * members, 5, 4)
    weights = torch.randn(out.shape)
    grads = dict(zip(leaves, torch.autograd.grad((weights * out).sum(), list(leaves.values())), strict=True))
    for seed in range(2):
        plain = [Plain(params, seed, SHAPE, member, members) for member in range(members)]
        for each in plain:
            each.encoder = plain[0].encoder
        total = torch.zeros(())
        for member, network in enumerate(plain):
            one = network(ROWS[seed], None if action is None else action[seed])
            torch.testing.assert_close(out[seed * members + member], one, rtol=1e-4, atol=1e-5)
            total = total + (weights[seed * members + member] * one).sum()
        total.backward()
        first = plain[0].encoder[0].weight
        torch.testing.assert_close(grads["encoder.0.weight"][seed], first.grad, rtol=1e-3, atol=1e-3)
    # What is encoded already goes in behind the encoder.
    torch.testing.assert_close(net(params, networks.encoder(params, ROWS), action), out.detach())


def test_a_seed_does_not_depend_on_its_companions() -> None:
    networks = PictureNetworks(3, 2, (3, 25, 29))
    net = networks.state([16], 4)

    def made(seeds: tuple[int, ...]) -> Params:
        return {**networks.encoder.init(SeedStreams(seeds, "e")), **net.init(SeedStreams(seeds, "n"))}

    both, alone = made((0, 1)), made((1,))
    for name, value in alone.items():
        assert torch.equal(both[name][1], value[0])
    torch.testing.assert_close(net(both, ROWS)[1], net(alone, ROWS[1:])[0], rtol=1e-5, atol=1e-6)


def test_first_weights_are_orthogonal() -> None:
    networks = PictureNetworks(1, 2, (3, LEAST, LEAST))
    encoder, streams = networks.encoder, SeedStreams((0, 1), "parameters")
    assert encoder.dim == 32
    params = encoder.init(streams)
    assert list(encoder.own({**params, "trunk.weight": torch.zeros(1)})) == list(params)
    for i in range(1, 4):  # 288 inputs for 32 outputs
        flat = params[f"encoder.{i}.weight"][1].flatten(1)
        torch.testing.assert_close(flat @ flat.T, 2 * torch.eye(32), rtol=0, atol=1e-5)
    flat = params["encoder.0.weight"][1].flatten(1)  # 27 inputs
    torch.testing.assert_close(flat.T @ flat, 2 * torch.eye(27), rtol=0, atol=1e-5)
    weight = networks.state([8], 2).init(streams)["trunk.weight"][1]
    torch.testing.assert_close(weight @ weight.T, torch.eye(32), rtol=0, atol=1e-5)
    with pytest.raises(UsageError, match="15 x 14 are too small"):
        Encoder((3, LEAST, LEAST - 1))


def test_a_shift_is_padding_and_cropping() -> None:
    """Every whole offset, against DrQ-v2's padding with the edge and cropping."""
    pictures = torch.arange(2 * 3 * 8 * 10).view(2, 3, 8, 10).to(torch.uint8)
    padded = F.pad(pictures.float(), (SHIFT,) * 4, "replicate").to(torch.uint8)
    for down in range(-SHIFT, SHIFT + 1):
        for right in range(-SHIFT, SHIFT + 1):
            offset = torch.tensor([[down, right], [-right, down]])
            found = shifted(pictures, offset)
            for picture, (y, x) in enumerate(offset.tolist()):
                crop = padded[picture, :, SHIFT + y : SHIFT + y + 8, SHIFT + x : SHIFT + x + 10]
                assert torch.equal(found[picture], crop)
