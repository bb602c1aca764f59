"""CQL(H): conservative Q-learning, which pushes the critics down at actions that the dataset does not hold.

Kumar et al., "Conservative Q-Learning for Offline Reinforcement Learning" (NeurIPS 2020), eq. 4 with the entropy
regulariser, on the soft actor-critic. Each critic minimises

    mean (Q(s, a) - y)^2 + w mean [ log sum_i exp(Q(s, a_i) - log mu_i(a_i)) - Q(s, a) ]

over the dataset's (s, a), with y = r + gamma (1 - d) min_m Q'_m(s', a'), a' ~ pi(.|s') (no entropy in the target), and
the a_i drawn at each state: 10 from pi(.|s), 10 from pi(.|s') and 10 uniformly, mu_i the density each was drawn from
(importance sampling, appendix F). The actor steps first. Without Lagrange multiplier; w is fixed.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from rlbench.algos.actor_critic import Offline, SoftActorCritic, per_seed
from rlbench.data.sampling import Batch, training_rows
from rlbench.nets.mlp import stack
from rlbench.nets.optim import Params
from rlbench.task import ControlTask
from rlbench.types import Count, Fraction, NonNegative, Positive, Precision

ACTIONS = 10  # of each of the three kinds
KINDS = 3


class CQL(SoftActorCritic, Offline):
    """Conservative Q-learning with two critics and a learned temperature.

    Args:
        task: the problem.
        hidden_dims: widths of the hidden layers of actor and critics.
        gamma: discount.
        tau: rate at which the target critics follow.
        batch_size: transitions in a minibatch.
        actor_learning_rate: Adam's step size for the actor.
        critic_learning_rate: Adam's step size for the critics.
        alpha_learning_rate: Adam's step size for the log-temperature.
        cql_weight: w, the weight of the conservative term.
        cql_lse: how many values a log-sum-exp runs over: 30, all of a state (the paper), or 3, one action of each kind,
            averaged over ten such triples (what OfflineRL-Kit and COCOA's code compute).
        log_std_min: least log standard deviation of the policy before the tanh.
        log_std_max: largest log standard deviation of the policy before the tanh.
        precision: of matrix products in training; bf16: all layers' but the last, with parameters, gradients, Adam, the
            networks' output and losses in fp32.
    """

    def __init__(
        self,
        task: ControlTask,
        *,
        hidden_dims: list[int],
        gamma: Fraction,
        tau: Fraction,
        batch_size: Count,
        actor_learning_rate: Positive,
        critic_learning_rate: Positive,
        alpha_learning_rate: Positive,
        cql_weight: NonNegative,
        cql_lse: Literal[3, 30],
        log_std_min: float,
        log_std_max: float,
        precision: Precision,
    ) -> None:
        super().__init__(
            task,
            hidden_dims=hidden_dims,
            num_critics=2,
            gamma=gamma,
            tau=tau,
            actor_learning_rate=actor_learning_rate,
            critic_learning_rate=critic_learning_rate,
            alpha_learning_rate=alpha_learning_rate,
            alpha=None,
            alpha_max=None,
            entropy_in_target=False,
            log_std_min=log_std_min,
            log_std_max=log_std_max,
            precision=precision,
        )
        self.cql_weight = cql_weight
        self.cql_lse = cql_lse
        self.parts["uniform"] = self.uniform = task.streams("uniform actions")
        self.learn_from(training_rows(task), batch_size)

    @torch.no_grad()
    def draw(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The a_i, `[S, 3, 10, B, a]`, and their log-densities log mu_i, `[S, 3, 10, B, 1]`."""
        size, dim = batch.action.shape[1:]
        states = torch.cat([batch.observation, batch.next_observation], dim=1)
        output = self.actor(self.params["actor"], states).unflatten(1, (2, 1, size))
        action, log_prob = self.policy.sample(output, self.noise.normal(2, ACTIONS, size, dim))
        uniform = 2 * self.uniform.uniform(1, ACTIONS, size, dim) - 1
        density = torch.full_like(log_prob[:, :1], dim * math.log(0.5))
        return torch.cat([action, uniform], dim=1), torch.cat([log_prob, density], dim=1)

    def critic_loss(self, params: Params, batch: Batch, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum over the two critics of squared error and conservative term, `[S]`; all 31 actions in one pass."""
        seeds, size = len(self.task.seeds), batch.action.shape[1]
        actions, density = self.draw(batch)
        every = torch.cat([batch.action, actions.flatten(1, 3)], dim=1)
        states = batch.observation.repeat(1, 1 + KINDS * ACTIONS, 1)
        q_data, q = self.critic(params, states, every).split([size, KINDS * ACTIONS * size], dim=1)
        q = q.unflatten(1, (KINDS, ACTIONS, size))
        error = 2 * per_seed((q_data - stack(target, 2)).square(), seeds)
        gap = log_sum_exp(q - density.repeat_interleave(2, dim=0), self.cql_lse)
        conservative = 2 * self.cql_weight * (per_seed(gap, seeds) - per_seed(q_data, seeds))
        return error + conservative, {
            "train/critic_loss": error,
            "train/cql_loss": conservative,
            "train/q": per_seed(q_data, seeds),
        }

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One step of actor, temperature, critics and targets."""
        metrics = {**self.update_actor(batch), **self.update_critic(batch)}
        self.follow()
        return metrics


def log_sum_exp(values: Tensor, count: int) -> Tensor:
    """`[N, 3, 10, B, 1]` over kinds and actions: `[N, B, 1]`; or (count 3) over the kinds alone: `[N, 10, B, 1]`."""
    return values.logsumexp(dim=1) if count == KINDS else values.logsumexp(dim=(1, 2))
