"""Behaviour cloning of the best episodes, with the network and the dropout of those who learn from comparisons.

A baseline of Hejna et al., "Contrastive Preference Learning" (ICLR 2024), after the authors' code.
"""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor

from rlbench.algos.offline.bc import BC
from rlbench.algos.preference.learner import Dropping
from rlbench.nets.optim import Params
from rlbench.task import ControlTask
from rlbench.types import BelowOne, Count


class PercentBC(BC):
    """Behaviour cloning with an orthogonally initialised network and dropout.

    Args:
        task: the problem.
        dropout: probability with which a hidden unit is left out in training.
        bc: see `BC`.
    """

    def __init__(self, task: ControlTask, *, dropout: BelowOne, **bc: Any) -> None:
        self.dropout = dropout
        super().__init__(task, **bc)
        self.parts["dropout"] = self.noise = task.streams("dropout")

    def network(self, hidden_dims: list[Count]) -> Dropping:
        outputs = self.task.networks.action_dim
        made = self.task.networks.state(hidden_dims, outputs, init="orthogonal", gain=1.0, dropout=self.dropout)
        return cast(Dropping, made)

    def output(self, params: Params, observation: Tensor) -> Tensor:
        return cast(Dropping, self.actor).dropped(params, observation, self.noise)
