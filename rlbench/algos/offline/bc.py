"""BC: behaviour cloning, of the whole dataset or of its best episodes ("x % BC").

Chen et al., "Decision Transformer" (NeurIPS 2021), section 5.1, for the x % variant; a deterministic policy pi(s) in
(-1, 1)^a minimises mean ||pi(s) - a||^2 / a over the rows of the episodes with the highest returns.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rlbench.algos.actor_critic import Offline, per_seed
from rlbench.algos.normalized import normalized
from rlbench.data.sampling import Batch, training_rows
from rlbench.data.transitions import Transitions
from rlbench.errors import UsageError
from rlbench.nets.mlp import Network
from rlbench.nets.optim import Adam, Params, gradients
from rlbench.task import ControlTask
from rlbench.types import Count, Fraction, Positive


class BC(Offline):
    """Behaviour cloning with a deterministic policy.

    Args:
        task: the problem.
        hidden_dims: widths of the hidden layers of the policy.
        batch_size: transitions in a minibatch.
        learning_rate: Adam's step size.
        best_fraction: fraction of the episodes that is cloned, those with the highest returns (at least one).
        normalize_states: whether the policy sees observations shifted and scaled by the cloned rows' mean and std.
    """

    def __init__(
        self,
        task: ControlTask,
        *,
        hidden_dims: list[Count],
        batch_size: Count,
        learning_rate: Positive,
        best_fraction: Fraction,
        normalize_states: bool,
    ) -> None:
        data = task.dataset
        if normalize_states and data.frames is not None:
            raise UsageError("pictures are not normalised: algo.normalize_states=false")
        rows = best_rows(data, best_fraction) if best_fraction < 1 else np.arange(len(data))
        super().__init__(normalized(task, rows) if normalize_states else task)
        self.actor = self.network(hidden_dims)
        self.params["actor"] = self.sighted(self.actor.init(task.streams("parameters")))
        self.parts["optimizer"] = self.optimizer = Adam(self.params["actor"], learning_rate)
        self.look(data.frames)
        self.learn_from(training_rows(self.task)[..., torch.from_numpy(rows), :], batch_size)

    def network(self, hidden_dims: list[Count]) -> Network:
        """The policy before its tanh."""
        return self.task.networks.state(hidden_dims, self.task.networks.action_dim)

    def output(self, params: Params, observation: Tensor) -> Tensor:
        """What the network says in training, `[S, B, a]`."""
        return self.actor(params, observation)

    def action(self, params: Params, features: Tensor) -> Tensor:
        return torch.tanh(self.actor(params, features))

    def loss(self, params: Params, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean squared error of the action, `[S]`."""
        acted = torch.tanh(self.output(params, batch.observation))
        loss = per_seed(F.mse_loss(acted, batch.action, reduction="none"), len(self.task.seeds))
        return loss, {"train/actor_loss": loss}

    def update(self, batch: Batch) -> dict[str, Tensor]:
        grads, metrics = gradients(lambda p: self.loss(p, batch), self.params["actor"])
        self.optimizer.step(grads)
        return metrics


def best_rows(data: Transitions, fraction: float) -> np.ndarray:
    """Rows of the best `fraction` of the episodes by return, int64, ascending."""
    returns = data.episode_returns()
    best = np.sort(np.argsort(-returns, kind="stable")[: max(1, int(fraction * len(returns)))])
    return np.concatenate([np.arange(data.episode_starts[e], data.episode_ends[e]) for e in best])
