"""SAC with hindsight experience replay: what was reached is taken for what was wanted.

Andrychowicz et al., "Hindsight Experience Replay" (NeurIPS 2017), over SAC, for problems with reward areas. A policy is
told a goal g, the centre of one of the areas, drawn for each episode; actor and critics see it beside the observation.
A transition (s, a, s') is worth

    r = f(m(s'), g),   m the outcome so far, f what the problem would pay for it in an area around g,

at every step, not at an episode's end alone. Of a minibatch, k of k + 1 parts get another goal: the outcome m after a
transition of the same episode that is drawn from this one and those after it (the strategy "future"). However rare
rewards are, there is something in every episode to learn from.

So it is told where the areas are, and what counts as an outcome. The searches, and SAC without a goal, are not: they
are to find the areas. Its rewards are for learning alone; what it reports are the problem's.

As in stable-baselines3's `HerReplayBuffer` the parts are of fixed size, goals are drawn anew each time, and a
transition's own outcome is among them. Of the episode that is still running, which that leaves out, transitions are
drawn too, with the outcomes so far. The losses stand in `rlbench.algos.actor_critic`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlbench.algos.online.sac import SAC
from rlbench.data.sampling import Batch, EpisodeReplay
from rlbench.envs.aimed import aimed
from rlbench.rng import SeedStreams
from rlbench.task import SearchTask
from rlbench.types import NonNegativeInt


class HindsightReplay(EpisodeReplay):
    """Replay of transitions, each with a later one; the column more is how many followed it in its episode."""

    def known(self, rows: Tensor) -> Tensor:
        return torch.arange(len(rows) - 1, -1, -1, dtype=rows.dtype, device=rows.device)

    def pairs(self, batch_size: int, rng: SeedStreams) -> tuple[Tensor, Tensor]:
        """Uniform rows, and for each one that is drawn from it and those after it in its episode.

        Both `[S, batch_size, width + 1]`, with replacement.
        """
        capacity = self.rows.shape[1]
        places = rng.integers(len(self), batch_size)
        rows = self.at(places)
        age = (self.added - 1 - places) % capacity  # rows since
        running = torch.from_numpy(self.running).to(age.device)[:, None]
        following = torch.where(age < running, age, rows[..., -1].long())
        ahead = (rng.uniform(batch_size) * (following + 1)).long()
        return rows, self.at((places + ahead) % capacity)


class SACHER(SAC):
    """Soft actor-critic with hindsight, online; the unit of work is one environment step (and one update).

    Args:
        task: the problem.
        hindsight_goals: k, transitions with a goal in hindsight for each with the goal that was asked for; 0: SAC that
            is told goals, without hindsight.
        sac: see `SAC`.

    Raises:
        UsageError: the problem does not say what a goal is.
    """

    buffer: HindsightReplay

    def __init__(self, task: SearchTask, *, hindsight_goals: NonNegativeInt, **sac: Any) -> None:
        super().__init__(aimed(task), **sac)
        self.problem = task.env
        self.relabelled = self.batch_size * hindsight_goals // (hindsight_goals + 1)
        """Transitions of a minibatch whose goal is one in hindsight."""

    def make_buffer(self, capacity: int, width: int) -> HindsightReplay:
        return HindsightReplay(len(self.task.seeds), capacity, width, self.task.device)

    def remember(self, rows: Tensor, ended: np.ndarray) -> None:
        self.buffer.append(rows, ended)

    def next_batch(self) -> Tensor:
        return self.in_hindsight(*self.buffer.pairs(self.batch_size, self.minibatches))

    def in_hindsight(self, rows: Tensor, later: Tensor) -> Tensor:
        """Rows, the first `relabelled` with outcomes of the later ones for goals, all with the reward for theirs."""
        batch, after = (Batch.of_rows(each, *self.dims) for each in (rows, later))
        observed, first = self.problem.dims()[0], slice(self.relabelled)
        goal = batch.observation[..., observed:]
        goal[:, first] = of_arrays(self.problem.outcome, after.next_observation[:, first, :observed])
        batch.next_observation[..., observed:] = goal
        outcome = of_arrays(self.problem.outcome, batch.next_observation[..., :observed])
        batch.reward[..., 0] = of_arrays(self.problem.goal_reward, outcome, goal)
        return rows


def of_arrays(function: Callable[..., np.ndarray], *rows: Tensor) -> Tensor:
    """What a function of arrays `[B, ...]` says of tensors `[S, B, ...]`."""
    found = function(*(each.flatten(0, 1).cpu().numpy() for each in rows))
    return torch.from_numpy(found.astype(np.float32)).to(rows[0].device).unflatten(0, rows[0].shape[:2])
