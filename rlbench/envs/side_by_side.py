"""Episodes that cannot be played as one batch: one after another, or on several processor cores at once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache

import numpy as np

from rlbench.envs.policy_search import Episodes, PolicySearch, Worlds
from rlbench.envs.simulators import Simulators


class OneByOne(PolicySearch):
    """A problem whose simulator knows one episode at a time; `hardware.threads` are played at once."""

    def alone(self) -> Worlds:
        """One episode, at its beginning."""
        raise NotImplementedError

    def begin(self, count: int) -> Worlds:
        if count != 1:
            raise ValueError("this problem plays one episode at a time: ask for each genome's on its own")
        return self.alone()

    def simulators(self) -> Simulators:
        return Simulators(self.make)

    def of_genome(self, genome: np.ndarray, views: int) -> Episodes:
        return super().episodes(genome[None], views)

    def episodes(self, genomes: np.ndarray, views: int) -> Episodes:
        parts = side_by_side(self.of_genome, genomes, views)
        names = "reward", "area", "outcome", "views"
        return Episodes(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def side_by_side(play: Callable[[np.ndarray, int], Episodes], genomes: np.ndarray, views: int) -> list[Episodes]:
    """`play` of each genome, in their order."""
    import torch  # late: a problem is also built to be checked, which takes no torch

    workers = min(torch.get_num_threads(), len(genomes))
    if workers == 1:
        return [play(genome, views) for genome in genomes]
    share = -(-len(genomes) // (4 * workers))  # some take longer than others
    return list(pool(workers).map(play, genomes, [views] * len(genomes), chunksize=share))


@cache
def pool(workers: int) -> ProcessPoolExecutor:
    """Processes that wait for episodes as long as this one lives."""
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=follow)


def follow() -> None:
    """Hear no signals, which are for the process of the run, and end when that does."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
        signal.signal(each, signal.SIG_IGN)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
