"""How much longer than the shortest the ways through the maze are: `python results/moorl/detours.py RUN...`.

Each RUN is the folder of a run in `env=pointmaze2d_sparse`. Its policy plays 100 episodes a seed; of those that reach
the goal, the median of their steps over the fewest from there (see `rlbench.envs.point_maze.shortest`).
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from rlbench.build import build_trained
from rlbench.envs.evaluate import rollout, start_seed
from rlbench.envs.point_maze import STEP, shortest
from rlbench.tracking.rundir import RunDir

EPISODES = 100


def detours(folder: Path) -> list[str]:
    """Each seed's median; `-` where no episode reaches the goal."""
    both: tuple[Any, Any] = build_trained(RunDir.open(folder), **{"hardware.device": "cpu"})
    policy, task = both
    lengths, env = shortest(), task.env.make()
    _, steps, success = rollout(
        task.env, lambda s: policy.action(policy.actor_params, task.features(s)), task.seeds, EPISODES
    )
    found = []
    for row, seed in enumerate(task.seeds):
        starts = [env.reset(seed=start_seed(seed, episode))[0] for episode in range(EPISODES)]
        least = np.array([lengths[tuple(np.rint(start / STEP).astype(int).tolist())] for start in starts])
        there = success[row] == 1
        found.append(f"{np.median(steps[row][there] / least[there]):.2f}" if there.any() else "-")
    return found


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(f"{name}: {', '.join(detours(Path(name)))}")
