"""How distances in STAX's learned space agree with those of outcomes: `python results/stax/latent.py RUN...`.

Each RUN is a run's folder; STAX-NT's are passed over. Of its newest checkpoint every seed's autoencoder is shown the
views of 500 random policies, and beside it the one that it was before its first training. `rank correlation` is
Spearman's of the distances of all pairs, of codes and of outcomes; `error` the mean squared error of the pixels, last
that of the mean picture.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.distance import pdist  # type: ignore[import-untyped]
from scipy.stats import spearmanr  # type: ignore[import-untyped]

from rlbench import config
from rlbench.build import build, build_trained
from rlbench.envs.drawing import PIXELS
from rlbench.envs.policy_search import Episodes
from rlbench.tracking.rundir import RunDir

POLICIES = 500
SEED = 20211104  # no run's


def played(env: Any, views: int, policies: int = POLICIES) -> Episodes:
    """Episodes of random policies, the same in each call."""
    controller = env.controller
    genomes = np.random.default_rng(SEED).standard_normal((policies, controller.genes))
    return env.episodes(genomes.clip(-controller.LIMIT, controller.LIMIT), views)


def rows(folder: Path) -> list[str]:
    """A row of the table for each seed of a run; none if it is never to be trained."""
    directory = RunDir.open(folder)
    trained, task, _ = build_trained(directory)
    fresh, _ = build(config.load(folder / "config.yaml"))
    stax: Any = trained
    if not stax.space.max_epochs:
        return []
    episodes = played(task.env, stax.views)
    views = episodes.views.reshape(-1, PIXELS, PIXELS, 3)
    apart, mean = pdist(episodes.outcome), (views / 255).var(0).mean()
    found = []
    for place, seed in enumerate(task.seeds):
        settings = f"{stax.space.autoencoders[place].batch_size}, {stax.space.max_epochs}, {stax.survival}"
        counts = f"{stax.searches[place].evaluations:,}", str(stax.space.trainings[place])
        cells = [task.env.name, settings, str(seed), *counts]
        for algorithm in (fresh, trained):
            space: Any = algorithm
            codes, errors = space.space.autoencoders[place](views)
            agreement = spearmanr(pdist(codes.reshape(POLICIES, -1)), apart).statistic
            cells += [f"{agreement:.3f}", f"{errors.mean():.5f}"]
        found.append(f"| {' | '.join([*cells, f'{mean:.5f}'])} |")
    return found


def main(folders: list[Path]) -> None:
    names = ["environment", "batch, epochs, survival", "seed", "episodes", "trainings"]
    names += [f"{what}, {when}" for when in ("untrained", "trained") for what in ("rank correlation", "error")]
    names += ["error of the mean picture"]
    print(f"| {' | '.join(names)} |\n{'|---' * len(names)}|")
    for folder in folders:
        for row in rows(folder):
            print(row, flush=True)


if __name__ == "__main__":
    main([Path(word) for word in sys.argv[1:]])
