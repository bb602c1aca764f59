"""TD3+BC: TD3 with a behaviour-cloning term in the actor's loss, on normalised states.

Fujimoto and Gu, "A Minimalist Approach to Offline Reinforcement Learning" (NeurIPS 2021). The actor minimises (eq. 5)

    -lambda mean Q_1(s, pi(s)) + mean (pi(s) - a)^2,    lambda = alpha / mean |Q_1(s, pi(s))|,

lambda a constant for the gradient. The critics' loss stands in `rlbench.algos.twin_delayed`.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from rlbench.algos.actor_critic import Offline, per_seed
from rlbench.algos.normalized import normalized
from rlbench.algos.twin_delayed import TwinDelayed
from rlbench.data.sampling import Batch, training_rows
from rlbench.nets.optim import Params
from rlbench.task import ControlTask
from rlbench.types import Count, Fraction, NonNegative, Positive


class TD3BC(TwinDelayed, Offline):
    """TD3 with behaviour cloning.

    Args:
        task: the problem.
        hidden_dims: widths of the hidden layers of actor and critics.
        gamma: discount.
        tau: rate at which the target networks follow.
        batch_size: transitions in a minibatch.
        actor_learning_rate: Adam's step size for the actor.
        critic_learning_rate: Adam's step size for the critics.
        alpha: weight of the critic against behaviour cloning; 0 is behaviour cloning.
        policy_noise: standard deviation of the noise on the target policy's action.
        noise_clip: bound of that noise.
        policy_freq: updates of the critics for each of the actor and the targets.
        normalize_states: whether networks see observations shifted and scaled by the dataset's mean and std.
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
        alpha: NonNegative,
        policy_noise: NonNegative,
        noise_clip: NonNegative,
        policy_freq: Count,
        normalize_states: bool,
    ) -> None:
        super().__init__(
            normalized(task) if normalize_states else task,
            hidden_dims=hidden_dims,
            gamma=gamma,
            tau=tau,
            actor_learning_rate=actor_learning_rate,
            critic_learning_rate=critic_learning_rate,
            policy_noise=policy_noise,
            noise_clip=noise_clip,
            policy_freq=policy_freq,
        )
        self.alpha = alpha
        self.learn_from(training_rows(self.task), batch_size)

    def actor_loss(self, params: Params, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        seeds = len(self.task.seeds)
        action = self.action(params, batch.observation)
        q = self.q1(batch.observation, action)
        scale = self.alpha / per_seed(q.detach().abs(), seeds)
        cloning = per_seed(F.mse_loss(action, batch.action, reduction="none"), seeds)
        loss = cloning - scale * per_seed(q, seeds)
        return loss, {"train/actor_loss": loss, "train/bc_loss": cloning}
