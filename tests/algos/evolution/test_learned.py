"""The learned behaviour space: the network, its training, and that nothing stays behind in an old space."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist  # type: ignore[import-untyped]
from scipy.stats import spearmanr  # type: ignore[import-untyped]
from torch import nn

from rlbench.algos.evolution.autoencoder import Autoencoder
from rlbench.algos.evolution.learned import LearnedSpace
from rlbench.envs.point2d_goals import Room
from tests.algos.evolution.searches import CPU, problem, search

SMALL: dict[str, Any] = {"population": 10, "chunk": 60, "max_epochs": 2, "features": 3}


def views(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)


def layers() -> tuple[list[nn.Module], list[nn.Module]]:
    """The same network made of torch's layers: encoder and decoder."""
    down = [(3, 32), (32, 64), (64, 32), (32, 16)]
    encoder: list[nn.Module] = []
    for into, out in down:
        encoder += [nn.Conv2d(into, out, 4, 2, 1), nn.SELU()]
    encoder += [nn.Flatten(), nn.Linear(256, 10), nn.SELU()]
    decoder: list[nn.Module] = [nn.Linear(10, 256), nn.SELU(), nn.Unflatten(1, (16, 4, 4))]
    for into, out in reversed(down):
        decoder += [nn.ConvTranspose2d(out, into, 4, 2, 1), nn.SELU()]
    decoder[-1] = nn.ReLU()
    return encoder, decoder


def named(parts: list[nn.Module]) -> dict[str, nn.Module]:
    """Torch's layers that have parameters, by our names for them."""
    names = [*(f"encode{i}" for i in range(4)), "code", "uncode", *(f"decode{i}" for i in reversed(range(4)))]
    return dict(zip(names, (layer for layer in parts if hasattr(layer, "weight")), strict=True))


def reference(ours: Autoencoder) -> tuple[nn.Sequential, nn.Sequential]:
    """Torch's layers with our parameters."""
    encoder, decoder = layers()
    for name, layer in named([*encoder, *decoder]).items():
        layer.load_state_dict({each: ours.params[f"{name}.{each}"] for each in ("weight", "bias")})
    return nn.Sequential(*encoder), nn.Sequential(*decoder)


def test_it_begins_as_torchs_layers_do() -> None:
    """Uniform up to the same bounds: the largest of twenty beginnings are alike, of every weight and bias."""
    torch.manual_seed(0)
    ours = [Autoencoder(seed, 10, 1e-3, 5, CPU).params for seed in range(20)]
    theirs = [named([part for half in layers() for part in half]) for _ in range(20)]
    for key in ours[0]:
        name, _, kind = key.partition(".")
        mine = max(params[key].abs().max().item() for params in ours)
        assert mine == pytest.approx(max(getattr(net[name], kind).abs().max().item() for net in theirs), rel=0.1), key


def test_the_autoencoder_is_torchs_layers_one_after_another() -> None:
    ours = Autoencoder(0, 10, 1e-3, 5, CPU)
    encoder, decoder = reference(ours)
    images = views(8)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        code = encoder(pixels)
        error = (decoder(code) - pixels).square().mean((1, 2, 3))
    codes, errors = ours(images)
    np.testing.assert_allclose(codes, code.double(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(errors, error.double(), rtol=1e-4)


def test_one_step_is_torchs_adam() -> None:
    ours = Autoencoder(0, 10, 1e-3, 8, CPU)
    encoder, decoder = reference(ours)
    both = nn.Sequential(encoder, decoder)
    pixels = torch.from_numpy(views(8)).permute(0, 3, 1, 2) / 255
    optimizer = torch.optim.Adam(both.parameters(), lr=1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        (both(pixels) - pixels).square().mean().backward()
        optimizer.step()
        ours.step(pixels)
    theirs = next(encoder.parameters()).detach()  # the weight of the first layer
    torch.testing.assert_close(ours.params["encode0.weight"], theirs, rtol=1e-4, atol=1e-5)


def test_the_error_of_pictures_falls_to_less_than_a_fifth() -> None:
    arm = problem("redundant_arm")
    genomes = np.random.default_rng(0).standard_normal((60, arm.controller.genes))
    pictures = arm.episodes(genomes, 1).views[:, 0]
    autoencoder = Autoencoder(0, 10, 1e-3, 4, CPU)
    before = autoencoder(pictures[:20])[1].mean()
    autoencoder.fit(pictures[20:], 12)
    assert autoencoder(pictures[:20])[1].mean() <= before / 5


@pytest.mark.slow
def test_the_learned_space_is_one_of_outcomes() -> None:
    """In the arm: rank correlation of distances between codes and between ends, of policies it was not trained on."""
    arm = problem("redundant_arm")

    def played(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        genomes = np.random.default_rng(seed).standard_normal((count, arm.controller.genes))
        episodes = arm.episodes(genomes.clip(-arm.controller.LIMIT, arm.controller.LIMIT), 1)
        return episodes.views[:, 0], episodes.outcome

    def agreement(autoencoder: Autoencoder) -> float:
        return spearmanr(pdist(autoencoder(pictures)[0]), pdist(ends)).statistic

    pictures, ends = played(1, 300)
    autoencoder = Autoencoder(0, 10, 1e-3, 32, CPU)
    untrained = agreement(autoencoder)
    autoencoder.fit(played(0, 400)[0], 50)
    assert agreement(autoencoder) >= 0.6 > untrained


def test_training_ends_after_four_rises_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    autoencoder = Autoencoder(0, 2, 1e-3, 8, CPU)
    errors = iter([5.0, 6, 7, 8, 3, 4, 5, 5, 6, 7, 8, 9, 0, 0])  # the first is from before; 5, 5 is no rise
    epochs = 0

    def called(_self: Autoencoder, _images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(1), np.array([next(errors)])

    def stepped(_self: Autoencoder, _pixels: torch.Tensor) -> None:
        nonlocal epochs
        epochs += 1

    monkeypatch.setattr(Autoencoder, "__call__", called)
    monkeypatch.setattr(Autoencoder, "step", stepped)
    assert autoencoder.fit(views(10), 100) == 9
    assert epochs == 11


def test_the_interval_between_trainings_grows_by_one() -> None:
    task = search("ns", problem("point2d_goals")).task
    space = LearnedSpace(task, 2, 1e-3, 8, 0)
    agents = search("stax", problem("point2d_goals"), **SMALL | {"max_epochs": 0})
    agents.train(10)
    trained = []
    for chunk in range(1, 16):
        if space.chunk_explored(0):
            space.train(0, agents.searches[0].population, [])
            trained.append(chunk)
    assert trained == [1, 3, 6, 10, 15]


@pytest.mark.parametrize("name", [pytest.param("stax", marks=pytest.mark.slow), "taxons"])
def test_after_a_training_everybody_is_described_in_the_new_space(name: str) -> None:
    changes = SMALL | ({"emitter_population": 4, "bootstrap": 2} if name == "stax" else {})
    algorithm = search(name, problem("point2d_goals_final", radius=0.5), **changes | {"views": 2})
    (s,), space = algorithm.searches, algorithm.space
    while space.trainings[0] < 2:
        algorithm.train(1)
    tables = [table for table in algorithm.tables(s) if len(table)]
    assert len(tables) >= (10 if name == "stax" else 4)
    for table in tables:
        codes, errors = space.autoencoders[0](table.views.reshape(-1, 64, 64, 3))
        np.testing.assert_allclose(table.behaviour, codes.reshape(len(table), 6), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(table.surprise, errors.reshape(len(table), 2).sum(1), rtol=1e-4)


def test_stax_sees_images_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same pictures of everybody, nobody is novel, wherever they end."""
    env = problem("point2d_goals_final")
    blind = search("stax", env, **SMALL)
    monkeypatch.setattr(Room, "drawn", lambda room: np.zeros((len(room.observation), 64, 64, 3), np.uint8))
    blind.train(100)
    (s,) = blind.searches
    assert s.population.outcome.std() > 0.1
    np.testing.assert_allclose(s.population.novelty, 0, atol=1e-5)


def test_without_training_the_space_stays_as_it_was() -> None:
    algorithm = search("stax", problem("point2d_goals_final"), **SMALL | {"max_epochs": 0})
    before = {name: value.clone() for name, value in algorithm.space.autoencoders[0].params.items()}
    algorithm.train(200)
    assert algorithm.space.trainings[0] >= 1
    for name, value in algorithm.space.autoencoders[0].params.items():
        assert torch.equal(value, before[name])
