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
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlbench.data.behaviour import Policy, TanhGaussianPolicy, UniformPolicy, read_arrays
from rlbench.data.store import Progress
from rlbench.data.transitions import Transitions
from rlbench.errors import RunError
from rlbench.tracking.meta import cores

if TYPE_CHECKING:
    import gymnasium

    from rlbench.envs.control import Control

SHARD_ROWS = 12_500
INLINE_ROWS = 20_000
"""Up to so many rows, starting processes would take longer than recording."""


def record(
    env: Control,
    parts: list[tuple[Path | None, int]],
    entropy: list[int],
    title: str,
    progress: Progress | None,
    noise: float = 0.0,
    keep: Path | None = None,
) -> list[np.ndarray]:
    """Rows of several policies, whole episodes.

    The work is cut into shards of a fixed size, each with random numbers of its own; as many processes as there are
    cores, at most 8, work them off.

    Args:
        env: where to record.
        parts: policy files (None: uniform actions) and the rows wanted of each.
        entropy: seeds the recording.
        title: what to call the work in progress reports.
        noise: see `ExportedPolicy`.
        keep: a folder where finished shards wait for the others, to be found there after an interruption; frames of
            pictures stay there (`frame_files`).

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
    workers = min(cores(), 8, len(shards)) if total > INLINE_ROWS else 1

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
        collect(map(record_shard, repeat(env), paths, rows, seeds, repeat(noise), repeat(keep)))
    else:
        context = multiprocessing.get_context("spawn")
        reader, writer = context.Pipe(duplex=False)
        pool = ProcessPoolExecutor(workers, context, _start_worker, (reader,))
        try:
            collect(pool.map(record_shard, repeat(env), paths, rows, seeds, repeat(noise), repeat(keep)))
        except BrokenProcessPool as error:
            raise RunError(
                f"{title}: a recording process died (out of memory? "
                'or a script without `if __name__ == "__main__":` around its work)'
            ) from error
        except BaseException:
            writer.close()  # the processes leave at once, so that nothing waits for them
            raise
        finally:
            pool.shutdown(cancel_futures=True)
            writer.close()
    return [np.concatenate(part) for part in tables]


def _start_worker(stop: Connection) -> None:
    """A recording process leaves signals to its parent, and does not outlive it, nor the other end of `stop`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is None:
        raise RuntimeError("not a child process")

    def leave() -> None:
        wait([parent.sentinel, stop])
        os._exit(1)

    threading.Thread(target=leave, daemon=True).start()


def record_shard(
    env: Control, path: Path | None, rows: int, entropy: list[int], noise: float = 0.0, keep: Path | None = None
) -> np.ndarray:
    """At least `rows` rows of one policy: episodes until there are enough, unless they are kept already."""
    kept = keep and shard_file(keep, entropy)
    if kept and kept.exists():
        return np.load(kept)
    tables, frames, count = [], [], 0
    for episode in episodes(env, path, entropy, noise=noise):
        tables.append(episode.table)
        count += len(episode)
        if episode.frames is not None:
            frames.append(episode.frames)
        if count >= rows:
            break
    table = np.concatenate(tables)
    if kept:
        if frames:
            np.save(frames_beside(kept), np.concatenate(frames))
        unfinished = kept.with_suffix(".tmp.npy")
        np.save(unfinished, table)
        unfinished.replace(kept)
    return table


def shard_file(keep: Path, entropy: list[int]) -> Path:
    """Where a shard waits."""
    return keep / f"shard-{'-'.join(map(str, entropy))}.npy"


def frames_beside(shard: Path) -> Path:
    """Where the frames of a shard are: of each episode one more than it has rows."""
    return shard.with_suffix(".frames.npy")


def frame_files(keep: Path, parts: list[tuple[Path | None, int]], entropy: list[int]) -> list[Path]:
    """The files with the frames of a recording, in the order of its rows; arguments as `record`'s."""
    counts = [math.ceil(rows / SHARD_ROWS) for _, rows in parts]
    shards = [(i, k) for i, count in enumerate(counts) for k in range(count)]
    return [frames_beside(shard_file(keep, [*entropy, i, k])) for i, k in shards]


def measure(
    env: Control, path: Path | None, count: int, entropy: list[int], sampled: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Returns and lengths of `count` episodes of a policy, float64 `[count]` each."""
    played = [(e.reward.sum(dtype=np.float64), len(e)) for e in islice(episodes(env, path, entropy, sampled), count)]
    returns, lengths = np.array(played, dtype=np.float64).T
    return returns, lengths


def episodes(
    env: Control, path: Path | None, entropy: list[int], sampled: bool = True, noise: float = 0.0
) -> Iterator[Transitions]:
    """Episodes of a policy, without end."""
    start, draws = np.random.SeedSequence(entropy).spawn(2)
    simulator = env.make()
    policy: Policy
    box: Any = simulator.action_space
    if path is None:
        policy = UniformPolicy(box.low, box.high)
    elif path.suffix == ".pt":
        policy = ExportedPolicy(path, noise, box.low, box.high)
    else:
        policy = TanhGaussianPolicy(read_arrays(path), sampled)
    rng = np.random.default_rng(draws)
    try:
        simulator.reset(seed=int(start.generate_state(1)[0]))
        while True:
            yield play(simulator, policy, rng)
    finally:
        simulator.close()


class ExportedPolicy:
    """A policy as `rlbench export` writes it.

    Args:
        path: the TorchScript file.
        noise: standard deviation of Gaussian noise on the actions, in halves of their range.
        low, high: bounds of the actions, `[a]`, to which they are clipped.
    """

    def __init__(self, path: Path, noise: float, low: np.ndarray, high: np.ndarray) -> None:
        import torch

        torch.set_num_threads(1)  # there are as many recording processes as cores
        self.module = torch.jit.load(str(path))
        self.scale = noise * (high - low) / 2
        self.low, self.high = low, high

    def __call__(self, observation: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        import torch

        with torch.inference_mode():
            action = self.module(torch.from_numpy(observation)[None])[0].numpy()
        if not self.scale.any():
            return action
        noisy = action + self.scale * rng.standard_normal(action.shape)
        return np.clip(noisy, self.low, self.high).astype(np.float32)


def play(simulator: gymnasium.Env, policy: Policy, rng: np.random.Generator) -> Transitions:
    """One episode. Of one with pictures, states are recorded and acted on, and its frames, one after another."""
    from rlbench.envs.pictures import Pictures

    views = simulator if isinstance(simulator, Pictures) else None

    def state(observation: np.ndarray) -> np.ndarray:
        return np.asarray(observation if views is None else views.state, dtype=np.float32).reshape(-1)

    first, _ = simulator.reset()
    observations = [state(first)]
    frames = [views.recent[-1]] if views else []
    actions, rewards = [], []
    terminated = truncated = False
    while not (terminated or truncated):
        action = policy(observations[-1], rng)
        observation, reward, terminated, truncated, _ = simulator.step(action)
        observations.append(state(observation))
        if views:
            frames.append(views.recent[-1])
        actions.append(action)
        rewards.append(reward)
    ends = np.zeros((2, len(rewards)), dtype=bool)
    ends[:, -1] = terminated, truncated and not terminated
    states = np.array(observations)
    return Transitions.of_columns(
        states[:-1], np.array(actions), np.array(rewards), states[1:], ends[0], ends[1],
        frames=np.array(frames) if views else None,
    )  # fmt: skip
