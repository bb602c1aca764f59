"""What an algorithm is given of its problem: the task, apart from its hyperparameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from rlbench.envs.record import Record
from rlbench.nets.mlp import Networks
from rlbench.rng import SeedStreams

if TYPE_CHECKING:
    from rlbench.artefacts import Artefacts
    from rlbench.data.segments import Segments
    from rlbench.data.transitions import Transitions
    from rlbench.envs.aimed import Aimed
    from rlbench.envs.control import Control
    from rlbench.envs.policy_search import PolicySearch
    from rlbench.envs.solved import Solved


class Features:
    """How a raw observation becomes what the networks are fed; here: unchanged.

    A subclass (COCOA's anchors) keeps the raw observation as the first columns of its output, `dim` columns in all.
    Its parameters, `[S, ...]` or `[S * M, ...]` stacks, are frozen.
    """

    is_identity = True

    def __init__(self, observation_dim: int) -> None:
        self.dim = observation_dim

    @property
    def shared(self) -> bool:
        """Whether every seed has the same features: a dataset's are then computed and kept once."""
        return self.is_identity

    def __call__(self, observation: Tensor) -> Tensor:
        """`[S, B, observation_dim]` to `[S, B, dim]`."""
        return observation

    def of_seed(self, index: int) -> Features:
        """The same for the seed in place `index` alone (S = 1): what an exported policy carries."""
        return self


class Pixels(Features):
    """Pictures, whose data hold the numbers of their frames, as what networks of pictures know as such: uint8."""

    def __call__(self, observation: Tensor) -> Tensor:
        """Rows of numbers from 0 to 255."""
        return observation.clamp(0, 255).to(torch.uint8)


@dataclass(frozen=True)
class Task:
    """The problem, the seeds and the place of computation.

    Attributes:
        seeds: the S seeds trained together.
        steps: the run's length in the algorithm's units, for schedules.
        device: where parameters and data lie.
        env: the problem.
        data: the offline dataset, None for algorithms that need none.
        eval_episodes: episodes (samples, where there are no episodes) a seed in one evaluation.
        artefacts: trains and caches what several runs can share (models, anchor seekers).
        episodes: what the last evaluation measured, `[S, eval_episodes]` a metric; empty where it tells none apart.
    """

    seeds: tuple[int, ...]
    steps: int
    device: torch.device
    env: Any
    data: Any
    eval_episodes: int
    artefacts: Artefacts
    episodes: dict[str, np.ndarray] = field(default_factory=dict, kw_only=True)

    def streams(self, purpose: str) -> SeedStreams:
        """Random streams of the task's seeds on its device."""
        return SeedStreams(self.seeds, purpose, self.device)

    def tensor(self, column: np.ndarray) -> Tensor:
        """A float32 copy on the task's device: datasets are read-only memory-maps."""
        return torch.from_numpy(np.array(column, dtype=np.float32)).to(self.device)


@dataclass(frozen=True)
class ControlTask(Task):
    """A control problem: states, continuous actions, rewards.

    Attributes:
        env: the environment.
        data: transitions, or segments of such.
        networks: builds the networks over states (and actions).
        features: what the networks are fed for a raw observation.
        actions: vectors in [-1, 1], any vectors, or choices (one-hot, or their probabilities).
        record: what is remembered of the episodes of training.
    """

    env: Control
    data: Transitions | Segments | None
    networks: Networks
    features: Features
    actions: Literal["bounded", "unbounded", "choices"] = field(default="bounded", kw_only=True)
    record: Record = field(default_factory=Record, kw_only=True)

    @property
    def dataset(self) -> Transitions:
        """The offline dataset of an algorithm that needs one."""
        from rlbench.data.transitions import Transitions

        if not isinstance(self.data, Transitions):
            raise ValueError("this task has no transitions")
        return self.data

    @property
    def segments(self) -> Segments:
        """The segments of an algorithm that learns from comparisons."""
        from rlbench.data.segments import Segments

        if not isinstance(self.data, Segments):
            raise ValueError("this task has no segments")
        return self.data

    def with_features(self, features: Features, networks: Networks) -> ControlTask:
        """The same task seen through other features: what a wrapper hands its base algorithm."""
        return replace(self, features=features, networks=networks)

    def evaluate(self, policy: Callable[[Tensor], Tensor]) -> dict[str, Any]:
        """Mean returns, lengths and normalised scores `[S]` of a policy that maps features to actions."""
        from rlbench.envs.evaluate import evaluate

        def act(observation: Tensor) -> Tensor:
            return policy(self.features(observation))

        self.episodes.clear()
        self.episodes.update(evaluate(self.env, act, self.seeds, self.eval_episodes, self.device))
        return {name: values.mean(1) for name, values in self.episodes.items()}


@dataclass(frozen=True)
class SolvedTask(ControlTask):
    """A control problem whose optimum is known.

    Attributes:
        env: it judges policies itself.
    """

    env: Solved  # type: ignore[assignment]

    @torch.no_grad()
    def evaluate(self, policy: Callable[[Tensor], Tensor]) -> dict[str, Any]:
        return self.env.judge(policy, self)


@dataclass(frozen=True)
class SearchTask(ControlTask):
    """A problem with reward areas, whether it is searched by episodes or learned step by step.

    Attributes:
        env: the problem.
    """

    env: PolicySearch  # type: ignore[assignment]

    def evaluate(self, policy: Callable[[Tensor], Tensor]) -> dict[str, Any]:
        """What was found in all episodes of training, and as `eval/policy_reward` what the policy itself earns.

        An episode is deterministic, so that one says all.
        """
        from rlbench.envs.evaluate import rollout

        returns = rollout(self.env, lambda seen: policy(self.features(seen)), self.seeds, 1, self.device)[0]
        self.episodes.update({"eval/policy_reward": returns})
        return {**self.record.metrics(), "eval/policy_reward": returns[:, 0]}


@dataclass(frozen=True)
class AimedTask(SearchTask):
    """A problem with reward areas, of which a policy is told one to go to.

    Attributes:
        env: the problem, told of.
    """

    env: Aimed  # type: ignore[assignment]

    def evaluate(self, policy: Callable[[Tensor], Tensor]) -> dict[str, Any]:
        """What was found in all episodes of training, and of the policy itself, told to go to each area in turn: what
        it earns, `eval/policy_reward` in the mean, and whether it ends there, `eval/success_AREA` and `eval/success`.
        """
        from rlbench.envs.evaluate import rollout

        def act(seen: Tensor) -> Tensor:
            return policy(self.features(seen))

        played = [rollout(env, act, self.seeds, 1, self.device) for env in self.env.each_area()]
        rewards, _, successes = (np.concatenate(each, 1) for each in zip(*played, strict=True))
        self.episodes.update({"eval/policy_reward": rewards, "eval/success": successes})
        told = {f"eval/success_{area}": success for area, success in enumerate(successes.T)}
        means = {name: values.mean(1) for name, values in self.episodes.items()}
        return {**self.record.metrics(), **means, **told}
