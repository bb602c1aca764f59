"""SAC: soft actor-critic with a learned temperature.

Haarnoja et al., "Soft Actor-Critic Algorithms and Applications" (arXiv 1812.05905). One environment a seed, one update
a step after `start_steps` of uniformly random actions. The losses stand in `rlbench.algos.actor_critic`.
"""

from __future__ import annotations

from rlbench.algos.interaction import SoftOnline
from rlbench.task import ControlTask
from rlbench.types import Count, Fraction, NonNegativeInt, Positive


class SAC(SoftOnline):
    """Soft actor-critic, online; the unit of work is one environment step (and one update).

    Args:
        task: the problem.
        hidden_dims: widths of the hidden layers of actor and critics.
        gamma: discount.
        tau: rate at which the target critics follow.
        batch_size: transitions in a minibatch.
        actor_learning_rate: Adam's step size for the actor.
        critic_learning_rate: Adam's step size for the critics.
        alpha_learning_rate: Adam's step size for the log-temperature.
        buffer_size: transitions kept for replay, the newest.
        start_steps: first steps, with uniformly random actions and no update.
        log_std_min: least log standard deviation of the policy before the tanh.
        log_std_max: largest log standard deviation of the policy before the tanh.
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
        buffer_size: Count,
        start_steps: NonNegativeInt,
        log_std_min: float,
        log_std_max: float,
    ) -> None:
        super().__init__(
            task,
            hidden_dims=hidden_dims,
            gamma=gamma,
            tau=tau,
            batch_size=batch_size,
            actor_learning_rate=actor_learning_rate,
            critic_learning_rate=critic_learning_rate,
            alpha_learning_rate=alpha_learning_rate,
            buffer_size=buffer_size,
            start_steps=start_steps,
            log_std_min=log_std_min,
            log_std_max=log_std_max,
        )
