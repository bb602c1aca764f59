"""MOPO: a soft actor-critic on short rollouts of a learned model, whose rewards are lowered where the model is unsure.

Yu et al., "MOPO: Model-based Offline Policy Optimization" (NeurIPS 2020), in the form of COCOA's code (and so of
OfflineRL-Kit's). Rollouts of the current policy start from dataset states; with members i = 1..E of the forward
ensemble,

    r~ = r^ - lambda max_i |sigma_i(s, a)|,

sigma_i holding the standard deviations of next state and reward. Minibatches mix dataset and model transitions; the
update is the soft actor-critic's (`rlbench.algos.actor_critic`), with alpha held in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable

from rlbench.algos.offline.dynamics import Dynamics
from rlbench.algos.offline.model_based import ModelBased
from rlbench.task import ControlTask
from rlbench.types import Count, Fraction, NonNegative, Positive


class MOPO(ModelBased):
    """Model-based offline policy optimisation with penalised rewards.

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
        log_std_min: least log standard deviation of the policy before the tanh.
        log_std_max: largest log standard deviation of the policy before the tanh.
        penalty: lambda, what a unit of the model's uncertainty costs.
        real_fraction: fraction of a minibatch that comes from the dataset.
        rollout_length: most model steps of a rollout.
        rollout_every: updates between two sets of rollouts.
        rollout_starts: rollouts in a set.
        rollout_sets: sets kept, the newest.
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
        log_std_min: float,
        log_std_max: float,
        penalty: NonNegative,
        real_fraction: Fraction,
        rollout_length: Count,
        rollout_every: Count,
        rollout_starts: Count,
        rollout_sets: Count,
    ) -> None:
        super().__init__(
            task,
            dynamics=dynamics(task),
            reward_penalty=penalty,
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
            alpha=None,
            entropy_in_target=True,
            log_std_min=log_std_min,
            log_std_max=log_std_max,
        )
