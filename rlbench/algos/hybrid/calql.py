"""Cal-QL: conservative Q-learning whose values stay on the scale of real returns, before and while it interacts.

Nakamoto et al., "Cal-QL: Calibrated Offline RL Pre-Training for Efficient Online Fine-Tuning" (NeurIPS 2023). CQL
pushes values of the policy's actions far below any return; what it tries online then looks better than what it knows,
and it unlearns that first. Cal-QL is CQL (`rlbench.algos.conservative`) with one change: at each state, the values of
the 20 actions drawn from the policy enter the conservative term as

    max(Q(s, a_i), V(s)),   V(s) the return to go of the transition in the minibatch,

so that they are not pushed below what its behaviour earned there; the uniform actions enter as they are. First come
`offline_steps` updates on the dataset; then one environment step and one update by turns, on minibatches of both.

- V: where an episode ended, nothing comes after; where it was cut (by a time limit, by the end of the data), its last
  reward is taken to go on for ever, the one rule that agrees with what the authors' code does in each of its domains
  (AntMaze and Adroit: failures; Kitchen: all).
- As in the authors' code, which collects whole episodes, a transition of the learner's own is learned from once its
  episode has ended, and V is known. A seed that has ended no episode yet goes on with the dataset alone.
- As in `algo=cql`, there is neither a Lagrange multiplier (theirs in AntMaze) nor a maximum over next actions in the
  target (theirs everywhere).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlbench.algos.conservative import Conservative
from rlbench.algos.hybrid.learning import Hybrid, offline_share
from rlbench.algos.hybrid.returns import ReturnReplay, returns_to_go
from rlbench.algos.interaction import SoftOnline
from rlbench.data.sampling import Batch, training_rows
from rlbench.errors import UsageError
from rlbench.nets.mlp import stack
from rlbench.task import ControlTask
from rlbench.types import Count, Fraction, NonNegativeInt


class CalQL(Hybrid, SoftOnline, Conservative):
    """Calibrated Q-learning; the unit of work is one update (and, after `offline_steps`, one environment step).

    Args:
        task: the problem.
        offline_steps: first updates, on the dataset alone and without interaction.
        gamma: discount.
        batch_size: transitions in a minibatch.
        offline_fraction: share of a minibatch that comes from the dataset, after `offline_steps`.
        hybrid: see `Hybrid`, `SoftOnline` and `Conservative`.

    Raises:
        UsageError: without discount the return of an episode that was cut has no end.
    """

    buffer: ReturnReplay

    def __init__(
        self,
        task: ControlTask,
        *,
        offline_steps: NonNegativeInt,
        gamma: Fraction,
        batch_size: Count,
        offline_fraction: Fraction,
        **hybrid: Any,
    ) -> None:
        if gamma == 1:
            raise UsageError("algo.gamma=1: the return of an episode that was cut would have no end\ntake less than 1")
        self.offline_steps = offline_steps
        self.offline_rows = offline_share(batch_size, offline_fraction)
        super().__init__(
            task,
            num_critics=2,
            entropy_in_target=False,
            gamma=gamma,
            batch_size=batch_size,
            offline_rows=batch_size,
            start_steps=0,
            **hybrid,
        )

    def dataset_rows(self) -> Tensor:
        """The dataset, with V as a further column."""
        data = self.task.dataset
        ends = data.episode_ends
        reward = data.reward.astype(np.float64) + self.reward_shift
        returns = returns_to_go(reward, ends, data.terminated[ends - 1] == 1, self.gamma)
        return training_rows(self.task, extra=self.task.tensor(returns)[:, None])

    def make_buffer(self, capacity: int, width: int) -> ReturnReplay:
        return ReturnReplay(
            len(self.task.seeds),
            capacity,
            width,
            self.task.device,
            reward=sum(self.dims),
            reward_shift=self.reward_shift,
            gamma=self.gamma,
        )

    def remember(self, rows: Tensor, ended: np.ndarray) -> None:
        self.buffer.append(rows, ended)

    def train(self, n: int) -> dict[str, Tensor]:
        metrics: dict[str, Tensor] = {}
        offline = min(n, max(self.offline_steps - self.step, 0))
        for _ in range(offline):
            metrics = self.learn()
        return self.averaged(metrics) | super().train(n - offline)

    def next_batch(self) -> Tensor:
        data = self.offline.next()
        if not len(self.buffer):
            return data.contiguous()  # laid out as below: compiled updates depend on it
        online = self.buffer.sample(self.batch_size - self.offline_rows, self.minibatches)
        ready = torch.from_numpy(self.buffer.ready() > 0).to(data.device)[:, None, None]
        return torch.where(ready, torch.cat([data[:, : self.offline_rows], online], dim=1), data)

    def drawn_values(self, q: Tensor, batch: Batch) -> Tensor:
        """Those of the policy's actions, at least V; those of the uniform ones."""
        policy, uniform = q.split([2, 1], dim=1)
        return torch.cat([torch.maximum(policy, stack(batch.extra, 2)[:, None, None]), uniform], dim=1)
