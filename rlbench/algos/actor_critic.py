"""What the control algorithms share: how they act, are judged and saved; and the soft actor-critic at several cores."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rlbench.data.sampling import Batch, Minibatches
from rlbench.nets.mlp import stack
from rlbench.nets.optim import Adam, Params, assign, clone, gradients, polyak
from rlbench.nets.policy import TanhGaussian
from rlbench.task import ControlTask
from rlbench.types import Count, Fraction, Positive, Precision

if TYPE_CHECKING:
    from rlbench.data.frames import Ring, Sight
    from rlbench.nets.capture import CapturedUpdate


class Stateful(Protocol):
    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class ControlAlgorithm:
    """An algorithm whose product is a deterministic policy of an actor network.

    A subclass puts every parameter dict into `params` (the actor's under "actor"), and everything else that changes
    while training (optimisers, minibatches, streams) into `parts`; `step` counts the units of work done.

    Where observations are pictures, rows hold the numbers of their frames: `sight` makes pictures of these before an
    update. One network learns to encode them (`sighted`); the others are given what it makes of them (`encoded`).
    """

    seer: ClassVar[str] = "actor"
    """Whose parameters hold the encoder of pictures."""
    reward_shift = 0.0
    """Added to every reward that is learned from."""

    def __init__(self, task: ControlTask) -> None:
        self.task = task
        self.step = 0
        self.params: dict[str, Params] = {}
        self.parts: dict[str, Stateful] = {}
        self.captured: CapturedUpdate | None = None
        self.sight: Sight | None = None

    @property
    def actor_params(self) -> Params:
        """All that the actor needs to act, the encoder of pictures with it."""
        encoder, actor = self.task.networks.encoder, self.params["actor"]
        return actor if encoder is None else {**actor, **encoder.own(self.params[self.seer])}

    def look(self, frames: np.ndarray | None = None, ring: Ring | None = None) -> None:
        """Where observations are pictures, make them of these frames (see `Sight`)."""
        from rlbench.data.frames import Sight
        from rlbench.nets.pictures import PictureNetworks

        if isinstance(networks := self.task.networks, PictureNetworks):
            sight = Sight(self.task.streams("shift"), networks.frame_shape, frames, ring)
            self.parts["sight"] = self.sight = sight

    def sighted(self, params: Params, purpose: str = "encoder") -> Params:
        """First parameters of a network that learns to encode pictures; where there are none, as they are.

        Args:
            params: those of the network behind the encoder.
            purpose: separates the random streams of several encoders.
        """
        encoder = self.task.networks.encoder
        return params if encoder is None else {**encoder.init(self.task.streams(purpose)), **params}

    @torch.no_grad()
    def encoded(self, observation: Tensor) -> Tensor:
        """What the encoder makes of pictures `[S, B, ...]`; any other observation as it is."""
        encoder = self.task.networks.encoder
        return observation if encoder is None else encoder(self.params[self.seer], observation)

    def action(self, params: Params, features: Tensor) -> Tensor:
        """Deterministic actions `[S, B, a]` of the actor with these parameters."""
        raise NotImplementedError

    def train(self, n: int) -> dict[str, Tensor]:
        """Do n units of work; returns metrics `[S]` of the last."""
        raise NotImplementedError

    def averaged(self, metrics: dict[str, Tensor]) -> dict[str, Tensor]:
        """An update's metrics as `train` returns them, `[S]`."""
        return {name: per_seed(value, len(self.task.seeds)) for name, value in metrics.items()}

    def next_batch(self) -> Tensor:
        """The rows of the next minibatch, `[S, B, D]`, as `Batch.of_rows` takes them apart."""
        raise NotImplementedError

    def schedule(self) -> None:
        """Set what changes from one update to the next: step sizes."""

    def variant(self) -> Hashable:
        """Which of several courses the next update takes."""
        return None

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One update on one minibatch; depends on `step` only through `variant`.

        Returns:
            Metrics, `[S]`, or `[S * M, ...]` of which each seed's mean is meant: `averaged` takes it of the last only.
        """
        raise NotImplementedError

    def learn(self) -> dict[str, Tensor]:
        """The next update."""
        self.step += 1
        self.schedule()
        return self.learn_rows(self.next_batch())

    def learn_rows(self, rows: Tensor) -> dict[str, Tensor]:
        """An update on these rows."""
        return self.update_rows(rows) if self.captured is None else self.captured(rows)

    def update_rows(self, rows: Tensor) -> dict[str, Tensor]:
        batch = Batch.of_rows(rows, self.task.networks.observation_dim, self.task.networks.action_dim)
        if self.sight is not None:
            seen = [self.sight(numbers) for numbers in (batch.observation, batch.next_observation)]
            batch = batch._replace(observation=seen[0], next_observation=seen[1])
        if self.reward_shift:
            batch = batch._replace(reward=batch.reward + self.reward_shift)
        return self.update(batch)

    def capture(self, *, compiled: bool, after: int = 0, say: Callable[[str], None] = print) -> None:
        """From so many updates on, run them as recorded (see `rlbench.nets.capture`)."""
        from rlbench.nets.capture import CapturedUpdate

        state = [value for params in self.params.values() for value in params.values()]
        state += [value for part in self.parts.values() if isinstance(part, Adam) for value in part.state]
        self.captured = CapturedUpdate(self.update_rows, self.variant, state, compiled=compiled, after=after, say=say)

    def evaluate(self) -> dict[str, Any]:
        return self.task.evaluate(lambda features: self.action(self.actor_params, features))

    def state_dict(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "params": {name: clone(params) for name, params in self.params.items()},
            "parts": {name: part.state_dict() for name, part in self.parts.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        for name, params in self.params.items():
            assign(params, state["params"][name])
        for name, part in self.parts.items():
            part.load_state_dict(state["parts"][name])


class Source(Stateful, Protocol):
    def next(self) -> Tensor: ...


class Offline(ControlAlgorithm):
    """Training on a fixed dataset; the unit of work is one update on one minibatch."""

    minibatches: Source

    def learn_from(self, rows: Tensor, batch_size: int) -> None:
        """Draw minibatches from these rows (see `training_rows`)."""
        self.parts["minibatches"] = self.minibatches = Minibatches(rows, batch_size, self.task.streams("minibatches"))

    def next_batch(self) -> Tensor:
        return self.minibatches.next()

    def train(self, n: int) -> dict[str, Tensor]:
        metrics: dict[str, Tensor] = {}
        for _ in range(n):
            metrics = self.learn()
        return self.averaged(metrics)


def least(q: Tensor, members: int) -> Tensor:
    """The least of an ensemble's values: `[S * M, B, 1]` to `[S, B, 1]`."""
    return q.unflatten(0, (-1, members)).amin(1)


def bootstrapped(batch: Batch, value: Tensor, gamma: float) -> Tensor:
    """r + gamma (1 - d) V: what the value `[S, B, 1]` of the next states says of the batch's."""
    return batch.reward + gamma * (1 - batch.terminated) * value


def squared_errors(q: Tensor, target: Tensor) -> Tensor:
    """Sum over an ensemble's members of their mean squared errors: `[S * M, B, 1]` and `[S, B, 1]` to `[S]`."""
    errors = F.mse_loss(q, stack(target, len(q) // len(target)), reduction="none")
    return errors.reshape(len(target), -1).sum(1) / target.shape[1]


def per_seed(value: Tensor, seeds: int) -> Tensor:
    """Mean of each seed's entries, of a stack `[S * M, ...]` or `[S, ...]`: `[S]`."""
    return value.reshape(seeds, -1).mean(1)


class SoftActorCritic(ControlAlgorithm):
    """The soft actor-critic's networks and update (Haarnoja et al., 2018): what SAC, SAC-N, EDAC and MOPO share.

    Objective, with y = r + gamma (1 - d) [min_m Q'_m(s', a') - alpha log pi(a'|s')], a' ~ pi(.|s'):
    critics sum_m mean (Q_m(s, a) - y)^2; actor mean [alpha log pi(a|s) - min_m Q_m(s, a)], a ~ pi(.|s);
    temperature: mean -log alpha [log pi(a|s) + target entropy], target entropy -dim(a).

    Args:
        task: the problem.
        hidden_dims: widths of the hidden layers of actor and critics.
        num_critics: M, critics whose least value counts.
        gamma: discount.
        tau: rate at which the target critics follow.
        target_every: updates of the critics for each of their targets.
        actor_learning_rate: Adam's step size for the actor.
        critic_learning_rate: Adam's step size for the critics.
        alpha_learning_rate: Adam's step size for the log-temperature.
        initial_alpha: the temperature at first.
        alpha: a temperature that stays; None: it is learned.
        alpha_max: the learned temperature is clipped to [0, alpha_max]; None: not clipped.
        entropy_in_target: whether the critics' target holds the entropy term.
        log_std_min: least log standard deviation of the policy before the tanh.
        log_std_max: largest log standard deviation of the policy before the tanh.
        precision: of the networks in training (see `MLP`); the policy acts in fp32.

    The encoder of pictures learns with the critics; their targets and the actor are given what it makes of a picture.
    """

    seer = "critic"
    critic_options: ClassVar[dict[str, Any]] = {}
    """As `MLP`'s."""

    def __init__(
        self,
        task: ControlTask,
        *,
        hidden_dims: list[Count],
        num_critics: Count,
        gamma: Fraction,
        tau: Fraction,
        target_every: Count,
        actor_learning_rate: Positive,
        critic_learning_rate: Positive,
        alpha_learning_rate: Positive,
        initial_alpha: Positive,
        alpha: float | None = None,
        alpha_max: float | None = None,
        entropy_in_target: bool,
        log_std_min: float,
        log_std_max: float,
        precision: Precision = "fp32",
    ) -> None:
        super().__init__(task)
        self.gamma, self.tau = gamma, tau
        self.target_every = target_every
        self.updates = 0
        self.actor_learning_rate = actor_learning_rate
        self.num_critics = num_critics
        self.alpha_max = alpha_max
        self.entropy_in_target = entropy_in_target
        self.policy = TanhGaussian(log_std_min, log_std_max)
        self.actor, self.acting = (
            task.networks.state(hidden_dims, 2 * task.networks.action_dim, precision=each)
            for each in (precision, "fp32")
        )
        self.critic = task.networks.state_action(
            hidden_dims, 1, members=num_critics, precision=precision, **self.critic_options
        )
        start = task.streams("parameters")
        self.params["actor"] = self.actor.init(start)
        self.params["critic"] = self.sighted(self.critic.init(start))
        self.params["target"] = clone(self.params["critic"])
        first = torch.tensor(initial_alpha if alpha is None else alpha, device=task.device)
        self.params["alpha"] = {"log_alpha": first.log().repeat(len(task.seeds), 1, 1)}
        self.learn_alpha = alpha is None
        self.parts["actor_optimizer"] = self.actor_optimizer = Adam(self.params["actor"], actor_learning_rate)
        self.parts["critic_optimizer"] = self.critic_optimizer = Adam(self.params["critic"], critic_learning_rate)
        if self.learn_alpha:
            self.parts["alpha_optimizer"] = self.alpha_optimizer = Adam(self.params["alpha"], alpha_learning_rate)
        self.parts["noise"] = self.noise = task.streams("policy noise")
        self.target_entropy = -float(task.networks.action_dim)

    @property
    def alpha(self) -> Tensor:
        """Temperature, `[S, 1, 1]`."""
        alpha = self.params["alpha"]["log_alpha"].exp()
        return alpha.clamp(max=self.alpha_max) if self.learn_alpha and self.alpha_max is not None else alpha

    def action(self, params: Params, features: Tensor) -> Tensor:
        return self.policy.mode(self.acting(params, features))

    def sample(self, observation: Tensor, params: Params | None = None) -> tuple[Tensor, Tensor]:
        """Sampled actions and log-probabilities for `[S, B, d]`, with noise from the seeds' own streams."""
        output = self.actor(params or self.params["actor"], observation)
        return self.policy.sample(output, self.noise.normal(*observation.shape[1:-1], self.task.networks.action_dim))

    def target_value(self, q: Tensor) -> Tensor:
        """What the target critics' values of the next state count for: `[S * M, B, 1]` to `[S, B, 1]`."""
        return least(q, self.num_critics)

    def actor_value(self, q: Tensor) -> Tensor:
        """What the actor maximises of the critics' values: `[S * M, B, 1]` to `[S, B, 1]`."""
        return least(q, self.num_critics)

    @torch.no_grad()
    def target(self, batch: Batch) -> Tensor:
        """y, `[S, B, 1]`."""
        following = self.encoded(batch.next_observation)
        action, log_prob = self.sample(following)
        value = self.target_value(self.critic(self.params["target"], following, action))
        if self.entropy_in_target:
            value = value - self.alpha * log_prob
        return bootstrapped(batch, value, self.gamma)

    def critic_loss(self, params: Params, batch: Batch, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum over the members of their mean squared errors, `[S]`."""
        q = self.critic(params, batch.observation, batch.action)
        loss = squared_errors(q, target)
        return loss, {"train/critic_loss": loss, "train/q": q}

    def actor_loss(self, params: Params, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        seeds = len(self.task.seeds)
        observation = self.encoded(batch.observation)
        action, log_prob = self.sample(observation, params)
        q = self.actor_value(self.critic(self.params["critic"], observation, action))
        loss = per_seed(self.alpha * log_prob - q, seeds)
        return loss, {"train/actor_loss": loss, "train/entropy": -per_seed(log_prob, seeds)}

    def alpha_loss(self, params: Params, entropy: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        log_alpha = params["log_alpha"].flatten()
        return log_alpha * (entropy - self.target_entropy), {}

    def update_critic(self, batch: Batch) -> dict[str, Tensor]:
        """One step of the critics."""
        target = self.target(batch)
        grads, metrics = gradients(lambda p: self.critic_loss(p, batch, target), self.params["critic"])
        self.critic_optimizer.step(grads)
        return metrics

    def update_actor(self, batch: Batch) -> dict[str, Tensor]:
        """One step of the actor, and one of the temperature."""
        grads, metrics = gradients(lambda p: self.actor_loss(p, batch), self.params["actor"])
        self.actor_optimizer.step(grads)
        if self.learn_alpha:
            grads, _ = gradients(lambda p: self.alpha_loss(p, metrics["train/entropy"]), self.params["alpha"])
            self.alpha_optimizer.step(grads)
        return {**metrics, "train/alpha": self.alpha.flatten()}

    def learn_rows(self, rows: Tensor) -> dict[str, Tensor]:
        self.updates += 1
        return super().learn_rows(rows)

    def variant(self) -> Hashable:
        """Whether the target critics move too."""
        return self.updates % self.target_every == 0

    def follow(self) -> None:
        """Move the target critics towards the critics, if it is their turn."""
        if self.updates % self.target_every == 0:
            polyak(self.params["target"], self.params["critic"], self.tau)

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One step of critics, actor, temperature and targets."""
        metrics = {**self.update_critic(batch), **self.update_actor(batch)}
        self.follow()
        return metrics

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.updates = state["updates"]
