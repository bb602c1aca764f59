"""CleanRL's side of a race: its own script, which stops at a step of the environment when its turn is over.

Runs where CleanRL's package and what its scripts import can be found, with DIR in PYTHONPATH after

    pip install --no-deps --ignore-requires-python --target DIR cleanrl stable-baselines3 tensorboard

`python -m benchmarks.speed races sac td3` then finds it. The package (1.2.0) is written for gym, which does not install
beside a current NumPy: its scripts get gymnasium in that interface. What they log, they log.

python -m benchmarks.cleanrl_loop ALGO SECONDS
"""

from __future__ import annotations

import os
import runpy
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode

from benchmarks.plain_online import WARM_UP
from benchmarks.race import serve

SCRIPTS = {"sac": "cleanrl.sac_continuous_action", "td3": "cleanrl.td3_continuous_action"}


class Turns:
    """Lets another thread do so many steps, and waits until they are done."""

    def __init__(self) -> None:
        self.left, self.begin, self.over = 0, threading.Semaphore(0), threading.Semaphore(0)

    def give(self, count: int) -> None:
        self.left = count
        self.begin.release()
        self.over.acquire()

    def taken(self) -> None:
        """A step is done."""
        self.left -= 1
        if self.left == 0:
            self.over.release()
            self.begin.acquire()


class Statistics(gymnasium.wrappers.RecordEpisodeStatistics):
    def seed(self, seed: int) -> None:
        self.reset(seed=seed)


def gym(turns: Turns) -> ModuleType:
    """gymnasium, in gym's interface."""

    class Vector(gymnasium.vector.SyncVectorEnv):
        def __init__(self, makers: list[Callable[[], Any]]) -> None:
            super().__init__(makers, autoreset_mode=AutoresetMode.SAME_STEP)

        def reset(self, **_: Any) -> Any:
            return super().reset()[0]

        def step(self, actions: np.ndarray) -> Any:
            turns.taken()
            following, reward, terminated, truncated, info = super().step(actions)
            last = info.get("final_obs", following)
            return following, reward, terminated | truncated, [{"terminal_observation": each} for each in last]

    module = ModuleType("gym")
    module.make, module.spaces = gymnasium.make, gymnasium.spaces  # type: ignore[attr-defined]
    module.wrappers = ModuleType("wrappers")  # type: ignore[attr-defined]
    module.wrappers.RecordEpisodeStatistics = Statistics
    module.vector = ModuleType("vector")  # type: ignore[attr-defined]
    module.vector.SyncVectorEnv = Vector
    return module


def loop(name: str) -> Callable[[int], None]:
    """Steps of the script, which has begun to learn."""
    torch.set_num_threads(1)
    turns = Turns()
    sys.modules["gym"] = gym(turns)
    sys.argv = [name, "--learning-starts", str(WARM_UP), "--cuda", "false"]
    os.chdir(tempfile.mkdtemp())  # it keeps its logs in the folder where it runs

    def script() -> None:
        turns.begin.acquire()
        try:
            runpy.run_module(SCRIPTS[name], {"print": partial(print, file=sys.stderr)}, "__main__")
        finally:  # it has failed: a race is shorter than its million steps
            traceback.print_exc()
            os._exit(1)

    threading.Thread(target=script, daemon=True).start()
    turns.give(WARM_UP + 10)
    return turns.give


if __name__ == "__main__":
    algorithm, seconds = sys.argv[1:]
    serve(loop(algorithm), float(seconds), 0.0)
