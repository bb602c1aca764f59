"""The conservative losses and update: what CQL and Cal-QL share.

Kumar et al., "Conservative Q-Learning for Offline Reinforcement Learning" (NeurIPS 2020), eq. 4 with the entropy
regulariser, on the soft actor-critic. Each critic minimises

    mean (Q(s, a) - y)^2 + w mean [ log sum_i exp(Q(s, a_i) - log mu_i(a_i)) - Q(s, a) ]

over the (s, a) of a minibatch, with the a_i drawn at each state: 10 from pi(.|s), 10 from pi(.|s') and 10 uniformly,
mu_i the density each was drawn from (importance sampling, appendix F). The actor steps first. Without Lagrange
multiplier; w is fixed.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from rlbench.algos.actor_critic import SoftActorCritic, per_seed, squared_errors
from rlbench.data.sampling import Batch
from rlbench.nets.optim import Params
from rlbench.task import ControlTask
from rlbench.types import NonNegative

ACTIONS = 10  # of each of the three kinds
KINDS = 3


class Conservative(SoftActorCritic):
    """The soft actor-critic with two critics and the conservative term.

    Args:
        task: the problem.
        cql_weight: w, the weight of the conservative term.
        cql_lse: how many values a log-sum-exp runs over: 30, all of a state (the paper), or 3, one action of each kind,
            averaged over ten such triples.
        soft: see `SoftActorCritic`.
    """

    def __init__(self, task: ControlTask, *, cql_weight: NonNegative, cql_lse: Literal[3, 30], **soft: Any) -> None:
        super().__init__(task, **soft)
        self.cql_weight = cql_weight
        self.cql_lse = cql_lse
        self.parts["uniform"] = self.uniform = task.streams("uniform actions")

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

    def drawn_values(self, q: Tensor, batch: Batch) -> Tensor:
        """What the conservative term takes for the critics' values of the a_i, `[S * 2, 3, 10, B, 1]`; here: them."""
        return q

    def critic_loss(self, params: Params, batch: Batch, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum over the two critics of squared error and conservative term, `[S]`; all 31 actions in one pass."""
        seeds, size = len(self.task.seeds), batch.action.shape[1]
        actions, density = self.draw(batch)
        every = torch.cat([batch.action, actions.flatten(1, 3)], dim=1)
        states = batch.observation.repeat(1, 1 + KINDS * ACTIONS, 1)
        q_data, q = self.critic(params, states, every).split([size, KINDS * ACTIONS * size], dim=1)
        q = self.drawn_values(q.unflatten(1, (KINDS, ACTIONS, size)), batch)
        error = squared_errors(q_data, target)
        gap = log_sum_exp(q - density.repeat_interleave(2, dim=0), self.cql_lse)
        conservative = 2 * self.cql_weight * (per_seed(gap, seeds) - per_seed(q_data, seeds))
        return error + conservative, {
            "train/critic_loss": error,
            "train/cql_loss": conservative,
            "train/q": q_data,
        }

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One step of actor, temperature, critics and targets."""
        metrics = {**self.update_actor(batch), **self.update_critic(batch)}
        self.follow()
        return metrics


def log_sum_exp(values: Tensor, count: int) -> Tensor:
    """`[N, 3, 10, B, 1]` over kinds and actions: `[N, B, 1]`; or (count 3) over the kinds alone: `[N, 10, B, 1]`."""
    return values.logsumexp(dim=1) if count == KINDS else values.logsumexp(dim=(1, 2))
