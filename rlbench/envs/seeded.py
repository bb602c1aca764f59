"""OGBench's simulators, whose episodes their seeds alone would not determine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np
from numpy.random.mtrand import get_bit_generator, set_bit_generator


class Seeded(gymnasium.Wrapper[Any, Any, Any, Any]):
    """The environment with a stream of its own, begun anew by each seed, in place of NumPy's global generator, from
    which OGBench's mazes draw first places and teleports. Afterwards `np.random` draws from its own stream again, from
    where it was (but for a normal that it holds back, the second of a pair).

    Args:
        env: an environment of OGBench.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self.stream = np.random.MT19937()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if seed is not None:
            self.stream = np.random.MT19937(seed)
        with drawing_from(self.stream):
            first = self.env.reset(seed=seed, options=options)
        data = getattr(self.unwrapped, "data", None)
        if data is not None:
            # The arm's `reset` takes unseeded random steps, from which MuJoCo's solver would go on.
            data.qacc_warmstart[:] = 0
        return first

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        with drawing_from(self.stream):
            return self.env.step(action)


@contextmanager
def drawing_from(stream: np.random.BitGenerator) -> Iterator[None]:
    """Have `np.random` draw from another stream for a while."""
    # Streams are exchanged, not their states, which takes longer than a step of a point maze.
    others = get_bit_generator()
    set_bit_generator(stream)
    try:
        yield
    finally:
        set_bit_generator(others)
