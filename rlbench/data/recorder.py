"""Records behaviour policies in an environment: the same rows on one machine, whatever the number of its cores."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice, repeat
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rlbench.data.behaviour import Policy, TanhGaussianPolicy, UniformPolicy, read_arrays
from rlbench.data.store import Progress
from rlbench.data.transitions import Transitions
from rlbench.errors import RunError

if TYPE_CHECKING:
    import gymnasium

    from rlbench.envs.control import Control

SHARD_ROWS = 12_500
INLINE_ROWS = 20_000
"""Up to so many rows, starting processes would take longer than recording."""


def record(
    env: Control, parts: list[tuple[Path | None, int]], entropy: list[int], title: str, progress: Progress | None
) -> list[np.ndarray]:
    """Rows of several policies, whole episodes.

    The work is cut into shards of a fixed size, each with random numbers of its own; as many processes as there are
    cores, at most 8, work them off.

    Args:
        env: where to record.
        parts: policy files (None: uniform actions) and the rows wanted of each.
        entropy: seeds the recording.
        title: what to call the work in progress reports.

    Returns:
        A table a part, float32 `[n, 2 d + a + 3]` (see `Transitions`), n at least the rows wanted.
    """
    counts = [math.ceil(rows / SHARD_ROWS) for _, rows in parts]
    shards = [(i, k) for i, count in enumerate(counts) for k in range(count)]
    paths = [parts[i][0] for i, _ in shards]
    rows = [math.ceil(parts[i][1] / counts[i]) for i, _ in shards]
    seeds = [[*entropy, i, k] for i, k in shards]
    tables: list[list[np.ndarray]] = [[] for _ in parts]
    total = sum(rows)
    workers = min(os.cpu_count() or 1, 8, len(shards)) if total > INLINE_ROWS else 1

    def collect(results: Iterator[np.ndarray]) -> None:
        done = 0
        for (i, _), wanted, table in zip(shards, rows, results, strict=True):
            tables[i].append(table)
            done += wanted
            if progress is not None:
                progress(title, done, total)

    if progress is not None:
        progress(title, 0, total)
    if workers == 1:
        collect(map(record_shard, repeat(env), paths, rows, seeds))
    else:
        pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker)
        try:
            collect(pool.map(record_shard, repeat(env), paths, rows, seeds))
        except BrokenProcessPool as error:
            raise RunError(
                f"{title}: a recording process died (out of memory? "
                'or a script without `if __name__ == "__main__":` around its work)'
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)
    return [np.concatenate(part) for part in tables]


def _start_worker() -> None:
    """A recording process leaves signals to its parent, and does not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is None:
        raise RuntimeError("not a child process")

    def leave() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=leave, daemon=True).start()


def record_shard(env: Control, path: Path | None, rows: int, entropy: list[int]) -> np.ndarray:
    """At least `rows` rows of one policy: episodes until there are enough."""
    tables, count = [], 0
    for episode in episodes(env, path, entropy):
        tables.append(episode.table)
        count += len(episode)
        if count >= rows:
            break
    return np.concatenate(tables)


def measure(
    env: Control, path: Path | None, count: int, entropy: list[int], sampled: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Returns and lengths of `count` episodes of a policy, float64 `[count]` each."""
    played = [(e.reward.sum(dtype=np.float64), len(e)) for e in islice(episodes(env, path, entropy, sampled), count)]
    returns, lengths = np.array(played, dtype=np.float64).T
    return returns, lengths


def episodes(env: Control, path: Path | None, entropy: list[int], sampled: bool = True) -> Iterator[Transitions]:
    """Episodes of a policy, without end."""
    start, noise = np.random.SeedSequence(entropy).spawn(2)
    simulator = env.make()
    policy: Policy
    if path is None:
        box = simulator.action_space
        policy = UniformPolicy(box.low, box.high)  # type: ignore[attr-defined]
    else:
        policy = TanhGaussianPolicy(read_arrays(path), sampled)
    rng = np.random.default_rng(noise)
    try:
        simulator.reset(seed=int(start.generate_state(1)[0]))
        while True:
            yield play(simulator, policy, rng)
    finally:
        simulator.close()


def play(simulator: gymnasium.Env, policy: Policy, rng: np.random.Generator) -> Transitions:
    """One episode."""
    first, _ = simulator.reset()
    observations = [np.asarray(first, dtype=np.float32).reshape(-1)]
    actions, rewards = [], []
    terminated = truncated = False
    while not (terminated or truncated):
        action = policy(observations[-1], rng)
        observation, reward, terminated, truncated, _ = simulator.step(action)
        observations.append(np.asarray(observation, dtype=np.float32).reshape(-1))
        actions.append(action)
        rewards.append(reward)
    ends = np.zeros((2, len(rewards)), dtype=bool)
    ends[:, -1] = terminated, truncated and not terminated
    states = np.array(observations)
    return Transitions.of_columns(states[:-1], np.array(actions), np.array(rewards), states[1:], ends[0], ends[1])
