"""ReBRAC: TD3 with behaviour regularisation of both actor and critics, and the design choices that make it strong.

Tarasov et al., "Revisiting the Minimalist Approach to Offline Reinforcement Learning" (NeurIPS 2023). With the
dataset's next action a'_D, and a' the target policy's action with clipped noise,

    critics: y = r + gamma (1 - d) [min(Q'_1, Q'_2)(s', a') - beta_critic ||a' - a'_D||^2],
    actor:   mean [beta_actor ||pi(s) - a||^2 - lambda min(Q_1, Q_2)(s, pi(s))],    lambda = 1 / mean |min Q|,

LayerNorm in the critics, three hidden layers, large minibatches. Rows whose next action is not known (the last of an
episode that was cut off) are left out.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rlbench.algos.actor_critic import Offline, bootstrapped, least, per_seed
from rlbench.algos.twin_delayed import TwinDelayed
from rlbench.data.sampling import Batch, training_rows
from rlbench.errors import UsageError
from rlbench.nets.optim import Params
from rlbench.task import ControlTask
from rlbench.types import Count, Fraction, NonNegative, Positive


class ReBRAC(TwinDelayed, Offline):
    """Behaviour-regularised actor-critic, revisited.

    Args:
        task: the problem.
        hidden_dims: widths of the hidden layers of actor and critics.
        gamma: discount.
        tau: rate at which the target networks follow.
        batch_size: transitions in a minibatch.
        actor_learning_rate: Adam's step size for the actor.
        critic_learning_rate: Adam's step size for the critics.
        actor_bc_coef: weight of the distance to the dataset's action in the actor's loss.
        critic_bc_coef: weight of the distance to the dataset's next action in the critics' target.
        policy_noise: standard deviation of the noise on the target policy's action.
        noise_clip: bound of that noise.
        policy_freq: updates of the critics for each of the actor and the targets.
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
        actor_bc_coef: NonNegative,
        critic_bc_coef: NonNegative,
        policy_noise: NonNegative,
        noise_clip: NonNegative,
        policy_freq: Count,
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
            actor_options={"final_init": 1e-3},
            critic_options={"final_init": 3e-3, "layernorm": "after"},
        )
        self.actor_bc_coef, self.critic_bc_coef = actor_bc_coef, critic_bc_coef
        self.learn_from(rows_with_next_action(task), batch_size)

    @torch.no_grad()
    def target(self, batch: Batch) -> Tensor:
        action = self.smoothed_action(batch.next_observation)
        value = least(self.critic(self.params["target_critic"], batch.next_observation, action), 2)
        distance = (action - batch.extra).square().sum(-1, keepdim=True)
        return bootstrapped(batch, value - self.critic_bc_coef * distance, self.gamma)

    def actor_loss(self, params: Params, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        seeds = len(self.task.seeds)
        action = self.action(params, batch.observation)
        q = least(self.critic(self.params["critic"], batch.observation, action), 2)
        distance = per_seed((action - batch.action).square().sum(-1), seeds)
        loss = self.actor_bc_coef * distance - per_seed(q, seeds) / per_seed(q.detach().abs(), seeds)
        return loss, {"train/actor_loss": loss, "train/bc_loss": distance}


def rows_with_next_action(task: ControlTask) -> Tensor:
    """`training_rows` with the next action as further columns, without the rows that lack one."""
    data = task.dataset
    last = data.episode_ends - 1
    kept = np.ones(len(data), dtype=bool)
    kept[last] = data.terminated[last] > 0  # beyond a terminal state nothing counts, so any next action will do
    if not kept.any():
        raise UsageError(
            f"env={task.env.name}: ReBRAC learns from the action after each step, and all episodes have one step\n"
            "algo=td3_bc is its like without"
        )
    following = torch.as_tensor(np.roll(data.action, -1, axis=0), device=task.device)
    return training_rows(task, extra=following)[..., torch.from_numpy(np.flatnonzero(kept)), :]
