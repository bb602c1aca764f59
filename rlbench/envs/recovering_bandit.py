"""Recovering bandits: an arm pays less when it was pulled lately, and recovers while it rests.

Simchi-Levi, Zheng and Zhu, "Offline Planning and Online Learning under Recovering Rewards" (arXiv 2106.14813). N
arms, of which at most K may be pulled in one period. Arm i, pulled d periods after its last pull, pays 1 with
probability R_i(d), else 0; R_i does not fall with d and stays as it is from d = D on. In the beginning every arm has
rested for D periods.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import gymnasium
import numpy as np

from rlbench.envs.problem import Problem
from rlbench.errors import UsageError
from rlbench.types import Count, NonNegativeInt


@dataclass(frozen=True)
class RecoveringBandit(Problem):
    """A recovering bandit; subclasses say how its curves are given.

    Args:
        name: the word after `env=`.
        K: most arms that may be pulled in one period.
        D: periods of rest after which an arm has recovered.
    """

    name: str
    K: Count
    D: Count

    def curves_given(self) -> np.ndarray:
        """The curves as the settings have them, `[N, D]`, not checked yet."""
        raise NotImplementedError

    @cached_property
    def R(self) -> np.ndarray:  # noqa: N802  the literature's name
        """Mean rewards, float64 `[N, D]`: row i, column d - 1.

        Raises:
            UsageError: these are no recovery curves, or there are fewer arms than may be pulled.
        """
        curves = self.curves_given()
        for arm, curve in enumerate(curves):
            where = f"env={self.name}: the curve of arm {arm}"
            if not (np.isfinite(curve).all() and curve.min() >= 0 and curve.max() <= 1):
                raise UsageError(f"{where} leaves [0, 1]: {curve.tolist()}\nmean rewards of 0/1 rewards are wanted")
            if (falls := np.flatnonzero(np.diff(curve) < 0)).size:
                d = int(falls[0]) + 1
                raise UsageError(
                    f"{where} falls from {curve[d - 1]:g} at d={d} to {curve[d]:g}\narms recover with rest"
                )
        if len(curves) < self.K:
            raise UsageError(f"env={self.name}: K={self.K} arms a period, and there are only {len(curves)}")
        return curves

    @property
    def N(self) -> int:  # noqa: N802  the literature's name
        return len(self.R)

    @property
    def arms_known(self) -> int | None:
        """How many arms there are, None where a log is to tell."""
        return self.N

    def require(self) -> None:
        """Refuse what is no recovering bandit before anything is built (raises as `R`)."""
        _ = self.R

    def simulator(self) -> str:
        return f"{self.name}, N={self.N}, K={self.K}, D={self.D}"

    def long_run(self, pulls: np.ndarray) -> float:
        """Exact average reward of repeating `[C, N]` pulls for ever."""
        reward = 0.0
        for arm in range(self.N):
            times = np.flatnonzero(pulls[:, arm])
            if times.size:
                gaps = np.diff(times, append=times[0] + len(pulls))
                reward += float(self.R[arm, np.minimum(gaps, self.D) - 1].sum())
        return reward / len(pulls)

    def make(self) -> BanditEnv:
        """The bandit as a gymnasium environment."""
        return BanditEnv(self)


@dataclass(frozen=True)
class Table(RecoveringBandit):
    """Curves as they are.

    Args:
        name: the word after `env=`.
        K: most arms that may be pulled in one period.
        D: periods of rest after which an arm has recovered.
        curves: for each arm, its mean reward after 1, 2, ..., D periods.
    """

    curves: list[list[float]]

    def curves_given(self) -> np.ndarray:
        for arm, curve in enumerate(self.curves):
            if len(curve) != self.D:
                what = f"the curve of arm {arm} has {len(curve)} values, and D={self.D}"
                raise UsageError(f"env={self.name}: {what}\none mean reward for each d = 1, ..., D")
        return np.array(self.curves, dtype=np.float64).reshape(-1, self.D)


@dataclass(frozen=True)
class Exponential(RecoveringBandit):
    """R_i(d) = b_i (1 - exp(-r_i (d - 1))): nothing at once, b_i in the end.

    Args:
        name: the word after `env=`.
        K: most arms that may be pulled in one period.
        D: periods of rest after which an arm has recovered.
        b: mean reward after endless rest, for each arm.
        r: rate of recovery, for each arm.
    """

    b: list[float]
    r: list[float]

    def curves_given(self) -> np.ndarray:
        alike(self, b=self.b, r=self.r)
        rest = np.arange(self.D)
        return np.array(self.b)[:, None] * -np.expm1(-np.array(self.r)[:, None] * rest)


@dataclass(frozen=True)
class Step(RecoveringBandit):
    """Nothing before a threshold, all from it on (a blocking bandit).

    Args:
        name: the word after `env=`.
        K: most arms that may be pulled in one period.
        D: periods of rest after which an arm has recovered.
        thresholds: periods of rest from which an arm pays, for each arm.
        heights: its mean reward then, for each arm.
    """

    thresholds: list[int]
    heights: list[float]

    def curves_given(self) -> np.ndarray:
        alike(self, thresholds=self.thresholds, heights=self.heights)
        if any(not 1 <= threshold <= self.D for threshold in self.thresholds):
            raise UsageError(f"env={self.name}: thresholds={self.thresholds} leave 1 to D={self.D}")
        recovered = np.arange(1, self.D + 1) >= np.array(self.thresholds)[:, None]
        return np.array(self.heights)[:, None] * recovered


@dataclass(frozen=True)
class Random(RecoveringBandit):
    """Every curve is D sorted uniform numbers.

    Args:
        name: the word after `env=`.
        K: most arms that may be pulled in one period.
        D: periods of rest after which an arm has recovered.
        arms: how many.
        seed: of numpy's default generator.
    """

    arms: Count
    seed: NonNegativeInt

    def curves_given(self) -> np.ndarray:
        return np.sort(np.random.default_rng(self.seed).random((self.arms, self.D)), axis=1)


@dataclass(frozen=True)
class Logged(RecoveringBandit):
    """A bandit of which only a log of pulls is known: the curves fitted to it count as the true ones.

    Args:
        name: the word after `env=`.
        K: most arms that may be pulled in one period.
        D: periods of rest after which an arm has recovered.
    """

    @property
    def arms_known(self) -> int | None:
        return None

    def require(self) -> None:
        """Nothing is known yet that could be wrong."""

    def informed_by(self, card: dict[str, Any]) -> RecoveringBandit:
        return Table(self.name, self.K, self.D, card["curves"])

    def curves_given(self) -> np.ndarray:
        raise UsageError(f"env={self.name} gets its curves from a log: algo=ppp dataset=pulls:PATH")


def alike(env: RecoveringBandit, **lists: list[Any]) -> None:
    """Raise `UsageError` unless the lists have a value for each arm."""
    if len({len(each) for each in lists.values()}) > 1:
        found = ", ".join(f"{name} has {len(each)}" for name, each in lists.items())
        raise UsageError(f"env={env.name}: one value for each arm is wanted, and {found}")


class BanditEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """A recovering bandit for algorithms that know gymnasium only. It never terminates.

    An action marks the arms to be pulled; where it marks more than K, the K lowest indices count, and `info` says so
    (`overfull`). Observed are the periods since each arm's last pull, at most D. The reward is the sum over the arms
    pulled, which `info` has one by one (`pulled`, `rewards`).

    Args:
        problem: the bandit.
    """

    def __init__(self, problem: RecoveringBandit) -> None:
        self.problem = problem
        self.observation_space = gymnasium.spaces.Box(1, problem.D, (problem.N,), np.int64)
        self.action_space = gymnasium.spaces.MultiBinary(problem.N)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.idle = np.full(self.problem.N, self.problem.D)
        return self.idle.copy(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        marked = np.flatnonzero(action)
        pulled = np.zeros(self.problem.N, dtype=bool)
        pulled[marked[: self.problem.K]] = True
        means = self.problem.R[np.arange(self.problem.N), self.idle - 1]
        rewards = (pulled & (self.np_random.random(self.problem.N) < means)).astype(np.float64)
        self.idle = np.minimum(self.idle + 1, self.problem.D)
        self.idle[pulled] = 1
        info = {"pulled": pulled, "rewards": rewards, "overfull": len(marked) > self.problem.K}
        return self.idle.copy(), float(rewards.sum()), False, False, info


class Rested(gymnasium.Wrapper[np.ndarray, Any, np.ndarray, np.ndarray]):
    """The same with other actions, of which a subclass says what they mark, and the share of D that each arm has rested
    for what is observed."""

    def __init__(self, env: BanditEnv) -> None:
        super().__init__(env)
        self.problem = env.problem
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (self.problem.N,), np.float32)

    def marks(self, action: Any) -> np.ndarray:
        """The arms to be pulled, 0 or 1 for each."""
        raise NotImplementedError

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        idle, info = self.env.reset(seed=seed, options=options)
        return self.share(idle), info

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        idle, reward, terminated, truncated, info = self.env.step(self.marks(action))
        return self.share(idle), float(reward), terminated, truncated, info

    def share(self, idle: np.ndarray) -> np.ndarray:
        return (idle / self.problem.D).astype(np.float32)


class Scored(Rested):
    """For algorithms with continuous actions: a score in [-1, 1] for each arm. The K highest of the positive scores are
    pulled."""

    def __init__(self, env: BanditEnv) -> None:
        super().__init__(env)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (self.problem.N,), np.float32)

    def marks(self, action: np.ndarray) -> np.ndarray:
        best = np.argsort(-action, kind="stable")[: self.problem.K]
        marks = np.zeros(self.problem.N, dtype=np.int8)
        marks[best[action[best] > 0]] = 1
        return marks


class Chosen(Rested):
    """For algorithms that choose: an action for each set of at most K arms, the single arms first, the empty set last.

    Raises:
        UsageError: there are too many sets.
    """

    MOST = 4096
    """Sets, each a number in every action and an output of every network."""

    def __init__(self, env: BanditEnv) -> None:
        super().__init__(env)
        N, K = self.problem.N, self.problem.K
        count = sum(math.comb(N, size) for size in range(K + 1))
        if count > self.MOST:
            raise UsageError(
                f"at most {K} of {N} arms are {count:,} sets: too many to choose from, {self.MOST:,} at most\n"
                "lower K, take fewer arms, or have arms scored: env=recovering_bandit_control"
            )
        self.sets = np.zeros((count, N), dtype=np.int8)
        for row, arms in enumerate(arms for size in [*range(1, K + 1), 0] for arms in combinations(range(N), size)):
            self.sets[row, list(arms)] = 1
        self.action_space = gymnasium.spaces.Discrete(count)

    def marks(self, action: int) -> np.ndarray:
        return self.sets[action]


CURVES = {"table": Table, "exponential": Exponential, "step": Step, "random": Random}


def make(curves: str, scored: bool = False, chosen: bool = False, **settings: Any) -> gymnasium.Env[np.ndarray, Any]:
    """What gymnasium makes of `RecoveringBandit-v0`.

    Args:
        curves: how the curves are given: table, exponential, step or random.
        scored: whether actions are scores (`Scored`).
        chosen: whether actions are choices of sets (`Chosen`).
        settings: the arguments of the class of that name, but for its name.

    Raises:
        UsageError: this is no recovering bandit, or actions cannot be of this kind.
    """
    if scored and chosen:
        raise UsageError("scored=true and chosen=true: an action is a score for each arm, or the choice of a set")
    env = CURVES[curves](name=curves, **settings).make()
    return Scored(env) if scored else Chosen(env) if chosen else env


gymnasium.register("RecoveringBandit-v0", entry_point="rlbench.envs.recovering_bandit:make", max_episode_steps=1000)
