"""What the policy gradients share: sampling as much as the budget covers, being judged, and being saved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rlbench.algos.policy_gradient.policy import policy_for
from rlbench.algos.policy_gradient.rollouts import Rollouts, Sampler, joined
from rlbench.envs.exact import Exact
from rlbench.errors import RunError
from rlbench.nets.optim import Params
from rlbench.task import ControlTask
from rlbench.types import Count, Fraction, Positive


@dataclass(kw_only=True, eq=False)
class OnPolicy:
    """Iterations of sampling and improving; the unit of work is one environment step, of whichever batch.

    An iteration takes place as soon as the steps done cover all of its episodes, which are played ahead: no policy has
    seen more steps than the run counts, however long its episodes are. Each seed goes on at its own pace, and improves
    by itself: what is padded to the size of companions rounds otherwise, and who these are depends on how many steps
    `train` is asked for at a time. Only where batches are cut to one size do all seeds go on, and improve, together.

    A subclass says where the next iteration samples (`points`) and what it makes of it (`improve`), and names what it
    reports beside (`reported`), whether a batch ends with its last episode (`whole_episodes`), and the tensors that it
    changes (`state`).

    Args:
        task: the problem.
        hidden_dims: widths of the policy's hidden layers (tanh); []: linear in the observation, without constants.
        std: standard deviation of a continuous policy, in the beginning.
        learn_std: whether that is learned too.
        gamma: discount.
        batch_size: least environment steps of an iteration's batch, which holds whole episodes.
        horizon: steps after which an episode of training is cut; null: the environment's own limit.
    """

    task: ControlTask
    hidden_dims: list[Count]
    std: Positive
    learn_std: bool
    gamma: Fraction
    batch_size: Count
    horizon: Count | None

    # without annotations: these are no parameters
    reported = tuple[str, ...]()
    whole_episodes = True

    def __post_init__(self) -> None:
        task, seeds = self.task, len(self.task.seeds)
        self.policy = policy_for(task, self.hidden_dims, self.std, self.learn_std)
        self.theta = self.policy.theta
        """The policies, `[S, D]`."""
        self.sampler = Sampler(task, self.policy, self.horizon)
        self.step = 0
        self.iteration, self.episodes, self.spent = torch.zeros(3, seeds, dtype=torch.int64)
        """Of each seed: iterations done, episodes and steps that they took, `[S]`."""
        self.metrics = {f"train/{name}": torch.full((seeds,), torch.nan) for name in ("return", *self.reported)}
        self.ahead: list[list[Rollouts]] = [[] for _ in task.seeds]
        """The batches of each seed's next iteration; empty before they are played."""

    def points(self, places: list[int]) -> list[tuple[Tensor, int]]:
        """Where the next iteration of some seeds samples: policies `[R, D]`, and least steps of the batch.

        The iteration is the first one either of all of them or of none.
        """
        return [(self.theta[places], self.batch_size)]

    def improve(self, places: list[int], batches: list[Rollouts]) -> dict[str, Tensor]:
        """Change the policies of some seeds, given a batch for each of `points`; returns what is `reported`, `[R]`."""
        raise NotImplementedError

    def state(self) -> dict[str, Tensor]:
        """What iterations change beside the counters."""
        return {"theta": self.theta}

    def train(self, n: int) -> dict[str, Tensor]:
        self.step += n
        while due := [place for place in range(len(self.task.seeds)) if self.covered(place)]:
            for places in [[place] for place in due] if self.whole_episodes else [due]:
                self.iterate(places)
        counts = {"train/iterations": self.iteration, "train/episodes": self.episodes}
        return {name: value.clone() for name, value in {**self.metrics, **counts}.items()}

    def covered(self, place: int) -> bool:
        """Whether the steps done cover the next iteration of a seed."""
        if not self.ahead[place]:
            for places in self.alike([p for p, batches in enumerate(self.ahead) if not batches]):
                self.play_ahead(places)
        return int(self.spent[place]) + sum(int(batch.steps) for batch in self.ahead[place]) <= self.step

    def alike(self, places: list[int]) -> list[list[int]]:
        """Those whose next iteration is the first, and the others."""
        first = (self.iteration[places] == 0).tolist()
        groups = [[p for p, each in zip(places, first, strict=True) if each == wanted] for wanted in (True, False)]
        return [group for group in groups if group]

    def play_ahead(self, places: list[int]) -> None:
        """Play the episodes of the next iteration."""
        begin = self.episodes[places].tolist()
        for theta, size in self.points(places):
            batches = self.sampler.sample(places, theta, begin, size)
            if not self.whole_episodes:
                batches = [batch.cut(size) for batch in batches]
            begin = [number + int(batch.episodes) for number, batch in zip(begin, batches, strict=True)]
            for place, batch in zip(places, batches, strict=True):
                self.ahead[place].append(batch)

    def iterate(self, places: list[int]) -> None:
        """One iteration of some seeds."""
        batches = [joined([self.ahead[place][i] for place in places], 0) for i in range(len(self.ahead[places[0]]))]
        found = {"return": batches[0].returns, **self.improve(places, batches)}
        for name, value in found.items():
            self.metrics[f"train/{name}"][places] = value.detach().cpu()
        for batch in batches:
            self.spent[places] += batch.steps.long().cpu()
            self.episodes[places] += batch.episodes.long().cpu()
            returns, ends = batch.reward.sum(2).cpu().numpy(), batch.ends.cpu().numpy()
            for row, place in enumerate(places):
                played = batch.mask[row, :, 0].bool().cpu().numpy()
                self.task.record.add(place, returns[row, played], ends[row, played])
        self.iteration[places] += 1
        for place in places:
            self.ahead[place] = []
            if not torch.isfinite(self.theta[place]).all():
                raise RunError(
                    f"the policy of seed {self.task.seeds[place]} is no number any more after iteration "
                    f"{int(self.iteration[place])}: training diverged. A smaller step size is the usual cure"
                )

    @property
    def actor_params(self) -> Params:
        return self.policy.params(self.theta)

    def action(self, params: Params, features: Tensor) -> Tensor:
        """The likeliest actions, `[S, B, d]` to `[S, B, a]`."""
        return self.policy.mode(params, features)

    def evaluate(self) -> dict[str, Any]:
        """Returns of the likeliest actions; where the problem is solved, exactly what the stochastic policy gets."""
        metrics = self.task.evaluate(lambda features: self.action(self.actor_params, features))
        if not isinstance(self.task.env, Exact):
            return metrics
        params = self.policy.params(self.theta.double().cpu())

        def policy(observation: Tensor) -> Tensor:
            return self.policy.distribution(params, observation.expand(len(self.task.seeds), -1, -1))

        found = self.task.env.exact(policy, self.gamma)
        return metrics if found is None else {**metrics, "eval/exact_return": found[0], "eval/gap": found[1]}

    def saved(self) -> dict[str, Tensor]:
        """All that changes but the step."""
        counters = {"iteration": self.iteration, "episodes": self.episodes, "spent": self.spent}
        record = {f"record.{name}": value for name, value in self.task.record.tensors.items()}
        return {**self.state(), **counters, **self.metrics, **record}

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step, "tensors": {name: value.clone() for name, value in self.saved().items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step, tensors = state["step"], state["tensors"]
        for name, value in self.saved().items():
            value.copy_(tensors[name])
        self.ahead = [[] for _ in self.task.seeds]
