"""Hy-Q: fitted Q-iteration on the union of offline data and the learner's own, in equal shares.

Song, Zhou, Sekhari, Bagnell, Krishnamurthy and Sun, "Hybrid RL: Using Both Offline and Online Data Can Make RL
Efficient" (ICLR 2023). Each round acts greedily, adds what it met to the online data, and fits Q to

    y = r + gamma (1 - d) max_a' Q'(s', a')

over both sources, without pessimism and without bonus. The paper's actions are few; where they are continuous (our
design) an actor that climbs Q stands for the greedy action, and the rest is TD3's: clipped double Q where the paper's
code has double Q, Gaussian noise where it has epsilon-greedy, targets that follow, one update a step. So it is to
`algo=td3` what `algo=sacfd` is to `algo=sac`: unlike SACfD's, its policy is deterministic, and neither rewarded for
entropy nor backed up with it.
"""

from __future__ import annotations

from typing import ClassVar

from rlbench.algos.hybrid.learning import Mixed
from rlbench.algos.interaction import TwinDelayedOnline
from rlbench.task import ControlTask
from rlbench.types import Count, Fraction, NonNegative, NonNegativeInt, Positive


class HyQ(Mixed, TwinDelayedOnline):
    """Hybrid Q-learning for continuous actions; the unit of work is one environment step (and one update).

    Args:
        task: the problem.
        hidden_dims: widths of the hidden layers of actor and critics.
        gamma: discount.
        tau: rate at which the target networks follow.
        batch_size: transitions in a minibatch.
        offline_fraction: share of a minibatch that comes from the dataset.
        actor_learning_rate: Adam's step size for the actor.
        critic_learning_rate: Adam's step size for the critics.
        policy_noise: standard deviation of the noise on the target policy's action.
        noise_clip: bound of that noise.
        policy_freq: updates of the critics for each of the actor and the targets.
        exploration_noise: standard deviation of the noise on the actions taken.
        buffer_size: transitions of its own kept for replay, the newest.
        start_steps: first steps, with uniformly random actions and no update.
        reward_shift: added to every reward, of either source.
    """

    target_critic: ClassVar[str] = "target_critic"

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
            batch_size=batch_size,
            offline_fraction=offline_fraction,
            actor_learning_rate=actor_learning_rate,
            critic_learning_rate=critic_learning_rate,
            policy_noise=policy_noise,
            noise_clip=noise_clip,
            policy_freq=policy_freq,
            exploration_noise=exploration_noise,
            buffer_size=buffer_size,
            start_steps=start_steps,
            reward_shift=reward_shift,
        )
