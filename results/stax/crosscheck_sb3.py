"""PPO, SAC and SAC with hindsight of stable-baselines3 beside ours: what "Beside stable-baselines3" on this page says.

Runs where both are installed (`pip install stable-baselines3`; 2.9.2 was compared with):

    python results/stax/crosscheck_sb3.py replay            # what either replay draws from the same episodes
    python results/stax/crosscheck_sb3.py ppo 0 1 2         # by algorithm and seeds: both libraries' runs

The same steps of the same environment, the same hyperparameters and the same judge, whose metrics are printed, a JSON
line a run.
"""

import argparse
import json
import time
from typing import Any

import gymnasium
import numpy as np
import stable_baselines3 as sb3  # type: ignore[import-not-found]
import torch
from gymnasium.spaces import Box, Dict
from scipy.stats import chi2_contingency  # type: ignore[import-untyped]
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor  # type: ignore[import-not-found]
from stable_baselines3.common.vec_env import DummyVecEnv  # type: ignore[import-not-found]
from torch import Tensor

from rlbench import config
from rlbench.algos.online.sac_her import HindsightReplay
from rlbench.build import build
from rlbench.data.sampling import Batch
from rlbench.envs.aimed import Aimed, aimed
from rlbench.envs.policy_search import PolicySearch
from rlbench.envs.record import Record
from rlbench.rng import SeedStreams
from rlbench.task import SearchTask

SIZE = 256
"""Rows of a minibatch of the replays that are compared."""
HIDDEN = [64, 64]
PPO: dict[str, Any] = {"batch_size": 2048, "minibatch_size": 64, "epochs": 10, "learning_rate": 1e-3}
SAC: dict[str, Any] = {"batch_size": 128, "gamma": 0.95, "tau": 0.02, "start_steps": 500, "log_std_min": -20.0} | {
    f"{part}_learning_rate": 1e-3 for part in ("actor", "critic", "alpha")
}
RUNS: dict[str, tuple[int, float, dict[str, Any]]] = {
    "ppo": (20_480, 0.6, PPO),
    "sac": (3_000, 0.6, SAC),
    "sac_her": (5_000, 0.2, SAC),
}
"""By algorithm: steps, radius of the areas, hyperparameters; all else is in our files, and below."""


def ours(name: str, seed: int) -> tuple[Any, Any]:
    """Our algorithm, untrained, and its task."""
    steps, radius, settings = RUNS[name]
    words = [f"algo.{key}={value}" for key, value in settings.items()]
    return build(
        config.compose(
            [f"algo={name}", "env=point2d_goals_final", f"env.radius={radius}", f"seed={seed}", f"steps={steps}",
             f"algo.hidden_dims={HIDDEN}", "hardware=cpu", *words]
        )
    )  # fmt: skip


class Heard(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Tells a record of every episode that ends.

    Args:
        env: whose episodes.
        record: it.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], record: Record) -> None:
        super().__init__(env)
        self.record = record

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        self.total = 0.0
        return super().reset(**kwargs)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = super().step(action)
        self.total += float(reward)
        if "end" in info:
            self.record.add(0, np.array([self.total]), info["end"][None])
        return observation, reward, terminated, truncated, info


class Goals(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A problem with goals as stable-baselines3 wants it: a Dict, and a reward that can be computed for other goals.

    Args:
        env: episodes of an `Aimed`.
        problem: of which problem.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], problem: PolicySearch) -> None:
        super().__init__(env)
        self.problem = problem
        widths = {"observation": problem.dims()[0], "achieved_goal": 2, "desired_goal": 2}
        self.observation_space = Dict(
            {name: Box(-np.inf, np.inf, (width,), np.float32) for name, width in widths.items()}
        )

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        observation, info = super().reset(**kwargs)
        return told(self.problem, observation[None], 0), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, _, terminated, truncated, info = super().step(action)
        seen = told(self.problem, observation[None], 0)
        reward = self.compute_reward(seen["achieved_goal"][None], seen["desired_goal"][None], [{}])
        return seen, float(reward[0]), terminated, truncated, info

    def compute_reward(self, achieved: np.ndarray, desired: np.ndarray, info: Any) -> np.ndarray:
        return self.problem.goal_reward(achieved, desired)


def told(problem: PolicySearch, observation: np.ndarray, row: Any = slice(None)) -> dict[str, np.ndarray]:
    """Rows of observations that end with a goal, as a Dict."""
    seen, goal = np.split(observation, [problem.dims()[0]], axis=1)
    parts = {"observation": seen, "achieved_goal": problem.outcome(seen), "desired_goal": goal}
    return {name: part[row].astype(np.float32) for name, part in parts.items()}


class Asked(BaseFeaturesExtractor):  # type: ignore[misc]
    """What our actor and critics see: the observation and the goal that is asked for.

    Args:
        space: of the observations.
    """

    def __init__(self, space: Dict) -> None:
        widths: list[Any] = [space[name].shape for name in ("observation", "desired_goal")]
        super().__init__(space, features_dim=sum(width for (width,) in widths))

    def forward(self, observation: dict[str, Tensor]) -> Tensor:
        return torch.cat([observation["observation"], observation["desired_goal"]], dim=1)


def theirs(name: str, seed: int, task: SearchTask) -> Any:
    """Their algorithm, untrained, with our hyperparameters and defaults."""
    _, _, settings = RUNS[name]
    problem: PolicySearch = task.env
    common: dict[str, Any] = {"seed": seed, "device": "cpu"}
    if name == "ppo":
        return sb3.PPO(
            "MlpPolicy", Heard(problem.make(), task.record), n_steps=settings["batch_size"],
            batch_size=settings["minibatch_size"], n_epochs=settings["epochs"], learning_rate=settings["learning_rate"],
            gamma=0.99, gae_lambda=0.95, clip_range=0.2, vf_coef=1.0, max_grad_norm=np.inf,
            policy_kwargs={"net_arch": HIDDEN, "optimizer_kwargs": {"eps": 1e-8}}, **common,
        )  # fmt: skip
    common |= {
        "batch_size": settings["batch_size"],
        "gamma": settings["gamma"],
        "tau": settings["tau"],
        "learning_starts": settings["start_steps"],
        "learning_rate": settings["actor_learning_rate"],
        "buffer_size": 10_000,
    }
    if name == "sac":
        return sb3.SAC("MlpPolicy", Heard(problem.make(), task.record), policy_kwargs={"net_arch": HIDDEN}, **common)
    return sb3.SAC(
        "MultiInputPolicy", Goals(Heard(Aimed(problem).make(), task.record), problem),
        replay_buffer_class=sb3.HerReplayBuffer, replay_buffer_kwargs={"n_sampled_goal": 4},
        policy_kwargs={"net_arch": HIDDEN, "features_extractor_class": Asked}, **common,
    )  # fmt: skip


def compared(name: str, seed: int) -> None:
    """Prints a line for each library."""
    steps = RUNS[name][0]
    for library in ("rlbench", "stable-baselines3"):
        start = time.process_time()
        algorithm, task = ours(name, seed)
        if library == "rlbench":
            algorithm.train(steps)
            metrics = algorithm.evaluate()
        else:
            model = theirs(name, seed, task)
            model.learn(steps)

            def policy(seen: Tensor, model: Any = model, problem: Any = task.env) -> Tensor:
                rows = seen[0].numpy()
                action = model.predict(told(problem, rows) if name == "sac_her" else rows, deterministic=True)[0]
                return torch.from_numpy(action)[None]

            metrics = (aimed(task) if name == "sac_her" else task).evaluate(policy)
        kept = ("best_reward", "areas", "coverage", "episodes", "policy_reward", "success")
        found = {key: round(float(metrics[f"eval/{key}"][0]), 4) for key in kept if f"eval/{key}" in metrics}
        row = {"algo": name, "library": library, "seed": seed, **found}
        print(json.dumps({**row, "cpu_seconds": round(time.process_time() - start)}), flush=True)


def replay(episodes: int = 4, draws: int = 2000) -> None:
    """Prints what both replays draw from the same episodes: of each row, how often which later one."""
    algorithm, task = ours("sac_her", 0)
    problem: PolicySearch = task.env
    env = DummyVecEnv([lambda: Goals(Aimed(problem).make(), problem)])
    env.seed(0)
    width, rows = problem.dims()[0] + 2, episodes * problem.time_limit()
    our = HindsightReplay(1, rows, 2 * width + 4)
    their = sb3.HerReplayBuffer(rows, env.observation_space, env.action_space, env, device="cpu", n_sampled_goal=4)
    rng, seen, place = np.random.default_rng(0), env.reset(), dict[bytes, int]()
    for row in range(rows):
        action = rng.uniform(-1, 1, (1, 2)).astype(np.float32)
        following, reward, done, info = env.step(action)
        last = info[0].get("terminal_observation")
        after = {name: value[None] for name, value in last.items()} if last else following
        their.add(seen, after, action, reward, done, info)
        before, then = (np.concatenate([each["observation"], each["desired_goal"]], 1) for each in (seen, after))
        columns = np.concatenate([before, action, reward[:, None], then, done[:, None]], 1)
        our.append(torch.tensor(columns, dtype=torch.float32)[None], done)
        place[after["achieved_goal"].tobytes()] = row
        seen = following
    algorithm.relabelled = SIZE * 4 // 5
    stream = SeedStreams((0,), "minibatches")
    np.random.seed(0)  # noqa: NPY002  what stable-baselines3 draws from
    counts = np.zeros((2, rows, rows), dtype=np.int64)
    rewards: tuple[dict[tuple[int, int], float], ...] = ({}, {})
    for _ in range(draws):
        batch, drawn = Batch.of_rows(algorithm.in_hindsight(*our.pairs(SIZE, stream))[0], width, 2), their.sample(SIZE)
        for library, (reached, goal, worth) in enumerate((
            (batch.next_observation[:, :-2], batch.observation[:, -2:], batch.reward),
            (drawn.next_observations["achieved_goal"], drawn.observations["desired_goal"], drawn.rewards),
        )):  # fmt: skip
            for one, other, value in zip(reached.numpy(), goal.numpy(), worth[:, 0].tolist(), strict=True):
                if (later := place.get(other.tobytes())) is not None:  # else it is the goal that was asked for
                    pair = place[one.tobytes()], later
                    counts[library][pair] += 1
                    rewards[library][pair] = round(value, 5)
    ahead = [[int(np.trace(each, offset)) for offset in range(problem.time_limit())] for each in counts]
    met = counts.sum(0) > 0
    found = {
        "rows": rows,
        "draws": draws * SIZE,
        "share with a goal in hindsight": [float(each.sum()) / draws / SIZE for each in counts],
        "pairs of a row and a later one": [len(each) for each in rewards],
        "the same pairs, with the same rewards": rewards[0] == rewards[1],
        "steps ahead, mean": [float(np.average(range(len(each)), weights=each)) for each in ahead],
        "p that the pairs are drawn alike": chi2_contingency(counts[:, met]).pvalue,
        "p that the steps ahead are": chi2_contingency(ahead).pvalue,
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["replay", *RUNS])
    parser.add_argument("seeds", type=int, nargs="*", default=[0, 1, 2])
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what == "replay":
        replay()
    for seed in given.seeds if given.what in RUNS else []:
        compared(given.what, seed)
