"""IQL: implicit Q-learning, which never queries the critics at actions outside the dataset.

Kostrikov et al., "Offline Reinforcement Learning with Implicit Q-Learning" (ICLR 2022). The losses stand in
`rlbench.algos.implicit_q`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from rlbench.algos.actor_critic import Offline
from rlbench.algos.implicit_q import ImplicitQ
from rlbench.data.sampling import Batch, training_rows
from rlbench.data.transitions import Transitions
from rlbench.errors import UsageError
from rlbench.nets.optim import Adam, Params
from rlbench.nets.policy import gaussian_log_prob
from rlbench.task import ControlTask
from rlbench.types import Count, Fraction, NonNegative, Positive


class IQL(ImplicitQ, Offline):
    """Implicit Q-learning with two critics.

    Args:
        task: the problem.
        hidden_dims: widths of the hidden layers of actor, value and critics.
        gamma: discount.
        tau: rate at which the target critics follow.
        batch_size: transitions in a minibatch.
        actor_learning_rate: Adam's first step size for the actor; it falls to 0 along a cosine over the run.
        critic_learning_rate: Adam's step size for the critics.
        value_learning_rate: Adam's step size for the value network.
        expectile: tau of the value loss; 0.5 is the mean, towards 1 the maximum over the dataset's actions.
        temperature: beta, the inverse temperature of the advantage weights; 0 is behaviour cloning.
        advantage_max: largest advantage weight.
        policy: gaussian (mean tanh of the network, one free log-std a dimension, fitted by likelihood) or deterministic
            (fitted by squared error).
        log_std_min: least log standard deviation of the Gaussian.
        log_std_max: largest log standard deviation of the Gaussian.
        normalize_rewards: whether rewards are multiplied by 1000 / (highest - lowest episode return of the dataset).
        reward_shift: added to every reward, after that.
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
        value_learning_rate: Positive,
        expectile: Fraction,
        temperature: NonNegative,
        advantage_max: Positive,
        policy: Literal["gaussian", "deterministic"],
        log_std_min: float,
        log_std_max: float,
        normalize_rewards: bool,
        reward_shift: float,
    ) -> None:
        super().__init__(task)
        self.log_std_bounds = log_std_min, log_std_max
        self.gaussian = policy == "gaussian"
        self.actor = task.networks.state(hidden_dims, task.networks.action_dim, init="orthogonal")
        start = task.streams("parameters")
        self.params["actor"] = self.actor.init(start)
        if self.gaussian:
            shape = len(task.seeds), 1, task.networks.action_dim
            self.params["actor"]["log_std"] = torch.zeros(shape, device=task.device)
        self.parts["actor_optimizer"] = self.actor_optimizer = Adam(self.params["actor"], actor_learning_rate)
        self.make_critics(
            hidden_dims, start, gamma=gamma, tau=tau, actor_learning_rate=actor_learning_rate,
            critic_learning_rate=critic_learning_rate, value_learning_rate=value_learning_rate, expectile=expectile,
            temperature=temperature, advantage_max=advantage_max,
        )  # fmt: skip
        data = task.dataset
        reward = normalized_rewards(data).to(task.device) if normalize_rewards else task.tensor(data.reward)
        self.learn_from(training_rows(task, reward=reward + reward_shift), batch_size)

    def action(self, params: Params, features: Tensor) -> Tensor:
        return torch.tanh(self.actor(params, features))

    def actor_error(self, params: Params, batch: Batch) -> Tensor:
        mean = self.action(params, batch.observation)
        if self.gaussian:
            return -gaussian_log_prob(batch.action, mean, params["log_std"].clamp(*self.log_std_bounds))
        return (batch.action - mean).square().sum(-1, keepdim=True)


def normalized_rewards(data: Transitions) -> Tensor:
    """Rewards times 1000 / (highest - lowest episode return), `[N]`."""
    returns = data.episode_returns()
    spread = float(returns.max() - returns.min())
    if spread <= 0:
        raise UsageError(
            "algo.normalize_rewards needs a dataset with episodes of different returns, and this one has "
            f"{len(returns)} with the return {returns[0]:g}: set algo.normalize_rewards=false"
        )
    return torch.from_numpy(np.array(data.reward)) * (1000.0 / spread)
