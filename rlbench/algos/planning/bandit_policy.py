"""What all policies for recovering bandits share: pulling, counting, and what they are judged by."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from rlbench.algos.planning.periodic import STANDARD, plan
from rlbench.algos.planning.relaxation import bound
from rlbench.envs.recovering_bandit import RecoveringBandit
from rlbench.task import Task

BLOCK = 512
"""Periods whose random numbers are drawn at once."""


class Uniforms:
    """Uniform numbers `[S, T, N]`, for every period of every seed its own, whoever asks and in whatever order.

    Args:
        task: the problem.
        purpose: separates them from those for other uses.
    """

    def __init__(self, task: Task, purpose: str) -> None:
        self.task, self.purpose = task, purpose
        self.number = -1

    def at(self, time: int, periods: int) -> np.ndarray:
        """Those of some periods from `time` on, all of one block: `[S, periods, N]`."""
        number, first = divmod(time, BLOCK)
        if number != self.number:
            streams = self.task.streams(f"{self.purpose} {number}")
            self.block = streams.uniform(BLOCK, self.task.env.N).cpu().numpy()
            self.number = number
        return self.block[:, first : first + periods]


class BanditPolicy:
    """A policy in recovering bandits, one bandit a seed; the unit of work is one period.

    Two policies meet the same luck: at one seed, whether a pull of an arm in a period pays depends on nothing but how
    long the arm has rested.

    Args:
        task: the problem.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.env: RecoveringBandit = task.env
        self.R = self.env.R
        self.time = 0
        """Periods played."""
        shape = len(task.seeds), *self.R.shape
        self.last = np.full(shape[:2], -self.env.D)
        """When each arm was last pulled, `[S, N]`; in the beginning all are fully recovered."""
        self.count, self.wins = np.zeros((2, *shape), dtype=np.int64)
        """Pulls of each arm after each time of rest, and their rewards, `[S, N, D]`."""
        self.luck = Uniforms(task, "rewards")
        self.reference = float(plan(self.R[None], self.env.K, **STANDARD).value[0])
        self.bound = bound(self.R, self.env.K)

    def pulls(self, most: int) -> np.ndarray:
        """The arms to be pulled in the next L periods, 1 <= L <= most: bool `[S, L, N]`."""
        raise NotImplementedError

    def train(self, n: int) -> dict[str, np.ndarray]:
        end, reward = self.time + n, np.zeros(len(self.task.seeds))
        while self.time < end:
            reward = self.pull(self.pulls(min(end - self.time, BLOCK - self.time % BLOCK)))
        return {"train/reward": reward}

    def pull(self, pulls: np.ndarray) -> np.ndarray:
        """Play periods `[S, L, N]`; returns the rewards of the last one, `[S]`."""
        luck = self.luck.at(self.time, pulls.shape[1])
        s, arm, place = np.nonzero(pulls.transpose(0, 2, 1))
        before, now = self.last[s, arm], self.time + place
        again = (s[1:] == s[:-1]) & (arm[1:] == arm[:-1])
        before[1:][again] = now[:-1][again]
        rested = np.minimum(now - before, self.env.D) - 1
        won = luck[s, place, arm] < self.R[arm, rested]
        cell = np.ravel_multi_index((s, arm, rested), self.count.shape)
        np.add.at(self.count.reshape(-1), cell, 1)
        np.add.at(self.wins.reshape(-1), cell, won.astype(np.int64))
        self.last[s, arm] = now  # of several times the last one stays
        self.time += pulls.shape[1]
        return np.bincount(s, won & (now == self.time - 1), len(pulls))

    def rested(self) -> np.ndarray:
        """Periods since each arm's last pull, at most D: `[S, N]`."""
        return np.minimum(self.time - self.last, self.env.D)

    def optimism(self, c: float) -> np.ndarray:
        """Upper confidence bounds of the mean rewards, `[S, N, D]`: min(1, mean + sqrt(c ln(K T) / n)), 1 if n = 0."""
        tried = np.maximum(self.count, 1)
        width = np.sqrt(c * np.log(self.env.K * self.task.steps) / tried)
        return np.where(self.count > 0, np.minimum(1.0, self.wins / tried + width), 1.0)

    def evaluate(self) -> dict[str, np.ndarray]:
        """What the policy has earned since the beginning.

        `eval/mean_reward` is a period's; `eval/regret` is what the offline planner would have earned more in the long
        run, in expectation, `eval/bound_regret` what the bound on all policies is above.
        """
        expected = (self.count * self.R).sum((1, 2))
        return {
            "eval/mean_reward": self.wins.sum((1, 2)) / max(self.time, 1),
            "eval/regret": self.time * self.reference - expected,
            "eval/bound_regret": self.time * self.bound - expected,
        }

    def state_dict(self) -> dict[str, Any]:
        arrays = {"last": self.last, "count": self.count, "wins": self.wins}
        return {"time": self.time, **{name: torch.from_numpy(array.copy()) for name, array in arrays.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        last, count, wins = (state[name].numpy().copy() for name in ("last", "count", "wins"))
        self.time, self.last, self.count, self.wins = state["time"], last, count, wins


def highest(scores: np.ndarray, K: int) -> np.ndarray:
    """The K highest scores above 0 of each row, of equal ones the first: bool, `[S, N]` to `[S, 1, N]`."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :K]
    chosen = np.zeros(scores.shape, dtype=bool)
    np.put_along_axis(chosen, best, np.take_along_axis(scores, best, 1) > 0, 1)
    return chosen[:, None]
