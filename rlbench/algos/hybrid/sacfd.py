"""SACfD: soft actor-critic with demonstrations, every minibatch part offline data, part replay.

The plainest use of data in an online run, a baseline without a paper of its own; after Vecerik et al., "Leveraging
Demonstrations for Deep Reinforcement Learning on Robotics Problems with Sparse Rewards" (arXiv 1707.08817), without the
prioritised replay and with a fixed share of the dataset as in RLPD.
"""

from __future__ import annotations

from rlbench.algos.hybrid.learning import Mixed
from rlbench.algos.interaction import SoftOnline
from rlbench.task import ControlTask
from rlbench.types import Count, Fraction, NonNegativeInt, Positive


class SACfD(Mixed, SoftOnline):
    """SAC on minibatches of both sources; the unit of work is one environment step (and one update).

    Args:
        task: the problem.
        hidden_dims: widths of the hidden layers of actor and critics.
        gamma: discount.
        tau: rate at which the target critics follow.
        batch_size: transitions in a minibatch.
        offline_fraction: share of a minibatch that comes from the dataset.
        actor_learning_rate: Adam's step size for the actor.
        critic_learning_rate: Adam's step size for the critics.
        alpha_learning_rate: Adam's step size for the log-temperature.
        buffer_size: transitions of its own kept for replay, the newest.
        start_steps: first steps, with uniformly random actions and no update.
        reward_shift: added to every reward, of either source.
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
        offline_fraction: Fraction,
        actor_learning_rate: Positive,
        critic_learning_rate: Positive,
        alpha_learning_rate: Positive,
        buffer_size: Count,
        start_steps: NonNegativeInt,
        reward_shift: float,
        log_std_min: float,
        log_std_max: float,
    ) -> None:
        super().__init__(
            task,
            hidden_dims=hidden_dims,
            gamma=gamma,
            tau=tau,
            batch_size=batch_size,
            offline_fraction=offline_fraction,
            actor_learning_rate=actor_learning_rate,
            critic_learning_rate=critic_learning_rate,
            alpha_learning_rate=alpha_learning_rate,
            buffer_size=buffer_size,
            start_steps=start_steps,
            reward_shift=reward_shift,
            log_std_min=log_std_min,
            log_std_max=log_std_max,
        )
