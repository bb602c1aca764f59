"""RLPD: online learning with offline data, made stable by layer norm and fast by many updates of many critics.

Ball, Smith, Kostrikov and Levine, "Efficient Online Reinforcement Learning with Offline Data" (ICML 2023). After each
environment step G minibatches are drawn, half data, half replay; on each, M critics with LayerNorm step towards

    y = r + gamma (1 - d) [min_{m in Z} Q'_m(s', a') (- alpha log pi(a'|s'))],   a' ~ pi(.|s'),

Z a random subset of them, drawn anew, and their targets follow; on the last, the actor steps along
mean_m Q_m(s, a) - alpha log pi(a|s), and the temperature towards an entropy of -dim(a) / 2 (the paper's code).
"""

from __future__ import annotations

from torch import Tensor

from rlbench.algos.hybrid.learning import Mixed
from rlbench.algos.interaction import SoftOnline
from rlbench.data.sampling import Batch
from rlbench.errors import UsageError
from rlbench.task import ControlTask
from rlbench.types import Count, Fraction, NonNegativeInt, Positive


class RLPD(Mixed, SoftOnline):
    """Reinforcement learning with prior data; the unit of work is one environment step (and its updates).

    Args:
        task: the problem.
        hidden_dims: widths of the hidden layers of actor and critics.
        num_critics: M.
        target_critics: size of Z, at most M.
        updates_per_step: G, updates of the critics for each step in the environment, and for each of the actor.
        entropy_in_target: whether the target holds the entropy term.
        gamma: discount.
        tau: rate at which the target critics follow.
        batch_size: transitions in a minibatch.
        offline_fraction: share of a minibatch that comes from the dataset.
        actor_learning_rate: Adam's step size for the actor.
        critic_learning_rate: Adam's step size for the critics.
        alpha_learning_rate: Adam's step size for the log-temperature.
        buffer_size: transitions of its own kept for replay, the newest.
        start_steps: first steps, with uniformly random actions and no update.
        reward_shift: added to every reward, of either source.
        log_std_min: least log standard deviation of the policy before the tanh.
        log_std_max: largest log standard deviation of the policy before the tanh.
    """

    def __init__(
        self,
        task: ControlTask,
        *,
        hidden_dims: list[int],
        num_critics: Count,
        target_critics: Count,
        updates_per_step: Count,
        entropy_in_target: bool,
        gamma: Fraction,
        tau: Fraction,
        batch_size: Count,
        offline_fraction: Fraction,
        actor_learning_rate: Positive,
        critic_learning_rate: Positive,
        alpha_learning_rate: Positive,
        buffer_size: Count,
        start_steps: NonNegativeInt,
        reward_shift: float,
        log_std_min: float,
        log_std_max: float,
    ) -> None:
        if target_critics > num_critics:
            raise UsageError(f"algo.target_critics={target_critics} of algo.num_critics={num_critics}: too many")
        super().__init__(
            task,
            hidden_dims=hidden_dims,
            num_critics=num_critics,
            entropy_in_target=entropy_in_target,
            gamma=gamma,
            tau=tau,
            batch_size=batch_size,
            offline_fraction=offline_fraction,
            actor_learning_rate=actor_learning_rate,
            critic_learning_rate=critic_learning_rate,
            alpha_learning_rate=alpha_learning_rate,
            buffer_size=buffer_size,
            start_steps=start_steps,
            reward_shift=reward_shift,
            log_std_min=log_std_min,
            log_std_max=log_std_max,
            critic_options={"layernorm": "before"},
        )
        self.target_critics = target_critics
        self.updates_per_step = updates_per_step
        self.target_entropy /= 2
        self.last = False
        """Whether an update is the last of its step."""
        self.parts["subset"] = self.subset = task.streams("subset of critics")

    def target_value(self, q: Tensor) -> Tensor:
        chosen = self.subset.uniform(self.num_critics).argsort(1)[:, : self.target_critics]
        members = q.unflatten(0, (-1, self.num_critics))
        index = chosen[:, :, None, None].expand(-1, -1, *members.shape[2:])
        return members.gather(1, index).amin(1)

    def actor_value(self, q: Tensor) -> Tensor:
        return q.unflatten(0, (-1, self.num_critics)).mean(1)

    def learn(self) -> dict[str, Tensor]:
        """The updates of the next step in the environment."""
        self.step += 1
        metrics: dict[str, Tensor] = {}
        for update in range(self.updates_per_step):
            self.last = update == self.updates_per_step - 1
            metrics = self.learn_rows(self.next_batch())
        return metrics

    def variant(self) -> bool:
        """Whether actor and temperature move too."""
        return self.last

    def update_actor(self, batch: Batch) -> dict[str, Tensor]:
        return super().update_actor(batch) if self.last else {}
