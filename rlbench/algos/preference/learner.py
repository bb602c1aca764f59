"""What the algorithms that learn from comparisons share: the policy, and the segments drawn for an update."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor

from rlbench.algos.actor_critic import Offline
from rlbench.data.segments import Segments
from rlbench.errors import UsageError
from rlbench.nets.mlp import Network
from rlbench.nets.optim import Adam, Params, gradients
from rlbench.nets.policy import HEADS
from rlbench.rng import SeedStreams
from rlbench.task import ControlTask
from rlbench.types import Count

if TYPE_CHECKING:
    from rlbench.data.frames import Sight

ACTION_EDGE = 1e-5
"""Bounded actions are kept so far within [-1, 1]: a tanh reaches neither end."""


class Dropping(Network, Protocol):
    """A network with dropout."""

    def dropped(self, params: Params, x: Tensor, noise: SeedStreams) -> Tensor: ...


class Pairs(NamedTuple):
    """Segments of one update; where they are pairs, N = 2 B: the first segments of all pairs, then the second."""

    observation: Tensor  # [S, N, T, d]; of pictures, their frames' numbers, and `seen`, uint8
    action: Tensor  # [S, N, T, a]
    label: Tensor  # [S, B], the probability that the second is preferred; of single segments [S, N], their scores


class SegmentMinibatches:
    """Segments drawn uniformly with replacement, as rows `[S, N, T (d + a) + 1]`; the last column is the label.

    Args:
        data: the segments.
        batch_size: B pairs; where all of a batch are compared with each other, B segments.
        bounded: whether actions lie in [-1, 1].
        rng: one stream a seed.
    """

    def __init__(self, data: Segments, batch_size: int, bounded: bool, rng: SeedStreams) -> None:
        self.widths = data.observation.shape[2], data.action.shape[2]
        self.mode, self.batch_size, self.rng = data.mode, batch_size, rng
        action = torch.from_numpy(data.action)
        if bounded:
            action = action.clamp(ACTION_EDGE - 1, 1 - ACTION_EDGE)
        self.rows = torch.cat([torch.from_numpy(data.observation), action], -1).flatten(1).to(rng.device)
        self.label = torch.from_numpy(data.label).to(rng.device)

    def next(self) -> Tensor:
        first = self.rng.integers(len(self.label), self.batch_size)
        if self.mode == "score":
            index, label = first, self.label[first]
        elif self.mode == "comparison":
            index, label = torch.cat([first, first + len(self.label)], 1), self.label[first].repeat(1, 2)
        else:
            second = self.rng.integers(len(self.label), self.batch_size)
            index = torch.cat([first, second], 1)
            label = (1 + torch.sign(self.label[second] - self.label[first])).repeat(1, 2) / 2
        return torch.cat([self.rows[index], label[..., None]], -1)

    def split(self, rows: Tensor) -> Pairs:
        """Views into such rows."""
        steps = rows[..., :-1].unflatten(-1, (-1, sum(self.widths)))
        observation, action = steps.split(self.widths, -1)
        pairs = rows.shape[1] if self.mode == "score" else rows.shape[1] // 2
        return Pairs(observation, action, rows[:, :pairs, -1])

    def state_dict(self) -> dict[str, Any]:
        return self.rng.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rng.load_state_dict(state)


class FromComparisons(Offline):
    """A policy from comparisons of segments; the unit of work is one update on one batch of pairs."""

    minibatches: SegmentMinibatches

    def make_policy(self, hidden_dims: list[Count], dropout: float, learning_rate: float, batch_size: int) -> None:
        """Make actor, optimiser, minibatches and random streams.

        Args:
            hidden_dims: widths of the hidden layers of the policy.
            dropout: probability with which a hidden unit is left out in training.
            learning_rate: Adam's step size.
            batch_size: pairs in an update.
        """
        task = self.task
        self.head = HEADS[task.actions]
        outputs = task.networks.action_dim
        self.actor = cast(
            Dropping, task.networks.state(hidden_dims, outputs, init="orthogonal", gain=1.0, dropout=dropout)
        )
        self.params["actor"] = self.sighted(self.actor.init(task.streams("parameters")))
        self.parts["actor_optimizer"] = self.actor_optimizer = Adam(self.params["actor"], learning_rate)
        streams = task.streams("minibatches")
        self.minibatches = SegmentMinibatches(task.segments, batch_size, task.actions == "bounded", streams)
        self.parts["minibatches"] = self.minibatches
        self.parts["dropout"] = self.noise = task.streams("dropout")
        self.look(task.segments.frames)

    def need_pairs(self, name: str) -> None:
        """Refuse segments that are not compared two by two."""
        if self.task.segments.mode == "score":
            raise UsageError(f"algo={name} learns from pairs\nchoose dataset.mode=rank, or dataset.mode=comparison")

    def action(self, params: Params, features: Tensor) -> Tensor:
        return self.head.action(self.actor(params, features))

    def log_prob(self, params: Params, observation: Tensor, action: Tensor) -> Tensor:
        """Log-probabilities `[S, B]` of actions in training, with dropout."""
        return self.head.log_prob(self.actor.dropped(params, observation, self.noise), action)

    def step_log_probs(self, params: Params, pairs: Pairs) -> Tensor:
        """The same for every step of segments, `[S, N, T]`."""
        steps = self.log_prob(params, pairs.observation.flatten(1, 2), pairs.action.flatten(1, 2))
        return steps.view(pairs.action.shape[:-1])

    def update_rows(self, rows: Tensor) -> dict[str, Tensor]:
        pairs = self.minibatches.split(rows)
        return self.update_pairs(pairs if self.sight is None else seen(pairs, self.sight))

    def update_pairs(self, pairs: Pairs) -> dict[str, Tensor]:
        """One update, as `update` makes it of a minibatch of transitions."""
        raise NotImplementedError


def seen(pairs: Pairs, sight: Sight) -> Pairs:
    """Segments of pictures, made of the numbers of their frames; as in the authors' code, the shift is the same for all
    steps of a pair."""
    together = pairs.observation.unflatten(1, (-1, pairs.label.shape[1])).transpose(1, 2)
    return pairs._replace(observation=sight(together).transpose(1, 2).flatten(1, 2))


class AfterCloning(FromComparisons):
    """First behaviour cloning of all segments, then, with a fresh optimiser, what a subclass learns.

    Args:
        task: the problem.
        hidden_dims, dropout, learning_rate, batch_size: see `make_policy`.
        bc_steps: updates of behaviour cloning.
        warmup_steps: updates after it, over which the step size rises from 0.
        warmup_to: what it rises to, as a share of `learning_rate`.
    """

    def __init__(
        self,
        task: ControlTask,
        *,
        hidden_dims: list[Count],
        dropout: float,
        learning_rate: float,
        batch_size: int,
        bc_steps: int,
        warmup_steps: int,
        warmup_to: float,
    ) -> None:
        super().__init__(task)
        self.make_policy(hidden_dims, dropout, learning_rate, batch_size)
        self.learning_rate, self.bc_steps = learning_rate, bc_steps
        self.warmup_steps, self.warmup_to = warmup_steps, warmup_to

    def loss_after(self, log_prob: Tensor, pairs: Pairs) -> tuple[Tensor, dict[str, Tensor]]:
        """What is minimised after the cloning, `[S]`, and metrics.

        Args:
            log_prob: of every step, `[S, N, T]`.
            pairs: the segments.
        """
        raise NotImplementedError

    def begin_after(self) -> None:
        """What is to be done when the cloning ends."""
        self.actor_optimizer.reset()

    def variant(self) -> bool:
        return self.step <= self.bc_steps

    def schedule(self) -> None:
        done = self.step - self.bc_steps - 1
        if done >= 0:
            risen = min(1.0, done / self.warmup_steps) if self.warmup_steps else 1.0
            self.actor_optimizer.set_rate(self.learning_rate * self.warmup_to * risen)

    def learn(self) -> dict[str, Tensor]:
        metrics = super().learn()
        if self.step == self.bc_steps:
            self.begin_after()
        return metrics

    def update_pairs(self, pairs: Pairs) -> dict[str, Tensor]:
        cloning = self.variant()

        def loss(params: Params) -> tuple[Tensor, dict[str, Tensor]]:
            log_prob = self.step_log_probs(params, pairs)
            cloned = -log_prob.mean((1, 2))
            if cloning:
                return cloned, {"train/bc_loss": cloned}
            value, metrics = self.loss_after(log_prob, pairs)
            return value, {**metrics, "train/bc_loss": cloned}

        grads, metrics = gradients(loss, self.params["actor"])
        self.actor_optimizer.step(grads)
        return metrics
