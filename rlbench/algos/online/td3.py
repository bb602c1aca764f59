"""TD3: the twin-delayed deterministic policy gradient.

Fujimoto, van Hoof and Meger, "Addressing Function Approximation Error in Actor-Critic Methods" (ICML 2018). One
environment a seed, explored with Gaussian noise, one update a step after `start_steps` of uniformly random actions. The
losses stand in `rlbench.algos.twin_delayed`.
"""

from __future__ import annotations

from rlbench.algos.interaction import TwinDelayedOnline
from rlbench.task import ControlTask
from rlbench.types import Count, Fraction, NonNegative, NonNegativeInt, Positive


class TD3(TwinDelayedOnline):
    """TD3, online; the unit of work is one environment step (and one update).

    Args:
        task: the problem.
        hidden_dims: widths of the hidden layers of actor and critics.
        gamma: discount.
        tau: rate at which the target networks follow.
        batch_size: transitions in a minibatch.
        actor_learning_rate: Adam's step size for the actor.
        critic_learning_rate: Adam's step size for the critics.
        policy_noise: standard deviation of the noise on the target policy's action.
        noise_clip: bound of that noise.
        policy_freq: updates of the critics for each of the actor and the targets.
        exploration_noise: standard deviation of the noise on the actions taken.
        buffer_size: transitions kept for replay, the newest.
        start_steps: first steps, with uniformly random actions and no update.
        reward_shift: added to every reward that is learned from.
    """

    def __init__(
        self,
        task: ControlTask,
        *,
        hidden_dims: list[Count],
        gamma: Fraction,
        tau: Fraction,
        batch_size: Count,
        actor_learning_rate: Positive,
        critic_learning_rate: Positive,
        policy_noise: NonNegative,
        noise_clip: NonNegative,
        policy_freq: Count,
        exploration_noise: NonNegative,
        buffer_size: Count,
        start_steps: NonNegativeInt,
        reward_shift: float,
    ) -> None:
        super().__init__(
            task,
            hidden_dims=hidden_dims,
            gamma=gamma,
            tau=tau,
            actor_learning_rate=actor_learning_rate,
            critic_learning_rate=critic_learning_rate,
            policy_noise=policy_noise,
            noise_clip=noise_clip,
            policy_freq=policy_freq,
            exploration_noise=exploration_noise,
            batch_size=batch_size,
            buffer_size=buffer_size,
            start_steps=start_steps,
            reward_shift=reward_shift,
        )
