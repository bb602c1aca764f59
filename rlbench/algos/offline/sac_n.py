"""SAC-N: the soft actor-critic with N critics, whose least value keeps unknown actions unattractive.

An et al., "Uncertainty-Based Offline Reinforcement Learning with Diversified Q-Ensemble" (NeurIPS 2021), section 3. The
losses stand in `rlbench.algos.actor_critic`, with the minimum over N critics in the target and in the actor's loss.
"""

from __future__ import annotations

from rlbench.algos.actor_critic import Offline, SoftActorCritic
from rlbench.data.sampling import training_rows
from rlbench.task import ControlTask
from rlbench.types import Count, Fraction, Positive


class SACN(SoftActorCritic, Offline):
    """Soft actor-critic on a dataset, with N critics.

    Args:
        task: the problem.
        hidden_dims: widths of the hidden layers of actor and critics.
        num_critics: N; the more, the more conservative.
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
        gamma: Fraction,
        tau: Fraction,
        batch_size: Count,
        actor_learning_rate: Positive,
        critic_learning_rate: Positive,
        alpha_learning_rate: Positive,
        log_std_min: float,
        log_std_max: float,
    ) -> None:
        super().__init__(
            task,
            hidden_dims=hidden_dims,
            num_critics=num_critics,
            gamma=gamma,
            tau=tau,
            target_every=1,
            actor_learning_rate=actor_learning_rate,
            critic_learning_rate=critic_learning_rate,
            alpha_learning_rate=alpha_learning_rate,
            initial_alpha=1.0,
            entropy_in_target=True,
            log_std_min=log_std_min,
            log_std_max=log_std_max,
        )
        self.learn_from(training_rows(task), batch_size)
