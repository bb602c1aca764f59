"""RLPD: online learning with offline data, made stable by layer norm and fast by many updates of many critics.

Ball, Smith, Kostrikov and Levine, "Efficient Online Reinforcement Learning with Offline Data" (ICML 2023). After each
environment step G minibatches are drawn, half data, half replay; on each, M critics with LayerNorm step towards

    y = r + gamma (1 - d) [min_{m in Z} Q'_m(s', a') (- alpha log pi(a'|s'))],   a' ~ pi(.|s'),

Z a random subset of them, drawn anew, and their targets follow; on the last, the actor steps along
mean_m Q_m(s, a) - alpha log pi(a|s), and the temperature towards an entropy of -dim(a) / 2 (the paper's code).
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar

from torch import Tensor

from rlbench.algos.hybrid.learning import Mixed
from rlbench.algos.interaction import SoftOnline
from rlbench.data.sampling import Batch
from rlbench.errors import UsageError
from rlbench.task import ControlTask
from rlbench.types import Count


class RLPD(Mixed, SoftOnline):
    """Reinforcement learning with prior data; the unit of work is one environment step (and its updates).

    Args:
        task: the problem.
        num_critics: M.
        target_critics: size of Z, at most M.
        updates_per_step: G, updates of the critics for each step in the environment, and for each of the actor.
        mixed: see `Mixed` and `SoftOnline`.
    """

    critic_options: ClassVar[dict[str, Any]] = {"layernorm": "before"}

    def __init__(
        self, task: ControlTask, *, num_critics: Count, target_critics: Count, updates_per_step: Count, **mixed: Any
    ) -> None:
        if target_critics > num_critics:
            raise UsageError(f"algo.target_critics={target_critics} of algo.num_critics={num_critics}: too many")
        super().__init__(task, num_critics=num_critics, **mixed)
        self.target_critics = target_critics
        self.updates_per_step = updates_per_step
        self.target_entropy /= 2
        self.last = False
        """Whether an update is the last of its step."""
        self.parts["subset"] = self.subset = task.streams("subset of critics")

    def target_value(self, q: Tensor) -> Tensor:
        chosen = self.subset.uniform(self.num_critics).argsort(1)[:, : self.target_critics]
        members = q.unflatten(0, (-1, self.num_critics))
        index = chosen[:, :, None, None].expand(-1, -1, *members.shape[2:])
        return members.gather(1, index).amin(1)

    def actor_value(self, q: Tensor) -> Tensor:
        return q.unflatten(0, (-1, self.num_critics)).mean(1)

    def learn(self) -> dict[str, Tensor]:
        """The updates of the next step in the environment."""
        self.step += 1
        metrics: dict[str, Tensor] = {}
        for update in range(self.updates_per_step):
            self.last = update == self.updates_per_step - 1
            metrics = self.learn_rows(self.next_batch())
        return metrics

    def variant(self) -> Hashable:
        """Whether actor and temperature move too, and whether the target critics do."""
        return self.last, super().variant()

    def update_actor(self, batch: Batch) -> dict[str, Tensor]:
        return super().update_actor(batch) if self.last else {}
