"""MOORL from pictures: the same loop over DrQ-v2's networks and returns.

Chaudhary, Mondal and Behera (TMLR 2025) report results on V-D4RL; with what networks is not known to us. Here they are
those of Yarats et al., "Mastering Visual Continuous Control" (ICLR 2022): a convolutional encoder, pictures that are
shifted at random, and returns over n steps. The encoder is part of the critics' meta-parameters, and their loss alone
teaches it. Actor, entropy and temperature stay SAC's.
"""

from __future__ import annotations

from typing import Literal

from rlbench.algos.hybrid.moorl import MOORL
from rlbench.algos.n_step import NStep
from rlbench.task import ControlTask
from rlbench.types import Count, Fraction, NonNegativeInt, Positive


class MOORLPixels(NStep, MOORL):
    """Meta offline-online reinforcement learning from pictures; the unit of work is one environment step.

    Args:
        task: the problem.
        n_step: steps over which rewards are summed up before a value stands for the rest.
        hidden_dims: widths of the hidden layers of actor and critics.
        inner_steps: K, updates in a meta-iteration.
        meta_step: how much of the way the meta-parameters go, at first.
        meta_step_decay: none, or linear: to 0 at the end of the run.
        offline_probability: p_off, how often a meta-iteration learns from the dataset.
        env_steps_per_iteration: environment steps before each meta-iteration; null: K, one for each update.
        inner_resample: whether each of the K updates draws a minibatch of its own; or all use the same.
        inner_optimizer: Adam's moments of actor and critics: keep them from one meta-iteration to the next, or reset.
        target_follow: the target critics follow the adapted critics at each of the K updates (inner), or the
            meta-parameters once a meta-iteration, as far as in K updates (meta).
        gamma: discount.
        tau: rate at which the target critics follow.
        batch_size: transitions in a minibatch.
        actor_learning_rate: Adam's step size for the actor.
        critic_learning_rate: Adam's step size for the critics.
        alpha_learning_rate: Adam's step size for the log-temperature.
        buffer_size: transitions of its own kept for replay, the newest.
        start_steps: first steps, with uniformly random actions and no update.
        log_std_min: least log standard deviation of the policy before the tanh.
        log_std_max: largest log standard deviation of the policy before the tanh.
    """

    def __init__(
        self,
        task: ControlTask,
        *,
        n_step: Count,
        hidden_dims: list[int],
        inner_steps: Count,
        meta_step: Fraction,
        meta_step_decay: Literal["none", "linear"],
        offline_probability: Fraction,
        env_steps_per_iteration: Count | None,
        inner_resample: bool,
        inner_optimizer: Literal["keep", "reset"],
        target_follow: Literal["inner", "meta"],
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
            n_step=n_step,
            hidden_dims=hidden_dims,
            inner_steps=inner_steps,
            meta_step=meta_step,
            meta_step_decay=meta_step_decay,
            offline_probability=offline_probability,
            env_steps_per_iteration=env_steps_per_iteration,
            inner_resample=inner_resample,
            inner_optimizer=inner_optimizer,
            target_follow=target_follow,
            gamma=gamma,
            tau=tau,
            batch_size=batch_size,
            actor_learning_rate=actor_learning_rate,
            critic_learning_rate=critic_learning_rate,
            alpha_learning_rate=alpha_learning_rate,
            buffer_size=buffer_size,
            start_steps=start_steps,
            reward_shift=0.0,
            log_std_min=log_std_min,
            log_std_max=log_std_max,
        )
