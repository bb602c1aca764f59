"""The models of dynamics that MOPO, MOBILE and COCOA learn from the dataset, and rollouts in them."""

from __future__ import annotations

from typing import Any

import torch

from rlbench.errors import UsageError
from rlbench.nets.ensemble import EnsembleFit, EnsembleTraining, Model
from rlbench.task import ControlTask
from rlbench.types import Count, Fraction, Positive


class Dynamics:
    """Fits the ensembles of a task, or fetches them: whatever the algorithm, the same settings give the same models.

    Args:
        task: the problem.
        hidden_dims: widths of the hidden layers of each member.
        members: E, networks in an ensemble.
        elites: members used, those with the least error on the holdout rows.
        learning_rate: Adam's step size.
        weight_decay: of each layer, hidden layers and output.
        batch_size: transitions in a minibatch.
        holdout_fraction: fraction of the transitions held out for the forward model; half of it for the reverse one.
        holdout_rows: most transitions held out.
        patience: epochs without a member improving by 1 % on the holdout rows after which a seed's training ends.
        max_epochs: most epochs; null: until patience ends.
        per_seed: one set of models (and of COCOA's anchor seekers) a seed; false: one set, the first seed's, for all.
    """

    def __init__(
        self,
        task: ControlTask,
        *,
        hidden_dims: list[Count],
        members: Count,
        elites: Count,
        learning_rate: Positive,
        weight_decay: list[float],
        batch_size: Count,
        holdout_fraction: Fraction,
        holdout_rows: Count,
        patience: Count,
        max_epochs: Count | None,
        per_seed: bool,
    ) -> None:
        if len(weight_decay) != len(hidden_dims) + 1:
            raise UsageError(
                f"dynamics.weight_decay has {len(weight_decay)} values for {len(hidden_dims)} hidden layers and the "
                f"output of dynamics.hidden_dims={list(hidden_dims)}: give {len(hidden_dims) + 1}"
            )
        if elites > members:
            raise UsageError(f"dynamics.elites={elites} cannot be chosen among dynamics.members={members}")
        rows = len(task.dataset)
        for fraction in (holdout_fraction, holdout_fraction / 2):
            held = min(int(fraction * rows), holdout_rows)
            if not 0 < held < rows:
                raise UsageError(
                    f"dynamics.holdout_fraction={holdout_fraction} holds out {held} of the dataset's {rows} rows: "
                    "there must be some to hold out and some to train on"
                )
        self.task = task
        self.seeds = task.seeds if per_seed else task.seeds[:1]
        self.settings: dict[str, Any] = {
            "hidden_dims": list(hidden_dims),
            "members": members,
            "elites": elites,
            "learning_rate": learning_rate,
            "weight_decay": list(weight_decay),
            "batch_size": batch_size,
            "holdout_fraction": holdout_fraction,
            "holdout_rows": holdout_rows,
            "patience": patience,
            "max_epochs": max_epochs,
        }

    @property
    def key(self) -> dict[str, Any]:
        """What determines the models: part of the key of every stage built on them."""
        return {"data": self.task.dataset.fingerprint, "dynamics": self.settings, "seeds": list(self.seeds)}

    def forward(self) -> Model:
        """p(s', r | s, a): targets are s' - s and r."""

        def fit() -> EnsembleFit:
            data = self.task.dataset
            s, a, r, following = map(
                self.task.tensor, (data.observation, data.action, data.reward, data.next_observation)
            )
            inputs, targets = torch.cat([s, a], -1), torch.cat([following - s, r[:, None]], -1)
            return EnsembleFit("forward model", inputs, targets, self.seeds, EnsembleTraining(**self.settings))

        return Model(self.task.artefacts.fit("forward_model", self.key, fit), len(self.task.seeds))

    def reverse(self) -> Model:
        """p(s | s', a): the target is s - s'; without reward, and no rollout of it ever terminates. Of `self.seeds`."""

        def fit() -> EnsembleFit:
            data = self.task.dataset
            s, a, following = map(self.task.tensor, (data.observation, data.action, data.next_observation))
            # The published code holds out 20 % for the forward and 10 % for the reverse model.
            settings = {**self.settings, "holdout_fraction": self.settings["holdout_fraction"] / 2}
            inputs, targets = torch.cat([following, a], -1), s - following
            return EnsembleFit("reverse model", inputs, targets, self.seeds, EnsembleTraining(**settings))

        return Model(self.task.artefacts.fit("reverse_model", self.key, fit), len(self.seeds))
