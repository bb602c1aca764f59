"""What MOPO and MOBILE share: a soft actor-critic on minibatches of dataset transitions and short model rollouts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rlbench.algos.actor_critic import SoftActorCritic
from rlbench.algos.offline.dynamics import Dynamics
from rlbench.data.sampling import Minibatches, training_rows
from rlbench.errors import UsageError
from rlbench.nets.ensemble import Model, draw
from rlbench.nets.optim import Params, clone, cosine
from rlbench.task import ControlTask

BLOCK = 4096  # starts rolled out at once: bounds the memory of the model's activations


class ModelBased(SoftActorCritic):
    """The soft actor-critic with a forward ensemble, alpha in [0, 1] and a cosine schedule of the actor's step size.

    Args:
        task: the problem.
        dynamics: the models.
        reward_penalty: what a unit of the model's uncertainty takes from a rollout's rewards; 0: none.
        batch_size, real_fraction: transitions in a minibatch, and the fraction of them that the dataset gives.
        rollout_length, rollout_every, rollout_starts, rollout_sets: see MOPO.
        options: the soft actor-critic's.
    """

    def __init__(
        self,
        task: ControlTask,
        *,
        dynamics: Dynamics,
        reward_penalty: float,
        batch_size: int,
        real_fraction: float,
        rollout_length: int,
        rollout_every: int,
        rollout_starts: int,
        rollout_sets: int,
        **options: Any,
    ) -> None:
        if task.env.termination is None:
            raise UsageError(
                f"env={task.env.name} does not say when its episodes end (env.termination), which rollouts in a "
                "learned model must know: choose an algorithm without a model, e.g. algo=iql"
            )
        super().__init__(task, num_critics=2, target_every=1, initial_alpha=1.0, alpha_max=1.0, **options)
        self.dims = task.networks.observation_dim, task.networks.action_dim
        self.rollout_every = rollout_every
        self.real = int(real_fraction * batch_size)
        self.imagined = batch_size - self.real
        self.model = dynamics.forward()
        rows = training_rows(task)
        self.parts["minibatches"] = self.minibatches = Minibatches(rows, self.real, task.streams("minibatches"))
        starts = self.minibatches.rows[:, : self.dims[0]]
        if rows.dim() == 3:
            starts = starts.unflatten(0, (len(task.seeds), -1))
        self.parts["rollouts"] = self.rollouts = Rollouts(
            self, starts, reward_penalty, rollout_length, rollout_starts, rollout_sets
        )

    def schedule(self) -> None:
        self.actor_optimizer.set_rate(cosine(self.actor_learning_rate, self.step - 1, self.task.steps))

    def next_batch(self) -> Tensor:
        return torch.cat([self.minibatches.next(), self.rollouts.sample(self.imagined)], dim=1)

    def train(self, n: int) -> dict[str, Tensor]:
        metrics: dict[str, Tensor] = {}
        for _ in range(n):
            if self.step % self.rollout_every == 0:
                self.rollouts.add()
            metrics = self.learn()
        return {**self.averaged(metrics), "train/model_reward": self.rollouts.mean_reward}


class Rollouts:
    """The newest sets of model rollouts, sampled as a replay buffer is.

    A set is a function of the actor that acted and of the random state before it. Those two are what is saved; the
    rows, hundreds of megabytes, are imagined again when the state is restored.

    Args:
        algorithm: whose policy acts in whose model.
        starts: the dataset's features, `[N, d]` or `[S, N, d]`.
        penalty: what a unit of uncertainty max_i |sigma_i(s, a)| takes from the reward.
        length, count: steps of a rollout, rollouts of a set.
        sets: kept, the newest.
    """

    def __init__(
        self, algorithm: ModelBased, starts: Tensor, penalty: float, length: int, count: int, sets: int
    ) -> None:
        self.algorithm, self.task = algorithm, algorithm.task
        self.model: Model = algorithm.model
        self.starts = starts
        self.penalty, self.length, self.count, self.sets = penalty, length, count, sets
        self.rng = self.task.streams("rollouts")
        self.choice = self.task.streams("model minibatches")
        seeds, (d, a) = len(self.task.seeds), algorithm.dims
        self.rows = torch.zeros(seeds, sets * count * length, 2 * d + a + 2, device=self.task.device)
        self.filled = torch.zeros(seeds, sets, dtype=torch.int64)
        """Rows of each set: fewer than `count * length` where rollouts terminated."""
        self.mean_reward = torch.zeros(seeds, device=self.task.device)
        """Of the newest set."""
        self.recipes: list[dict[str, Any]] = []
        self.added = 0

    def add(self) -> None:
        """Roll the current policy out."""
        recipe = {"actor": clone(self.algorithm.actor_params), "rng": self.rng.state_dict()}
        self._imagine(recipe["actor"])
        self.recipes = [*self.recipes, recipe][-self.sets :]

    @torch.no_grad()
    def _imagine(self, actor: Params) -> None:
        slot = self.added % self.sets
        first = slot * self.count * self.length
        self.filled[:, slot] = 0
        reward = torch.zeros_like(self.mean_reward)
        for done in range(0, self.count, BLOCK):
            rows, alive = self._block(actor, min(BLOCK, self.count - done))
            for k, (row, kept) in enumerate(zip(rows, alive, strict=True)):
                row = row[kept]
                start = first + int(self.filled[k, slot])
                self.rows[k, start : start + len(row)] = row
                self.filled[k, slot] += len(row)
                reward[k] += row[:, sum(self.algorithm.dims)].sum()
        self.mean_reward = reward / self.filled[:, slot].to(reward)
        self.added += 1
        ends = self.filled.cumsum(1)
        before = ends - self.filled
        self.totals = ends[:, -1].tolist()
        self.ends = ends.to(self.rows.device)
        seeds = torch.arange(len(self.filled))[:, None] * self.rows.shape[1]
        slots = torch.arange(self.sets) * self.count * self.length
        self.shift = (seeds + slots - before).to(self.rows.device)

    def _block(self, actor: Params, size: int) -> tuple[Tensor, Tensor]:
        """Rows `[S, length * size, D]` of one block of rollouts, and which of them come before a termination."""
        d, a = self.algorithm.dims
        raw = self.task.dataset.observation_dim
        index = self.rng.integers(self.starts.shape[-2], size)
        if self.starts.dim() == 2:
            features = self.starts[index]
        else:
            features = self.starts.gather(1, index[..., None].expand(-1, -1, d))
        alive = torch.ones(index.shape, dtype=torch.bool, device=index.device)
        rows, kept = [], []
        for _ in range(self.length):
            output = self.algorithm.actor(actor, features)
            action, _ = self.algorithm.policy.draw(output, self.rng.normal(size, a))
            following, reward = self._step(features[..., :raw], action).split([raw, 1], dim=-1)
            ended = self.task.env.terminated(following)
            next_features = self.task.features(following)
            rows.append(torch.cat([features, action, reward, next_features, ended[..., None].float()], -1))
            kept.append(alive)
            alive, features = alive & ~ended, next_features
        return torch.cat(rows, 1), torch.cat(kept, 1)

    def _step(self, state: Tensor, action: Tensor) -> Tensor:
        """The stochastic step, its reward penalised."""
        if self.penalty == 0:
            return self.model.sample(state, action, self.rng)
        mean, std = self.model.predict(state, action, elites=False)
        uncertainty = std.norm(dim=-1).amax(1)
        elites = [self.model.of_elites(x.flatten(0, 1)).unflatten(0, (len(x), -1)) for x in (mean, std)]
        outcome = draw(elites[0], elites[1], self.rng)
        outcome[..., -1] -= self.penalty * uncertainty
        return outcome

    def sample(self, batch_size: int) -> Tensor:
        """Uniform rows with replacement, `[S, batch_size, D]`."""
        index = self.choice.integers(self.totals, batch_size)
        slot = (index[..., None] >= self.ends[:, None]).sum(-1)
        flat = (index + self.shift.gather(1, slot)).flatten()
        width = self.rows.shape[-1]
        return self.rows.view(-1, width).index_select(0, flat).view(*index.shape, width)

    def state_dict(self) -> dict[str, Any]:
        return {
            "added": self.added,
            "recipes": list(self.recipes),
            "rng": self.rng.state_dict(),
            "choice": self.choice.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        device = self.task.device  # a checkpoint is loaded on the CPU
        self.recipes = [
            {**recipe, "actor": {name: value.to(device) for name, value in recipe["actor"].items()}}
            for recipe in state["recipes"]
        ]
        self.added = state["added"] - len(self.recipes)
        for recipe in self.recipes:
            self.rng.load_state_dict(recipe["rng"])
            self._imagine(recipe["actor"])
        self.rng.load_state_dict(state["rng"])
        self.choice.load_state_dict(state["choice"])
