"""How much longer than the shortest the ways through the maze are: `python results/moorl/detours.py RUN...`.

Each RUN is the folder of a run in `env=pointmaze2d_sparse`. Its policy plays 100 episodes a seed; of those that reach
the goal, the median of their steps over the fewest from there (see `rlbench.envs.point_maze.shortest`). Prints a table
with a row for each seed that does reach it.
"""

import sys
from pathlib import Path
from typing import Any, cast

import numpy as np

from rlbench import config
from rlbench.build import build_trained
from rlbench.envs.evaluate import rollout, start_seed
from rlbench.envs.point_maze import STEP, shortest
from rlbench.tracking.rundir import RunDir

EPISODES = 100


def rows(folder: Path) -> list[str]:
    """A row for each seed that reaches the goal."""
    algo = config.load(folder / "config.yaml").algo
    policy = cast(Any, build_trained(RunDir.open(folder), "hardware.device=cpu")[0])
    task = policy.task  # which sees what it was trained on, normalised states for one
    lengths, env = shortest(), task.env.make()
    _, steps, success = rollout(
        task.env, lambda s: policy.action(policy.actor_params, task.features(s)), task.seeds, EPISODES
    )
    found = []
    for row, seed in enumerate(task.seeds):
        there = success[row] == 1
        if there.any():
            starts = [env.reset(seed=start_seed(seed, episode))[0] for episode in range(EPISODES)]
            least = np.array([lengths[tuple(np.rint(start / STEP).astype(int).tolist())] for start in starts])
            median = np.median(steps[row][there] / least[there])
            sizes = f"{algo.hidden_dims[0]} x {len(algo.hidden_dims)}"
            settings = f"{algo.get('gamma', 1):g}", f"{algo.get('reward_shift', 0):g}", sizes
            found.append(f"| {' | '.join([algo.name, *settings, str(seed), str(there.sum()), f'{median:.2f}'])} |")
    return found


if __name__ == "__main__":
    print("| algorithm | discount | shift of rewards | layers | seed | of 100 succeed | their median over the fewest |")
    print("|---|---:|---:|---|---:|---:|---:|")
    for name in sys.argv[1:]:
        print(*(f"{row}\n" for row in rows(Path(name))), sep="", end="")
