"""MOBILE: rollouts as in MOPO, but what lowers the critics' target is how much the models' Bellman backups differ.

Sun et al., "Model-Bellman Inconsistency for Model-based Offline Reinforcement Learning" (ICML 2023). With K samples
s'_ik of each elite member i at (s, a),

    b(s, a) = std_i [ 1/K sum_k min_m Q'_m(s'_ik, pi(s'_ik)) ],     b = 0 on dataset transitions,
    y = r - lambda b + gamma (1 - d) min_m Q'_m(s', a'),            y clipped below at `target_min`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rlbench.algos.actor_critic import least
from rlbench.algos.offline.dynamics import Dynamics
from rlbench.algos.offline.model_based import ModelBased
from rlbench.data.sampling import Batch
from rlbench.errors import UsageError
from rlbench.task import ControlTask
from rlbench.types import Count, Fraction, NonNegative, Positive


class MOBILE(ModelBased):
    """Model-Bellman-inconsistency penalised offline policy optimisation.

    Args:
        task: the problem.
        dynamics: how the forward model is learned.
        hidden_dims: widths of the hidden layers of actor and critics.
        gamma: discount.
        tau: rate at which the target critics follow.
        batch_size: transitions in a minibatch.
        actor_learning_rate: Adam's first step size for the actor; it falls to 0 along a cosine over the run.
        critic_learning_rate: Adam's step size for the critics.
        alpha_learning_rate: Adam's step size for the log-temperature.
        alpha: a fixed temperature; null: learned.
        log_std_min: least log standard deviation of the policy before the tanh.
        log_std_max: largest log standard deviation of the policy before the tanh.
        penalty: lambda, what a unit of inconsistency costs.
        samples: K, next states drawn of each member.
        target_min: the critics' target is clipped below at this; null: not clipped (rewards may be negative).
        real_fraction: fraction of a minibatch that comes from the dataset.
        rollout_length: most model steps of a rollout.
        rollout_every: updates between two sets of rollouts.
        rollout_starts: rollouts in a set.
        rollout_sets: sets kept, the newest.

    Raises:
        UsageError: there are fewer than two elites.
    """

    def __init__(
        self,
        task: ControlTask,
        *,
        dynamics: Callable[[ControlTask], Dynamics],
        hidden_dims: list[Count],
        gamma: Fraction,
        tau: Fraction,
        batch_size: Count,
        actor_learning_rate: Positive,
        critic_learning_rate: Positive,
        alpha_learning_rate: Positive,
        alpha: Positive | None,
        log_std_min: float,
        log_std_max: float,
        penalty: NonNegative,
        samples: Count,
        target_min: float | None,
        real_fraction: Fraction,
        rollout_length: Count,
        rollout_every: Count,
        rollout_starts: Count,
        rollout_sets: Count,
    ) -> None:
        models = dynamics(task)
        if models.settings["elites"] < 2:
            raise UsageError("algo.dynamics.elites=1: what models disagree on takes at least two")
        super().__init__(
            task,
            dynamics=models,
            reward_penalty=0.0,
            batch_size=batch_size,
            real_fraction=real_fraction,
            rollout_length=rollout_length,
            rollout_every=rollout_every,
            rollout_starts=rollout_starts,
            rollout_sets=rollout_sets,
            hidden_dims=hidden_dims,
            gamma=gamma,
            tau=tau,
            actor_learning_rate=actor_learning_rate,
            critic_learning_rate=critic_learning_rate,
            alpha_learning_rate=alpha_learning_rate,
            alpha=alpha,
            entropy_in_target=False,
            log_std_min=log_std_min,
            log_std_max=log_std_max,
        )
        self.penalty, self.samples, self.target_min = penalty, samples, target_min
        self.parts["model_noise"] = self.model_noise = task.streams("model noise")

    @torch.no_grad()
    def inconsistency(self, observation: Tensor, action: Tensor) -> Tensor:
        """b, `[S, B, 1]`."""
        raw = self.task.dataset.observation_dim
        mean, std = (x[..., :raw] for x in self.model.predict(observation[..., :raw], action))
        noise = self.model_noise.normal(self.samples, *mean.shape[1:])
        following = self.task.features((mean[:, None] + std[:, None] * noise).flatten(1, 3))
        q = least(self.critic(self.params["target"], following, self.sample(following)[0]), self.num_critics)
        return q.unflatten(1, noise.shape[1:4]).mean(1).std(1)

    @torch.no_grad()
    def target(self, batch: Batch) -> Tensor:
        b = self.inconsistency(batch.observation[:, self.real :], batch.action[:, self.real :])
        target = super().target(batch)
        target[:, self.real :] -= self.penalty * b
        return target if self.target_min is None else target.clamp(min=self.target_min)
