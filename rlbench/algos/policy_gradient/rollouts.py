"""Whole episodes, sampled with stochastic policies: the only data that the policy gradients see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from rlbench.algos.policy_gradient.policy import Policy
from rlbench.envs.training import episode_seed
from rlbench.errors import UsageError
from rlbench.rng import SeedStreams
from rlbench.task import ControlTask


@dataclass(frozen=True)
class Rollouts:
    """E episodes of at most T steps for each of S seeds; shorter and fewer ones are filled up with zeros.

    Attributes:
        observation: `[S, E, T, d]`.
        action: as it was sampled, `[S, E, T, a]`.
        reward: `[S, E, T]`.
        mask: 1 where a step was taken, else 0, `[S, E, T]`.
        final: the observation after the last step, `[S, E, d]`.
        terminated: 1 where the problem ended the episode, 0 where the clock did, `[S, E]`.
        ends: what came of the episode (see `rlbench.envs.simulators.END`), NaN where that is not known, `[S, E, END]`.
        whole: 1 where the episode was played to its end, `[S, E]`.
    """

    observation: Tensor
    action: Tensor
    reward: Tensor
    mask: Tensor
    final: Tensor
    terminated: Tensor
    ends: Tensor
    whole: Tensor

    @property
    def steps(self) -> Tensor:
        """Of each seed, `[S]`."""
        return self.mask.sum((1, 2))

    @property
    def episodes(self) -> Tensor:
        """Of each seed, `[S]`."""
        return self.mask[..., 0].sum(1)

    @property
    def returns(self) -> Tensor:
        """Mean undiscounted return of each seed's whole episodes, `[S]`; NaN where there are none."""
        return (self.reward.sum(2) * self.whole).sum(1) / self.whole.sum(1)

    def cut(self, size: int) -> Rollouts:
        """The same without what comes after the first `size` steps of a single seed, the last episode's end."""
        steps = self.mask[0].sum(1)
        left = (size - (steps.cumsum(0) - steps)).clamp(min=0)  # of the budget, when an episode begins
        kept = self.mask * (torch.arange(self.mask.shape[2], device=left.device) < left[:, None])
        cut = left < steps
        following = self.observation[0, cut, left[cut].long()]
        final, terminated, ends, whole = (each.clone() for each in (self.final, self.terminated, self.ends, self.whole))
        final[0, cut], terminated[0, cut], ends[0, cut], whole[0, cut] = following, 0.0, torch.nan, 0.0
        observation, action = (each * kept[..., None] for each in (self.observation, self.action))
        return Rollouts(observation, action, self.reward * kept, kept, final, terminated, ends, whole)


def joined(batches: Sequence[Rollouts], dim: int) -> Rollouts:
    """Batches one behind the other along dimension 0 (seeds) or 1 (episodes), each filled up to the largest."""

    def padded(value: Tensor, name: str) -> Tensor:
        axes = (1, 2) if name in ("observation", "action", "reward", "mask") else (1,)
        widths = [0] * (2 * value.ndim)
        for axis in axes:
            if axis != dim:
                most = max(batch.mask.shape[axis] for batch in batches)
                widths[2 * (value.ndim - 1 - axis) + 1] = most - value.shape[axis]
        return torch.nn.functional.pad(value, widths)

    return Rollouts(
        *(torch.cat([padded(getattr(batch, f.name), f.name) for batch in batches], dim) for f in fields(Rollouts))
    )


class Sampler:
    """Plays whole episodes, those of several seeds at once.

    What happens in an episode depends on nothing but the policy, the seed, its number and those played with it, never
    on other seeds: nothing has to be kept to play it again. Policies act on arrays that have room for all seeds and for
    as many episodes as a batch may need, whoever is played: in arrays of other sizes, actions would round otherwise.

    Args:
        task: the problem.
        policy: what acts.
        horizon: steps after which an episode is cut; None: where the environment cuts it.
    """

    def __init__(self, task: ControlTask, policy: Policy, horizon: int | None) -> None:
        self.task, self.policy = task, policy
        limit = task.env.time_limit()
        longest = min((each for each in (limit, horizon) if each is not None), default=None)
        if longest is None:
            raise UsageError(f"env={task.env.name} has no time limit\nalgo.horizon=STEPS cuts the episodes of training")
        self.horizon: int = longest
        self.simulators = task.env.simulators()

    def sample(self, places: Sequence[int], theta: Tensor, first: Sequence[int], size: int) -> list[Rollouts]:
        """For each of some seeds, episodes until they have at least `size` steps.

        Those that will be needed in any case, however long they last, are played together.

        Args:
            places: of the seeds in the task, R of them.
            theta: their policies, `[R, D]`.
            first: the numbers of their first episodes.
            size: steps for each.
        """
        most = -(-size // self.horizon)
        parts: list[list[Rollouts]] = [[] for _ in places]
        steps, episodes = [0 for _ in places], list(first)
        while any(have < size for have in steps):
            counts = [max(-(-(size - have) // self.horizon), 0) for have in steps]
            short = [r for r, count in enumerate(counts) if count]
            numbers = [range(episodes[r], episodes[r] + counts[r]) for r in short]
            played = self.play([places[r] for r in short], theta[short], numbers, most)
            for r, batch in zip(short, played, strict=True):
                parts[r].append(batch)
                steps[r] += int(batch.mask.sum())
                episodes[r] += counts[r]
        return [joined(each, 1) for each in parts]

    @torch.no_grad()
    def play(self, places: Sequence[int], theta: Tensor, numbers: Sequence[range], most: int) -> list[Rollouts]:
        """The episodes of these numbers, at most `most`, for each of some seeds: batches of one seed each."""
        device, policy, seeds = self.task.device, self.policy, self.task.seeds
        asked = dict(zip(places, numbers, strict=True))
        row = np.repeat(places, [len(each) for each in numbers])
        slot = np.concatenate([np.arange(len(each)) for each in numbers])
        self.simulators.begin([episode_seed(seeds[r], asked[r][e]) for r, e in zip(row, slot, strict=True)])
        drawn = [self.noise(seeds[place], each) for place, each in asked.items()]
        noise = torch.zeros(len(seeds), most, *drawn[0].shape[1:], device=device)
        for place, each in zip(places, drawn, strict=True):
            noise[place, : len(each)] = each
        everyone = theta.new_zeros(len(seeds), theta.shape[1])
        everyone[list(places)] = theta
        params = policy.params(everyone)
        shown = np.zeros((len(seeds), most, self.simulators.observation.shape[1]), dtype=np.float32)
        seen, done = list[tuple[Tensor, Tensor]](), list[tuple[np.ndarray, np.ndarray]]()
        terminated = np.zeros(len(row), dtype=bool)
        while self.simulators.running.any() and len(done) < self.horizon:
            shown[row, slot] = self.simulators.observation
            running = self.simulators.running.copy()
            observation = torch.tensor(shown, device=device)
            action = policy.sample(params, observation, noise[:, :, len(done)])
            reward, ended = self.simulators.step(policy.taken(action).cpu().numpy()[row, slot])
            terminated |= ended
            seen.append((observation, action))
            done.append((reward, running))
        observations, actions = (torch.stack(each, 2) for each in zip(*seen, strict=True))
        rewards, mask = (self.spread(np.stack(each, 1), row, slot, most) for each in zip(*done, strict=True))
        last = self.simulators.observation, terminated, self.simulators.ends
        final, over, ends = (self.spread(each, row, slot, most) for each in last)
        observations, actions = (each * mask[..., None] for each in (observations, actions))
        played = Rollouts(observations, actions, rewards, mask, final, over, ends, mask[..., 0].clone())
        return [part(played, place, len(each)) for place, each in asked.items()]

    def noise(self, seed: int, numbers: range) -> Tensor:
        """Random numbers for the actions of one seed's episodes, `[E, H, z]`."""
        streams = SeedStreams((seed,), f"episodes from {numbers.start}", self.task.device)
        return self.policy.noise(streams, len(numbers) * self.horizon)[0].unflatten(0, (-1, self.horizon))

    def spread(self, values: np.ndarray, row: np.ndarray, slot: np.ndarray, most: int) -> Tensor:
        """Values of all episodes, `[N, ...]`, by seed and episode: `[S, E, ...]`."""
        out = np.zeros((len(self.task.seeds), most, *values.shape[1:]), dtype=np.float32)
        out[row, slot] = values
        return torch.from_numpy(out).to(self.task.device)


def part(played: Rollouts, place: int, episodes: int) -> Rollouts:
    """The batch of one seed, no longer than it must be."""
    longest = int(played.mask[place].sum(1).max())
    observation, action, reward, mask = (
        getattr(played, name)[place : place + 1, :episodes, :longest]
        for name in ("observation", "action", "reward", "mask")
    )
    final, terminated, ends, whole = (
        getattr(played, name)[place : place + 1, :episodes] for name in ("final", "terminated", "ends", "whole")
    )
    return Rollouts(observation, action, reward, mask, final, terminated, ends, whole)
