"""MOORL: offline data and online experience as two tasks, joined by a meta-update of the whole agent.

Chaudhary, Mondal and Behera, "MOORL: A Framework for Integrating Offline-Online Reinforcement Learning" (TMLR 2025). No
code was released and some constants are not published; what is ours is marked so here and in `conf/algo/moorl.yaml`.
With phi, theta the parameters of actor and critics, one meta-iteration is:

    collect transitions with pi(phi) into D_on
    D = D_off with probability p_off, else D_on            (D_off while D_on holds less than one minibatch)
    phi', theta' = phi, theta after K steps of SAC on minibatches of D alone
    phi += meta_step (phi' - phi), theta += meta_step (theta' - theta)

It is phi that acts and is evaluated, never phi'. The temperature is shared: it is no part of the meta-update (ours).
With meta_step 1, K 1 and p_off 0 this is SAC.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from rlbench.algos.hybrid.learning import Hybrid
from rlbench.algos.hybrid.reptile import Reptile
from rlbench.algos.online.sac import SAC
from rlbench.nets.optim import polyak
from rlbench.task import ControlTask
from rlbench.types import Count, Fraction


class MOORL(Hybrid, SAC):
    """Meta offline-online reinforcement learning on SAC; the unit of work is one environment step.

    Updates come in bursts, a meta-iteration whenever `env_steps_per_iteration` steps were taken.

    Args:
        task: the problem.
        batch_size: transitions in a minibatch.
        inner_steps: K, updates in a meta-iteration.
        meta_step: how much of the way the meta-parameters go, at first.
        meta_step_decay: none, or linear: to 0 at the end of the run.
        offline_probability: p_off, how often a meta-iteration learns from the dataset.
        env_steps_per_iteration: environment steps before each meta-iteration; null: K, one for each update.
        inner_resample: whether each of the K updates draws a minibatch of its own; or all use the same.
        inner_optimizer: Adam's moments of actor and critics: keep them from one meta-iteration to the next, or reset.
        target_follow: the target critics follow the adapted critics at each of the K updates (inner), or the
            meta-parameters once a meta-iteration, as far as in K updates (meta).
        hybrid: see `Hybrid` and `SAC`.
    """

    def __init__(
        self,
        task: ControlTask,
        *,
        batch_size: Count,
        inner_steps: Count,
        meta_step: Fraction,
        meta_step_decay: Literal["none", "linear"],
        offline_probability: Fraction,
        env_steps_per_iteration: Count | None,
        inner_resample: bool,
        inner_optimizer: Literal["keep", "reset"],
        target_follow: Literal["inner", "meta"],
        **hybrid: Any,
    ) -> None:
        super().__init__(task, batch_size=batch_size, offline_rows=batch_size, **hybrid)
        self.inner_steps = inner_steps
        self.meta_step = meta_step
        self.meta_step_decay = meta_step_decay
        self.offline_probability = offline_probability
        self.env_steps_per_iteration = env_steps_per_iteration or inner_steps
        self.inner_resample = inner_resample
        self.inner_optimizer = inner_optimizer
        self.target_follow = target_follow
        self.meta = Reptile([self.params["actor"], self.params["critic"]])
        self.parts["selection"] = self.selection = task.streams("selection")
        self.from_data = torch.ones(len(task.seeds), 1, 1, dtype=torch.bool, device=task.device)
        """Which seeds' meta-iteration learns from the dataset."""
        self.metrics: dict[str, Tensor] = {}
        """Of the last meta-iteration."""

    def learn(self) -> dict[str, Tensor]:
        """What is due after the next step in the environment: nothing, or a meta-iteration."""
        self.step += 1
        if (self.step - self.start_steps) % self.env_steps_per_iteration == 0:
            self.metrics = self.iterate()
        return self.metrics

    def iterate(self) -> dict[str, Tensor]:
        """One meta-iteration."""
        few = len(self.buffer) < self.batch_size
        self.from_data = (self.selection.uniform(1, 1) < self.offline_probability) | few
        rest = 1 - self.step / self.task.steps if self.meta_step_decay == "linear" else 1.0
        if self.inner_optimizer == "reset":
            self.actor_optimizer.reset()
            self.critic_optimizer.reset()
        with self.meta.adaptation(self.meta_step * max(rest, 0.0)):
            for update in range(self.inner_steps):
                if update == 0 or self.inner_resample:
                    rows = self.next_batch()
                metrics = self.learn_rows(rows)
        if self.target_follow == "meta":
            times = self.inner_steps / self.target_every
            polyak(self.params["target"], self.params["critic"], 1 - (1 - self.tau) ** times)
        return {**metrics, "train/from_data": self.from_data.flatten().float()}

    def next_batch(self) -> Tensor:
        """The next minibatch of either source, of which each seed takes the one that its meta-iteration is about."""
        return torch.where(self.from_data, self.offline.next(), super().next_batch())

    def follow(self) -> None:
        if self.target_follow == "inner":
            super().follow()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "metrics": dict(self.metrics)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.metrics = dict(state["metrics"])
