"""EDAC: SAC-N whose critics are kept apart, so that far fewer of them are enough.

An et al., "Uncertainty-Based Offline Reinforcement Learning with Diversified Q-Ensemble" (NeurIPS 2021). To
the critics' loss of SAC-N comes eta times the ensemble similarity (eq. 4), with g_i the action gradient of Q_i(s, a)
scaled to length 1:

    mean 1 / (N - 1) sum_{i != j} <g_i, g_j>,    and sum_{i != j} <g_i, g_j> = ||sum_i g_i||^2 - sum_i ||g_i||^2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlbench.algos.actor_critic import per_seed, squared_errors
from rlbench.algos.offline.sac_n import SACN
from rlbench.data.sampling import Batch
from rlbench.errors import UsageError
from rlbench.nets.mlp import stack
from rlbench.nets.optim import Params
from rlbench.task import ControlTask
from rlbench.types import Count, Fraction, NonNegative, Positive


class EDAC(SACN):
    """Ensemble-diversified actor-critic.

    Args:
        task: the problem.
        hidden_dims: widths of the hidden layers of actor and critics.
        num_critics: N, at least 2.
        eta: weight of the ensemble similarity.
        gamma: discount.
        tau: rate at which the target critics follow.
        batch_size: transitions in a minibatch.
        actor_learning_rate: Adam's step size for the actor.
        critic_learning_rate: Adam's step size for the critics.
        alpha_learning_rate: Adam's step size for the log-temperature.
        log_std_min: least log standard deviation of the policy before the tanh.
        log_std_max: largest log standard deviation of the policy before the tanh.
    """

    def __init__(
        self,
        task: ControlTask,
        *,
        hidden_dims: list[Count],
        num_critics: Count,
        eta: NonNegative,
        gamma: Fraction,
        tau: Fraction,
        batch_size: Count,
        actor_learning_rate: Positive,
        critic_learning_rate: Positive,
        alpha_learning_rate: Positive,
        log_std_min: float,
        log_std_max: float,
    ) -> None:
        if num_critics < 2:
            raise UsageError(f"algo.num_critics is {num_critics}, but EDAC keeps critics apart: set it to 2 or more")
        super().__init__(
            task,
            hidden_dims=hidden_dims,
            num_critics=num_critics,
            gamma=gamma,
            tau=tau,
            batch_size=batch_size,
            actor_learning_rate=actor_learning_rate,
            critic_learning_rate=critic_learning_rate,
            alpha_learning_rate=alpha_learning_rate,
            log_std_min=log_std_min,
            log_std_max=log_std_max,
        )
        self.eta = eta
        self.one_critic = task.networks.state_action(hidden_dims, 1)

    def critic_loss(self, params: Params, batch: Batch, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        seeds, members = len(self.task.seeds), self.num_critics
        # Each member gets a copy of the action to be differentiated by, hence the network of one critic on the stack.
        action = stack(batch.action, members).requires_grad_()
        q = self.one_critic(params, stack(batch.observation, members), action)
        error = squared_errors(q, target)
        (gradient,) = torch.autograd.grad(q.sum(), action, create_graph=True)
        alike = per_seed(similarity(gradient.unflatten(0, (seeds, members))), seeds)
        return error + self.eta * alike, {
            "train/critic_loss": error,
            "train/similarity": alike,
            "train/q": q,
        }


def similarity(gradient: Tensor) -> Tensor:
    """1 / (N - 1) sum_{i != j} <g_i, g_j> for action gradients `[S, N, B, a]` of any length: `[S, B]`."""
    unit = gradient / (gradient.norm(dim=-1, keepdim=True) + 1e-10)
    pairs = unit.sum(1).square().sum(-1) - unit.square().sum((1, 3))
    return pairs / (gradient.shape[1] - 1)
