"""What STAX's autoencoder can learn of pictures, with time: `python results/stax/capacity.py ENV EPOCHS DEVICE`.

It is shown the views of 2,000 random policies in batches of 128, for so many epochs. The rows are of 500 others: how
distances of codes agree with those of outcomes, and the error of the pixels, as latent.py has them.
"""

import sys
from typing import Any

import numpy as np
import torch
from latent import PIXELS, POLICIES, played  # type: ignore[import-not-found]  # beside this file
from scipy.spatial.distance import pdist  # type: ignore[import-untyped]
from scipy.stats import spearmanr  # type: ignore[import-untyped]

from rlbench import config
from rlbench.algos.evolution.autoencoder import Autoencoder

SHOWN = 2000
BATCH = 128
ROWS = 10


def rows(name: str, seed: int, epochs: int, device: str) -> None:
    """Print the rows of one seed."""
    cfg = config.compose(["algo=stax", f"env={name}"])
    env: Any = config.instantiate(cfg.env)
    episodes = played(env, 1, SHOWN + POLICIES)
    views = episodes.views.reshape(-1, PIXELS, PIXELS, 3)
    shown, others, apart = views[:SHOWN], views[SHOWN:], pdist(episodes.outcome[SHOWN:])
    autoencoder = Autoencoder(seed, cfg.algo.features, cfg.algo.learning_rate, BATCH, torch.device(device))
    rng = np.random.default_rng(seed)
    for epoch in range(epochs + 1):
        if epoch * ROWS % epochs == 0:
            codes, errors = autoencoder(others)
            agreement = spearmanr(pdist(codes), apart).statistic
            mean = (others / 255).var(0).mean()
            updates = f"{epoch * -(-SHOWN // BATCH):,}"
            print(f"| {name} | {seed} | {updates} | {agreement:.3f} | {errors.mean():.5f} | {mean:.5f} |", flush=True)
        for part in autoencoder.parts(shown[rng.permutation(SHOWN)]):
            autoencoder.step(autoencoder.pixels(part))


def main(name: str, epochs: str, device: str) -> None:
    names = ["environment", "seed", "updates", "rank correlation", "error", "error of the mean picture"]
    print(f"| {' | '.join(names)} |\n{'|---' * len(names)}|")
    for seed in range(3):
        rows(name, seed, int(epochs), device)


if __name__ == "__main__":
    main(*sys.argv[1:])
