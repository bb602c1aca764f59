"""What the hybrid algorithms share: they interact, and have an offline dataset as well."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from rlbench.algos.actor_critic import least, per_seed
from rlbench.algos.interaction import Online
from rlbench.data.sampling import Batch, Minibatches, training_rows
from rlbench.errors import UsageError
from rlbench.metrics import Ways
from rlbench.nets.mlp import Network
from rlbench.task import ControlTask
from rlbench.types import Count, Fraction

PROBE_ROWS = 1000


class Hybrid(Online):
    """A replay buffer that grows (`buffer`), and minibatches of the dataset (`offline`); stands before an online
    algorithm among a class's bases.

    Args:
        task: the problem.
        offline_rows: transitions in a minibatch of `offline`.
        online: see the online algorithm.
    """

    critic: Network
    target_critic: ClassVar[str] = "target"
    """What the target critics' parameters are called."""
    metric_directions: ClassVar[Ways] = {"eval/target_distance": "lower"}

    def __init__(self, task: ControlTask, *, offline_rows: Count, **online: Any) -> None:
        super().__init__(task, **online)
        rows = self.dataset_rows()
        self.parts["offline"] = self.offline = Minibatches(rows, offline_rows, task.streams("offline minibatches"))
        probe = rows[..., :: -(-rows.shape[-2] // PROBE_ROWS), :]
        self.probe = Batch.of_rows(probe.expand(len(task.seeds), -1, -1), *self.dims)

    def data_frames(self) -> np.ndarray | None:
        return self.task.dataset.frames

    def dataset_rows(self) -> Tensor:
        """The dataset as training reads it."""
        return training_rows(self.task)

    def evaluate(self) -> dict[str, Any]:
        return {**super().evaluate(), **self.stability()}

    @torch.no_grad()
    def stability(self) -> dict[str, Tensor]:
        """What the critics believe at up to 1,000 states of the dataset, and how far their targets are from them."""
        seeds = len(self.task.seeds)
        numbers = self.probe.observation
        state = numbers if self.sight is None else self.sight.frames(numbers).flatten(-2)
        data = self.critic(self.params["critic"], state, self.probe.action)
        policy = self.critic(self.params["critic"], state, self.action(self.actor_params, state))
        target = self.params[self.target_critic]
        apart = [(target[name] - value).reshape(seeds, -1) for name, value in self.params["critic"].items()]
        return {
            "eval/q_data": per_seed(data, seeds),
            "eval/q_policy": per_seed(policy, seeds),
            "eval/q_policy_max": least(policy, self.critic.members).amax((1, 2)),
            "eval/target_distance": torch.cat(apart, dim=1).square().mean(1).sqrt(),
        }


class Mixed(Hybrid):
    """Every minibatch part offline data, part replay.

    Args:
        task: the problem.
        batch_size: transitions in a minibatch.
        offline_fraction: share of a minibatch that comes from the dataset.
        hybrid: see `Hybrid`.
    """

    def __init__(self, task: ControlTask, *, batch_size: Count, offline_fraction: Fraction, **hybrid: Any) -> None:
        rows = offline_share(batch_size, offline_fraction)
        super().__init__(task, batch_size=batch_size, offline_rows=rows, **hybrid)

    def next_batch(self) -> Tensor:
        online = self.buffer.sample(self.batch_size - self.offline.batch_size, self.minibatches)
        return torch.cat([self.offline.next(), online], dim=1)


def offline_share(batch_size: int, offline_fraction: float) -> int:
    """How many rows of a minibatch come from the dataset.

    Raises:
        UsageError: one of the two sources gets none.
    """
    rows = round(batch_size * offline_fraction)
    if not 0 < rows < batch_size:
        raise UsageError(
            f"algo.offline_fraction={offline_fraction} is {rows} of {batch_size} rows: each source needs one\n"
            "algo=sac learns from replay alone, the offline algorithms from data alone"
        )
    return rows
