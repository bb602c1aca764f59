"""The exact optimum of a small recovering bandit, by dynamic programming over the rests of all arms (D^N states)."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np

from rlbench.algos.planning.deterministic import best_average
from rlbench.algos.planning.scheduled import Scheduled
from rlbench.envs.recovering_bandit import RecoveringBandit
from rlbench.errors import UsageError
from rlbench.task import Task

LARGEST = 25_000_000
"""States times actions that are solved: about two gigabytes and half a minute."""


class OptimalSchedule(Scheduled):
    """Runs a policy that no other exceeds in the long run: some first pulls, then a cycle.

    Args:
        task: the problem.
    """

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.first, self.cycle = optimum(self.env)
        self.long_run = self.env.long_run(self.cycle)

    def due(self, times: np.ndarray) -> np.ndarray:
        beyond = times - len(self.first)
        whole = np.concatenate([self.first, self.cycle])
        return whole[np.where(beyond < 0, times, len(self.first) + beyond % len(self.cycle))]

    def rows(self) -> dict[str, list[int]]:
        time, arm = np.nonzero(np.concatenate([self.first, self.cycle]))
        return {"period": time.tolist(), "arm": arm.tolist(), "repeats": (time >= len(self.first)).astype(int).tolist()}


def optimum(env: RecoveringBandit) -> tuple[np.ndarray, np.ndarray]:
    """The best pulls from full recovery on: bool `[L, N]` once, then `[C, N]` for ever.

    Raises:
        UsageError: there are too many states.
    """
    states, actions = env.D**env.N, sum(math.comb(env.N, size) for size in range(env.K + 1))
    if states * actions > LARGEST:
        size = f"D^N = {states:,} states and {actions:,} actions"
        raise UsageError(
            f"env={env.name}: the exact optimum would take {size}\nalgo=ppp plans without them, and knows a bound"
        )
    subsets = [set(arms) for size in range(env.K + 1) for arms in combinations(range(env.N), size)]
    powers = env.D ** np.arange(env.N)
    rest = np.arange(states)[None] // powers[:, None] % env.D  # [N, states], periods of rest less 1
    longer = np.minimum(rest + 1, env.D - 1)
    earned = np.take_along_axis(env.R, rest, 1)
    base = (longer * powers[:, None]).sum(0)
    following = np.stack([base - sum((longer[i] * powers[i] for i in arms), np.int64(0)) for arms in subsets])
    reward = np.stack([sum((earned[i] for i in arms), np.zeros(states)) for arms in subsets])
    action = best_average(following, reward).action
    state, seen, path = states - 1, dict[int, int](), list[list[bool]]()
    while state not in seen:
        seen[state] = len(path)
        path.append([i in subsets[action[state]] for i in range(env.N)])
        state = int(following[action[state], state])
    pulls = np.array(path, dtype=bool)
    return pulls[: seen[state]], pulls[seen[state] :]
