"""Segments with labels, cut from any transitions: `rlbench data label dataset=Y oracle=RUN --to FILE.npz`.

The labels are those of Hejna et al. (ICLR 2024). What people prefer is taken to be small regret, which an oracle tells:
a soft actor-critic with Q, and V(s) the mean of Q over 64 actions of its policy. With T steps and the oracle's gamma:

    rl_sum       sum of r_t but for the last step, + V(s_T) - V(s_1): what was earned above what was to be expected
    rl_sum_disc  the same discounted: sum of gamma^t r_t, + gamma^(T-1) V(s_T) - V(s_1)
    rl_dir       sum of Q(s_t, a_t) - V(s_t)
    rl_dir_disc  the same discounted
    rl_lp        sum of log pi(a_t|s_t)
    partial_return  sum of r_t: no oracle needed, and no regret; CPL learns another policy from it
    human        comparisons that people made, read from a file
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlbench.data.npz import BROKEN
from rlbench.data.provenance import which
from rlbench.data.transitions import Transitions
from rlbench.errors import RunError, UsageError

if TYPE_CHECKING:
    from rlbench.algos.actor_critic import SoftActorCritic
    from rlbench.data.store import Progress
    from rlbench.envs.control import Control
    from rlbench.tracking.rundir import RunDir

SAMPLES = 64
"""Actions over which V is the mean of Q."""
AT_ONCE = 2048
"""States whose V is computed at once."""
EDGE = 0.999
"""Actions beyond are no likelier than these: log pi has no bound at the ends."""


def cut(data: Transitions, segments: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """First rows of random segments, int64 `[segments]`.

    Episodes take turns, and segments i and i + segments / 2, which may become a pair, are of different ones.

    Raises:
        UsageError: there are no two episodes of that length.
    """
    lengths = data.episode_ends - data.episode_starts
    episodes = np.flatnonzero(lengths >= length)
    if len(episodes) < 2:
        longest = f"the longest has {lengths.max()}"
        raise UsageError(
            f"length={length}: segments need two episodes of so many steps, and there are {len(episodes)} ({longest})"
        )
    rounds = -(-segments // len(episodes))
    order = np.concatenate([rng.permutation(len(episodes)) for _ in range(rounds)])[:segments]
    half = segments // 2
    first, second = order[:half], order[half : 2 * half]
    same = first == second
    second[same] = (second[same] + rng.integers(1, len(episodes), same.sum())) % len(episodes)
    chosen = episodes[order]
    return data.episode_starts[chosen] + rng.integers(0, lengths[chosen] - length + 1)


def comparisons(path: Path) -> tuple[np.ndarray, np.ndarray, int]:
    """Comparisons that people made: first rows `[2 P]`, labels `[P]`, and the length of the segments.

    The file has `indices_1` and `indices_2`, the first row of each segment in the data, `labels` (0: the first is
    preferred, 1: the second, -1: neither) and `query_len`; where it has fewer labels than indices, those of the first.

    Raises:
        UsageError: it is no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            starts = [archive["indices_1"], archive["indices_2"]]
            labels, length = archive["labels"], int(archive["query_len"])
    except (KeyError, TypeError, OverflowError, *BROKEN) as error:
        raise UsageError(f"comparisons={path}: wanted an npz with indices_1, indices_2, labels, query_len") from error
    if any(each.ndim != 1 or each.dtype.kind not in "fiu" for each in (*starts, labels)):
        raise UsageError(f"comparisons={path}: indices_1, indices_2 and labels are to be lists of numbers")
    if length < 1:
        raise UsageError(f"comparisons={path}: query_len={length}, and segments have one step at least")
    count = len(labels)
    if not np.isin(labels, (-1, 0, 1)).all() or min(map(len, starts)) < count or not count:
        raise UsageError(f"comparisons={path}: labels are to be 0, 1 or -1, one for each of the first indices")
    rows = np.concatenate([each[:count] for each in starts]).astype(np.int64)
    return rows, np.where(labels < 0, 0.5, labels).astype(np.float32), length


def label(
    data: Transitions, env: Control, rows: np.ndarray, length: int, oracle: RunDir | None, seed: int,
    progress: Progress | None = None,
) -> dict[str, np.ndarray]:  # fmt: skip
    """The arrays of a file of segments, with every label that can be told (see `rlbench.data.segments`).

    Args:
        data: the transitions.
        env: what they are of.
        rows: the first of each segment.
        length: of each segment.
        oracle: a run of SAC or alike, of the same environment; None: only the partial return is told.
        seed: of the oracle's actions.

    Raises:
        UsageError: the oracle is none.
        RunError: segments leave the data.
    """
    if rows.min() < 0 or rows.max() + length > len(data):
        raise RunError(f"segments begin up to row {rows.max()} and have {length} steps, and there are {len(data)} rows")
    index = rows[:, None] + np.arange(length)
    arrays = {"obs": data.observation[index], "action": data.action[index], "reward": data.reward[index]}
    labels = {"partial_return": arrays["reward"].sum(1)}
    if oracle is not None:
        labels |= regrets(loaded(oracle, env), arrays, seed, progress)
    return {**arrays, **labels}


def pictures(data: Transitions, rows: np.ndarray, length: int) -> dict[str, np.ndarray]:
    """What segments of pictures have in place of states: the frames that are in them, and their numbers.

    Args:
        data: transitions whose observations are pictures.
        rows: the first of each segment.
        length: of each segment.
    """
    assert data.frames is not None
    numbers = data.observation[rows[:, None] + np.arange(length)].astype(np.int64)
    used, places = np.unique(numbers, return_inverse=True)
    return {"obs": places.reshape(numbers.shape), "frames": np.asarray(data.frames[used])}


def crossing(data: Transitions, rows: np.ndarray, length: int) -> int:
    """How many segments go on beyond the end of an episode."""
    return int((data.episode[rows] != data.episode[np.minimum(rows + length, len(data)) - 1]).sum())


def loaded(oracle: RunDir, env: Control) -> SoftActorCritic:
    """The oracle as its newest checkpoint has it."""
    from rlbench.algos.actor_critic import SoftActorCritic
    from rlbench.build import build_trained

    algorithm, task, _ = build_trained(oracle, "hardware.device=cpu")
    if not isinstance(algorithm, SoftActorCritic):
        raise UsageError(f"oracle={oracle.id} has no soft actor-critic\ntrain one: rlbench algo=sac env={env.name}")
    if (task.env.id, which(task.env.kwargs)) != (env.id, which(env.kwargs)):
        raise UsageError(
            f"oracle={oracle.id} was trained in env={task.env.name} ({task.env.id}), and the data are of "
            f"env={env.name} ({env.id})"
        )
    if algorithm.reward_shift:
        raise UsageError(
            f"oracle={oracle.id} has values of shifted rewards (algo.reward_shift={algorithm.reward_shift:g}), and the "
            "data's are as they are: train one without"
        )
    return algorithm


def regrets(
    oracle: SoftActorCritic, arrays: dict[str, np.ndarray], seed: int, progress: Progress | None = None
) -> dict[str, np.ndarray]:
    """The labels that need an oracle, float32 `[N]` each; of several seeds and critics, the mean counts."""
    import torch
    from torch import Tensor

    from rlbench.rng import SeedStreams

    task, actor = oracle.task, oracle.params["actor"]
    noise = SeedStreams([seed] * len(task.seeds), "labels", task.device)
    steps, length = arrays["reward"].size, arrays["reward"].shape[1]

    def mean_q(state: Tensor, action: Tensor) -> Tensor:
        return oracle.critic(oracle.params["critic"], state, action).mean((0, 2))

    found: list[Tensor] = []
    flat = [torch.from_numpy(arrays[name]).flatten(0, 1).to(task.device) for name in ("obs", "action")]
    with torch.no_grad():
        for observation, action in zip(*(each.split(AT_ONCE) for each in flat), strict=True):
            state = task.features(observation.expand(len(task.seeds), -1, -1))
            given = action.expand(len(task.seeds), -1, -1)
            likely = oracle.policy.log_prob(oracle.actor(actor, state), given.clamp(-EDGE, EDGE)).mean((0, 2))
            often = state.repeat_interleave(SAMPLES, 1)
            tried, _ = oracle.policy.draw(oracle.actor(actor, often), noise.normal(often.shape[1], action.shape[1]))
            value = mean_q(often, tried).view(-1, SAMPLES).mean(1)
            found.append(torch.stack([mean_q(state, given), value, likely]))
            if progress is not None:
                progress("labelling", sum(each.shape[1] for each in found), steps)
    q, v, log_prob = torch.cat(found, 1).unflatten(1, (-1, length)).double().cpu().numpy()
    reward = arrays["reward"].astype(np.float64)

    def earned(gamma: float) -> np.ndarray:
        discounts = gamma ** np.arange(length)
        return (discounts * reward)[:, :-1].sum(1) + discounts[-1] * v[:, -1] - v[:, 0]

    labels: dict[str, Any] = {
        "rl_sum": earned(1.0),
        "rl_sum_disc": earned(oracle.gamma),
        "rl_dir": (q - v).sum(1),
        "rl_dir_disc": ((q - v) * oracle.gamma ** np.arange(length)).sum(1),
        "rl_lp": log_prob.sum(1),
    }
    return {name: each.astype(np.float32) for name, each in labels.items()}
