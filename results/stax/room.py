"""What STAX's autoencoder learns of pictures of a point: `python results/stax/room.py [--device cuda]`.

Trained on 4,000 pictures of `env=point2d_goals` with points anywhere, minibatches of 128, and shown 500 others.
`correlation` is Spearman's rank correlation of distances between codes and between points, of all pairs and of those
within 0.4 of each other; `neighbours` the mean distance between a point and those of its 15 nearest codes, of which
novelty is made (any two points are 1.05 apart, a point and its 15 nearest 0.14); `error` is the mean squared error of
the pixels as a share of the mean picture's.
"""

import argparse
from itertools import product

import numpy as np
import torch
from scipy.spatial.distance import pdist, squareform  # type: ignore[import-untyped]
from scipy.stats import spearmanr  # type: ignore[import-untyped]

from rlbench.algos.evolution.autoencoder import Autoencoder
from rlbench.envs.drawing import BLACK, WHITE
from rlbench.envs.point2d_goals import room

TRAINING, SHOWN = 4000, 500
BATCH, FEATURES, RATE = 128, 10, 1e-3
NEAR = 0.4
NEIGHBOURS = 15
SHADES = {"white": WHITE, "black": BLACK}


def described(autoencoder: Autoencoder, points: np.ndarray, pictures: np.ndarray) -> list[str]:
    """Cells of the table."""
    codes, errors = autoencoder(pictures)
    between, apart = pdist(codes), pdist(points)
    near = apart < NEAR
    correlations = (spearmanr(between[pairs], apart[pairs]).statistic for pairs in (slice(None), near))
    others = squareform(between)
    np.fill_diagonal(others, np.inf)
    nearest = np.take_along_axis(squareform(apart), others.argsort(1)[:, :NEIGHBOURS], 1)
    share = errors.mean() / (pictures / 255).var(0).mean()
    return [*(f"{each:.3f}" for each in correlations), f"{nearest.mean():.3f}", f"{share:.3f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shades", nargs="+", default=list(SHADES), choices=SHADES)
    parser.add_argument("--radii", nargs="+", type=float, default=[2.0, 5.0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", nargs="+", type=int, default=[0, 1000, 4000, 16000], help="when to look")
    asked = parser.parse_args()
    names = ["background", "radius", "seed", "steps", "correlation", "of near pairs", "neighbours", "error"]
    print(f"| {' | '.join(names)} |\n{'|---' * len(names)}|")
    shown = np.random.default_rng(20211104).uniform(-1, 1, (SHOWN, 2))
    for shade, radius, seed in product(asked.shades, asked.radii, asked.seeds):
        rng = np.random.default_rng(seed)
        pictures = room(shown, SHADES[shade], radius)
        autoencoder = Autoencoder(seed, FEATURES, RATE, BATCH, torch.device(asked.device))
        training = autoencoder.pixels(room(rng.uniform(-1, 1, (TRAINING, 2)), SHADES[shade], radius))
        for step in range(max(asked.steps) + 1):
            if step in asked.steps:
                cells = [shade, f"{radius:g}", str(seed), f"{step:,}", *described(autoencoder, shown, pictures)]
                print(f"| {' | '.join(cells)} |", flush=True)
            autoencoder.step(training[torch.from_numpy(rng.integers(TRAINING, size=BATCH)).to(training.device)])


if __name__ == "__main__":
    main()
