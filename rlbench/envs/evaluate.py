"""The one evaluator of control problems: a vector of environments, stepped for all seeds at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from rlbench.envs.stepwise import Stepwise


def start_seed(seed: int, episode: int) -> int:
    """The simulator's seed for one episode of one seed's evaluation."""
    return int(np.random.SeedSequence([seed, episode, 0xE7A1]).generate_state(1)[0])


@torch.no_grad()
def evaluate(
    env: Stepwise,
    act: Callable[[Tensor], Tensor],
    seeds: Sequence[int],
    episodes: int,
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """Undiscounted returns of a deterministic policy, episode by episode.

    Every evaluation starts from the same states, a set of its own for each seed: evaluations are repeatable, need no
    random state, and those of two algorithms at one seed are paired.

    Args:
        env: what to step.
        act: maps observations `[S, B, d]` to actions `[S, B, a]`.
        seeds: S seeds.
        episodes: B, a seed.

    Returns:
        `eval/return`, `eval/length`, and, where the environment has reference scores, `eval/normalized_score`
        (100-based), and, where the simulator says whether an episode ended in success, `eval/success` (a share):
        float64 arrays `[S, B]`.
    """
    returns, lengths, successes = rollout(env, act, seeds, episodes, device)
    metrics: dict[str, Any] = {"eval/return": returns, "eval/length": lengths}
    score = env.score(returns)
    if score is not None:
        metrics["eval/normalized_score"] = score
    if not np.isnan(successes).any():
        metrics["eval/success"] = successes
    return metrics


@torch.no_grad()
def rollout(
    env: Stepwise,
    act: Callable[[Tensor], Tensor],
    seeds: Sequence[int],
    episodes: int,
    device: torch.device | str = "cpu",
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns, lengths and successes (NaN: not known) of every episode, float64 `[S, B]` (see `evaluate`)."""
    shape = len(seeds), episodes
    simulators = env.simulators()
    simulators.begin([start_seed(seed, episode) for seed in seeds for episode in range(episodes)])
    returns, lengths = np.zeros((2, len(seeds) * episodes))
    while simulators.running.any():
        batch = torch.tensor(simulators.observation.reshape(*shape, -1), device=device)
        actions = act(batch).flatten(0, 1).cpu().numpy()
        lengths += simulators.running
        returns += simulators.step(actions)[0]
    simulators.close()
    return returns.reshape(shape), lengths.reshape(shape), simulators.success.reshape(shape)
