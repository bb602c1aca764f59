"""CQL(H): conservative Q-learning, which pushes the critics down at actions that the dataset does not hold.

Kumar et al., "Conservative Q-Learning for Offline Reinforcement Learning" (NeurIPS 2020). The losses stand in
`rlbench.algos.conservative`; the critics' target is y = r + gamma (1 - d) min_m Q'_m(s', a'), a' ~ pi(.|s'), without
the entropy.
"""

from __future__ import annotations

from typing import Literal

from rlbench.algos.actor_critic import Offline
from rlbench.algos.conservative import Conservative
from rlbench.data.sampling import training_rows
from rlbench.task import ControlTask
from rlbench.types import Count, Fraction, NonNegative, Positive, Precision


class CQL(Conservative, Offline):
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
        hidden_dims: list[Count],
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
            target_every=1,
            actor_learning_rate=actor_learning_rate,
            critic_learning_rate=critic_learning_rate,
            alpha_learning_rate=alpha_learning_rate,
            initial_alpha=1.0,
            entropy_in_target=False,
            cql_weight=cql_weight,
            cql_lse=cql_lse,
            log_std_min=log_std_min,
            log_std_max=log_std_max,
            precision=precision,
        )
        self.learn_from(training_rows(task), batch_size)
