"""DQN: Q-learning with a network, experience replay and a target network.

Mnih et al., "Human-level control through deep reinforcement learning" (Nature 518, 2015), for finitely many actions.
One environment a seed, explored by epsilon-greedy actions; every `train_every` steps a minibatch from replay, on which
the error's Huber loss (slope 1 at most: the paper's clipped error) takes Q towards

    y = r + gamma (1 - d) max_a' Q'(s', a'),

d: the episode truly ended, not by the clock; Q' a copy of Q, made anew every `target_every` updates. Double DQN (van
Hasselt, Guez and Silver, AAAI 2016) lets Q choose and Q' judge:

    y = r + gamma (1 - d) Q'(s', argmax_a' Q(s', a')).

The step is Adam's, as in later implementations; the paper has RMSProp.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from rlbench.algos.actor_critic import bootstrapped, per_seed
from rlbench.algos.interaction import Online
from rlbench.data.sampling import Batch
from rlbench.errors import UsageError
from rlbench.nets.optim import Adam, Params, clone, gradients, polyak
from rlbench.task import ControlTask
from rlbench.types import Count, Fraction, NonNegativeInt, Positive


class DQN(Online):
    """Deep Q-network; the unit of work is one environment step, and every `train_every`-th time an update.

    Args:
        task: the problem.
        hidden_dims: widths of the hidden layers of Q.
        gamma: discount.
        double: whether Q chooses the action for which Q' says the value (double DQN).
        tau: rate at which the target network follows when it is its turn; 1: it becomes a copy.
        target_every: updates of Q for each of the target network.
        train_every: environment steps for each update of Q.
        batch_size: transitions in a minibatch.
        learning_rate: Adam's step size.
        buffer_size: transitions kept for replay, the newest.
        start_steps: first steps, with uniformly random actions and no update.
        epsilon_start: share of random actions at first; it falls in a line.
        epsilon_end: share of random actions in the end.
        epsilon_steps: environment steps, `start_steps` among them, until it has fallen; 0: it has from the beginning.
        reward_shift: added to every reward that is learned from.

    Raises:
        UsageError: actions are no choices.
    """

    def __init__(
        self,
        task: ControlTask,
        *,
        hidden_dims: list[Count],
        gamma: Fraction,
        double: bool,
        tau: Fraction,
        target_every: Count,
        train_every: Count,
        batch_size: Count,
        learning_rate: Positive,
        buffer_size: Count,
        start_steps: NonNegativeInt,
        epsilon_start: Fraction,
        epsilon_end: Fraction,
        epsilon_steps: NonNegativeInt,
        reward_shift: float,
    ) -> None:
        super().__init__(task)
        if not task.env.discrete():
            raise UsageError(
                f"env={task.env.name}: its actions are no choices, which algo=dqn needs\nalgo=ppo takes both kinds"
            )
        self.gamma, self.double = gamma, double
        self.tau, self.target_every, self.train_every = tau, target_every, train_every
        self.epsilon_start, self.epsilon_end, self.epsilon_steps = epsilon_start, epsilon_end, epsilon_steps
        self.net = task.networks.state(hidden_dims, task.networks.action_dim)
        self.params["q"] = self.net.init(task.streams("parameters"))
        self.params["target"] = clone(self.params["q"])
        self.parts["optimizer"] = self.optimizer = Adam(self.params["q"], learning_rate)
        self.learn_by_acting(
            batch_size=batch_size, buffer_size=buffer_size, start_steps=start_steps, reward_shift=reward_shift
        )
        self.last: dict[str, Tensor] = {}
        """Metrics of the last update; none before the first."""

    @property
    def actor_params(self) -> Params:
        return self.params["q"]

    def action(self, params: Params, features: Tensor) -> Tensor:
        """The choices of largest value, one-hot `[S, B, n]`."""
        return self.one_hot(self.net(params, features).argmax(-1))

    def one_hot(self, choice: Tensor) -> Tensor:
        return F.one_hot(choice, self.dims[1]).float()

    @property
    def epsilon(self) -> float:
        """Share of random actions in the next step."""
        fallen = min(self.step / self.epsilon_steps, 1.0) if self.epsilon_steps else 1.0
        return self.epsilon_start + fallen * (self.epsilon_end - self.epsilon_start)

    def random_actions(self) -> Tensor:
        return self.one_hot((self.exploration.uniform(1) * self.dims[1]).long())

    def explore(self, features: Tensor) -> Tensor:
        at_random = self.exploration.uniform(1, 1) < self.epsilon
        return torch.where(at_random, self.random_actions(), self.action(self.params["q"], features))

    @torch.no_grad()
    def target(self, batch: Batch) -> Tensor:
        """y, `[S, B, 1]`."""
        value = self.net(self.params["target"], batch.next_observation)
        judge = self.net(self.params["q"], batch.next_observation) if self.double else value
        following = value.gather(-1, judge.argmax(-1, keepdim=True))
        return bootstrapped(batch, following, self.gamma)

    def loss(self, params: Params, batch: Batch, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean Huber loss of the actions taken, `[S]`."""
        seeds = len(self.task.seeds)
        q = (self.net(params, batch.observation) * batch.action).sum(-1, keepdim=True)
        loss = per_seed(F.huber_loss(q, target, reduction="none"), seeds)
        return loss, {"train/q_loss": loss, "train/q": per_seed(q, seeds)}

    def learn(self) -> dict[str, Tensor]:
        """The next update, if it is its turn; the metrics of the last."""
        if (self.step + 1) % self.train_every == 0:
            self.last = super().learn()
        else:
            self.step += 1
        return self.last

    def variant(self) -> bool:
        """Whether the target network moves too."""
        return self.step // self.train_every % self.target_every == 0

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One step of Q, and every `target_every`-th time of the target network."""
        target = self.target(batch)
        grads, metrics = gradients(lambda p: self.loss(p, batch, target), self.params["q"])
        self.optimizer.step(grads)
        if self.variant():
            polyak(self.params["target"], self.params["q"], self.tau)
        return metrics

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "last": clone(self.last)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.last = {name: value.to(self.task.device) for name, value in state["last"].items()}
