"""P-IQL: a reward is learned from comparisons, and IQL learns from that reward, side by side.

The baseline of Hejna et al., "Contrastive Preference Learning" (ICLR 2024): for the first `reward_steps` updates,
R(s, a) is fitted by the cross-entropy of P(s_2 > s_1) = logistic(sum_t R_2t - sum_t R_1t), then it is frozen; all the
while IQL, whose losses stand in `rlbench.algos.implicit_q`, takes R for the reward (the authors' policy weights have V
from before its step of the same update). The last step of a segment, whose next state nobody knows, serves the reward
alone. Of pictures, the policy's loss alone teaches the encoder, which value and critics share; the reward has its own.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlbench.algos.implicit_q import ImplicitQ
from rlbench.algos.preference.contrast import agreement, contrastive_loss
from rlbench.algos.preference.learner import FromComparisons, Pairs
from rlbench.data.sampling import Batch
from rlbench.errors import UsageError
from rlbench.nets.optim import Adam, Params, gradients
from rlbench.task import ControlTask
from rlbench.types import BelowOne, Count, Fraction, NonNegative, NonNegativeInt, Positive


class PIQL(ImplicitQ, FromComparisons):
    """Implicit Q-learning from a reward that comparisons tell.

    Args:
        task: the problem.
        hidden_dims: widths of the hidden layers of actor, value, critics and reward.
        dropout: probability with which a hidden unit of the actor is left out in training.
        learning_rate: Adam's step size; the actor's falls to 0 along a cosine over the run.
        batch_size: pairs in an update.
        reward_steps: first updates, in which the reward is learned.
        gamma: discount.
        tau: rate at which the target critics follow.
        expectile: tau of the value loss; 0.5 is the mean, towards 1 the maximum over the segments' actions.
        temperature: beta, the inverse temperature of the advantage weights; 0 is behaviour cloning.
        advantage_max: largest advantage weight.
    """

    def __init__(
        self,
        task: ControlTask,
        *,
        hidden_dims: list[Count],
        dropout: BelowOne,
        learning_rate: Positive,
        batch_size: Count,
        reward_steps: NonNegativeInt,
        gamma: Fraction,
        tau: Fraction,
        expectile: Fraction,
        temperature: NonNegative,
        advantage_max: Positive,
    ) -> None:
        super().__init__(task)
        self.need_pairs("piql")
        if task.segments.action.shape[1] < 2:
            raise UsageError("algo=piql needs segments of two steps or more: no next state is known in shorter ones")
        self.reward_steps = reward_steps
        self.make_policy(hidden_dims, dropout, learning_rate, batch_size)
        start = task.streams("critics")
        self.make_critics(
            hidden_dims, start, gamma=gamma, tau=tau, actor_learning_rate=learning_rate,
            critic_learning_rate=learning_rate, value_learning_rate=learning_rate, expectile=expectile,
            temperature=temperature, advantage_max=advantage_max, gain=1.0,
        )  # fmt: skip
        self.reward = task.networks.state_action(hidden_dims, 1, init="orthogonal", gain=1.0)
        self.params["reward"] = self.sighted(self.reward.init(start), "reward encoder")
        self.parts["reward_optimizer"] = self.reward_optimizer = Adam(self.params["reward"], learning_rate)

    def actor_error(self, params: Params, batch: Batch) -> Tensor:
        return -self.log_prob(params, batch.observation, batch.action)[..., None]

    def rewards(self, params: Params, pairs: Pairs) -> Tensor:
        """R of every step, `[S, N, T]`."""
        reward = self.reward(params, pairs.observation.flatten(1, 2), pairs.action.flatten(1, 2))
        return reward.view(pairs.action.shape[:-1])

    def reward_loss(self, params: Params, pairs: Pairs) -> tuple[Tensor, dict[str, Tensor]]:
        total = self.rewards(params, pairs).sum(-1)
        loss = contrastive_loss(total, pairs.label)
        return loss, {"train/reward_loss": loss, "train/agreement": agreement(total, pairs.label)}

    def variant(self) -> bool:
        return self.step <= self.reward_steps

    def update_pairs(self, pairs: Pairs) -> dict[str, Tensor]:
        metrics: dict[str, Tensor] = {}
        if self.variant():
            grads, metrics = gradients(lambda p: self.reward_loss(p, pairs), self.params["reward"])
            grads[-1] = torch.zeros_like(grads[-1])  # of the last bias, which no comparison tells: it is mere rounding
            self.reward_optimizer.step(grads)
        with torch.no_grad():
            reward = self.rewards(self.params["reward"], pairs)[..., None]
        batch, encoded = transitions(pairs.observation, pairs.action, reward), None
        if self.sight is not None:
            known = self.encoded(pairs.observation.flatten(1, 2)).unflatten(1, pairs.action.shape[1:3])
            encoded = transitions(known, pairs.action, reward)
        return {**metrics, **self.update(batch, encoded)}


def transitions(states: Tensor, action: Tensor, reward: Tensor) -> Batch:
    """The transitions of segments `[S, N, T, ...]`, all but the last step's, `[S, N (T - 1), ...]`."""
    columns = states[:, :, :-1], action[:, :, :-1], reward[:, :, :-1], states[:, :, 1:]
    state, acted, earned, following = (column.flatten(1, 2) for column in columns)
    return Batch(state, acted, earned, following, torch.zeros_like(earned))
