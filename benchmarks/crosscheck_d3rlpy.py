"""TD3+BC and IQL of d3rlpy on a data set of ours: what `results/crosscheck_d3rlpy.md` compares with.

Runs where d3rlpy is installed (`pip install d3rlpy 'mujoco>=3.2.3,<3.5' 'numpy<2.4'`; rlbench is not needed):

    python benchmarks/crosscheck_d3rlpy.py FOLDER --algo td3_bc --steps 10000 --seeds 0 1 2 3

FOLDER holds `transitions.npy` and `card.json`: one of the folders that `rlbench data list` names. One JSON line a seed
is printed: the normalised score of 10 deterministic episodes at each of the last 5 evaluations, 1,000 updates apart.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import d3rlpy
import gymnasium
import numpy as np
import torch


def load(folder: Path) -> tuple[d3rlpy.dataset.MDPDataset, np.ndarray, dict[str, Any]]:
    """The data set in d3rlpy's form, its episodes' returns, and its card."""
    card = json.loads((folder / "card.json").read_text())
    rows = np.load(folder / "transitions.npy")
    d, a = card["observation_dim"], card["action_dim"]
    ends = np.flatnonzero(rows[:, -2:].any(axis=1)) + 1
    rows = rows[: ends[-1]]  # d3rlpy wants whole episodes
    observation, action, reward = rows[:, :d], rows[:, d : d + a], rows[:, d + a]
    dataset = d3rlpy.dataset.MDPDataset(observation, action, reward[:, None], rows[:, -2], rows[:, -1])
    returns = np.add.reduceat(reward.astype(np.float64), np.concatenate([[0], ends[:-1]]))
    return dataset, returns, card


def build(name: str, returns: np.ndarray) -> Any:
    """The algorithm with the hyperparameters of rlbench's own configuration."""
    if name == "td3_bc":
        config = d3rlpy.algos.TD3PlusBCConfig(
            actor_learning_rate=3e-4,
            critic_learning_rate=3e-4,
            alpha=2.5,
            batch_size=256,
            observation_scaler=d3rlpy.preprocessing.StandardObservationScaler(),
        )
        return config.create(device="cpu")
    config = d3rlpy.algos.IQLConfig(
        actor_learning_rate=3e-4,
        critic_learning_rate=3e-4,
        batch_size=256,
        expectile=0.7,
        weight_temp=3.0,
        max_weight=100.0,
        reward_scaler=d3rlpy.preprocessing.MultiplyRewardScaler(1000.0 / float(returns.max() - returns.min())),
    )
    return config.create(device="cpu")


def evaluate(algo: Any, env_id: str, seed: int, episodes: int = 10) -> float:
    """Mean undiscounted return of the deterministic policy."""
    env = gymnasium.make(env_id)
    total = 0.0
    for episode in range(episodes):
        observation, _ = env.reset(seed=1000 * seed + episode)
        done = False
        while not done:
            action = algo.predict(observation[None].astype(np.float32))[0]
            observation, reward, terminated, truncated, _ = env.step(action)
            total += float(reward)
            done = terminated or truncated
    return total / episodes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--algo", choices=["td3_bc", "iql"], required=True)
    parser.add_argument("--steps", type=int, default=10000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    args = parser.parse_args()
    torch.set_num_threads(1)
    dataset, returns, card = load(args.folder)
    low, high = card["reference"]["min"], card["reference"]["max"]
    for seed in args.seeds:
        d3rlpy.seed(seed)
        algo = build(args.algo, returns)
        scores: list[float] = []
        start = time.process_time()
        for epoch, _ in algo.fitter(
            dataset, n_steps=args.steps, n_steps_per_epoch=1000, show_progress=False, logger_adapter=NO_LOG
        ):
            if epoch > args.steps // 1000 - 5:
                scores.append(100 * (evaluate(algo, card["env"], seed) - low) / (high - low))
        row = {"algo": args.algo, "seed": seed, "scores": scores, "mean": float(np.mean(scores))}
        print(json.dumps({**row, "cpu_seconds": round(time.process_time() - start, 1)}), flush=True)


NO_LOG = d3rlpy.logging.NoopAdapterFactory()

if __name__ == "__main__":
    main()
