"""What algorithms that interact share: acting in the environments, remembering, and one update a step."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlbench.algos.actor_critic import ControlAlgorithm, SoftActorCritic
from rlbench.algos.twin_delayed import TwinDelayed
from rlbench.data.frames import Ring
from rlbench.data.sampling import ReplayBuffer
from rlbench.envs.training import TrainingEnvs
from rlbench.errors import UsageError
from rlbench.nets.pictures import PictureNetworks
from rlbench.task import ControlTask
from rlbench.types import Count, NonNegativeInt


class Online(ControlAlgorithm):
    """One environment a seed; the unit of work is one step in each, and one update after `start_steps` steps."""

    def learn_by_acting(self, *, batch_size: int, buffer_size: int, start_steps: int, reward_shift: float) -> None:
        """Make environments, replay buffer and random streams.

        Args:
            batch_size: transitions in a minibatch.
            buffer_size: transitions kept, the newest.
            start_steps: first steps, with uniformly random actions and no update.
            reward_shift: added to every reward that is learned from.

        Raises:
            UsageError: there is no step that is not random, or actions of the environment are bounded otherwise than
                by -1 and 1.
        """
        task = self.task
        if start_steps >= task.steps:
            raise UsageError(
                f"algo.start_steps={start_steps}: all {task.steps} steps would be random, and nothing learned\n"
                "lower it, or raise steps="
            )
        self.batch_size = batch_size
        self.start_steps = start_steps
        self.reward_shift = reward_shift
        self.dims = task.networks.observation_dim, task.networks.action_dim
        width, capacity = 2 * self.dims[0] + self.dims[1] + 2, min(buffer_size, task.steps)
        self.parts["buffer"] = self.buffer = self.make_buffer(capacity, width)
        self.parts["envs"] = self.envs = TrainingEnvs(task.env, task.seeds, task.record)
        low, high = self.envs.bounds
        if (np.isfinite(low) & (low != -1) | np.isfinite(high) & (high != 1)).any():
            raise UsageError(
                f"env={task.env.name}: its actions lie in [{low.min():g}, {high.max():g}], but this algorithm's "
                "policies act in [-1, 1]\n"
                "take an environment that scales its actions (gymnasium.wrappers.RescaleAction), or algo=ppo"
            )
        if isinstance(networks := task.networks, PictureNetworks):
            frames = Ring(len(task.seeds), capacity, networks.frame_shape, self.dims[0], task.device)
            self.parts["frames"] = self.frames = frames
            self.look(self.data_frames(), frames)
            for seed, picture in enumerate(self.envs.observation):
                frames.begin(seed, picture)
        self.parts["exploration"] = self.exploration = task.streams("exploration")
        self.parts["minibatches"] = self.minibatches = task.streams("minibatches")

    frames: Ring | None = None
    """What was seen, where observations are pictures."""

    def data_frames(self) -> np.ndarray | None:
        """Frames of a data set that is learned from as well."""
        return None

    def make_buffer(self, capacity: int, width: int) -> ReplayBuffer:
        """An empty replay buffer for transitions of this width."""
        return ReplayBuffer(len(self.task.seeds), capacity, width, self.task.device)

    def remember(self, rows: Tensor, ended: np.ndarray) -> None:
        """Store a transition of each seed, `[S, 1, width]`; `ended` `[S]`: whose episode is over with it."""
        self.buffer.add(rows)

    def random_actions(self) -> Tensor:
        """Uniformly random actions, `[S, 1, a]`, from `exploration`."""
        return 2 * self.exploration.uniform(1, self.dims[1]) - 1

    def explore(self, features: Tensor) -> Tensor:
        """Actions to try, `[S, 1, d]` to `[S, 1, a]`, with noise from `exploration`."""
        raise NotImplementedError

    def next_batch(self) -> Tensor:
        return self.buffer.sample(self.batch_size, self.minibatches)

    def train(self, n: int) -> dict[str, Tensor]:
        metrics: dict[str, Tensor] = {}
        for _ in range(n):
            self.collect()
            if self.step >= self.start_steps:
                metrics = self.learn()
            else:
                self.step += 1
        lived = {"train/return": self.envs.last_returns}
        if not np.isnan(self.envs.successes).all():
            lived["train/successes"] = self.envs.successes
        return self.averaged(metrics) | {name: torch.from_numpy(values.copy()) for name, values in lived.items()}

    @torch.no_grad()
    def collect(self) -> None:
        """One step in each seed's environment, stored."""
        features = self.features_of(self.envs.observation)
        action = self.random_actions() if self.step < self.start_steps else self.explore(features)
        step = self.envs.step(action[:, 0].cpu().numpy())
        reward, terminated = (
            torch.from_numpy(column.astype(np.float32)).to(self.task.device)[:, None, None]
            for column in (step.reward, step.terminated)
        )
        ended = step.terminated | step.truncated
        if self.frames is None:
            seen, following = features, self.features_of(step.next_observation)
        else:
            seen, following = self.frames.follow(step.next_observation)
            for seed in np.flatnonzero(ended):
                self.frames.begin(seed, self.envs.observation[seed])
        rows = torch.cat([seen, action, reward, following, terminated], dim=-1)
        self.remember(rows, ended)

    def features_of(self, observation: np.ndarray) -> Tensor:
        """`[S, d]` to `[S, 1, dim]`."""
        return self.task.features(torch.from_numpy(observation).to(self.task.device)[:, None])


class SoftOnline(SoftActorCritic, Online):
    """The soft actor-critic with a learned temperature, online: SAC, and what builds on it.

    Args:
        task: the problem.
        batch_size: transitions in a minibatch.
        buffer_size: transitions of its own kept for replay, the newest.
        start_steps: first steps, with uniformly random actions and no update.
        reward_shift: added to every reward that is learned from.
        soft: see `SoftActorCritic`.
    """

    def __init__(
        self,
        task: ControlTask,
        *,
        batch_size: Count,
        buffer_size: Count,
        start_steps: NonNegativeInt,
        reward_shift: float,
        **soft: Any,
    ) -> None:
        super().__init__(task, alpha=None, alpha_max=None, precision="fp32", **soft)
        self.learn_by_acting(
            batch_size=batch_size, buffer_size=buffer_size, start_steps=start_steps, reward_shift=reward_shift
        )

    def explore(self, features: Tensor) -> Tensor:
        output = self.actor(self.actor_params, features)
        return self.policy.draw(output, self.exploration.normal(1, self.dims[1]))[0]


class TwinDelayedOnline(TwinDelayed, Online):
    """The twin-delayed deterministic policy gradient, explored with Gaussian noise: TD3, and what builds on it.

    Args:
        task: the problem.
        exploration_noise: standard deviation of the noise on the actions taken.
        batch_size, buffer_size, start_steps, reward_shift: see `Online.learn_by_acting`.
        twin: see `TwinDelayed`.
    """

    def __init__(
        self,
        task: ControlTask,
        *,
        exploration_noise: float,
        batch_size: int,
        buffer_size: int,
        start_steps: int,
        reward_shift: float,
        **twin: Any,
    ) -> None:
        super().__init__(task, **twin)
        self.exploration_noise = exploration_noise
        self.learn_by_acting(
            batch_size=batch_size, buffer_size=buffer_size, start_steps=start_steps, reward_shift=reward_shift
        )

    def explore(self, features: Tensor) -> Tensor:
        noise = self.exploration_noise * self.exploration.normal(1, self.dims[1])
        return (self.action(self.params["actor"], features) + noise).clamp(-1.0, 1.0)
