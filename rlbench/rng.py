"""Random numbers with a leading seed axis: one independent stream a seed.

A seed draws the same numbers whether it trains alone or beside others, so results do not depend on the company.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Draw:
    """A draw that can be made again, ahead of what uses its numbers."""

    streams: SeedStreams
    kind: str
    shape: tuple[int, ...]
    probability: float

    def again(self, out: Tensor | None = None) -> Tensor:
        """The next numbers of the streams, there where a tensor is given."""
        return self.streams.draw(self.kind, self.shape, self.probability, out)

    def example(self) -> Tensor:
        """Numbers of the right shape; the streams stay where they are."""
        return torch.full((len(self.streams), *self.shape), 0.5, device=self.streams.device)


class SeedStreams:
    """One `torch.Generator` a seed; every draw returns `[S, *shape]`.

    Args:
        seeds: the run's seeds, S of them.
        purpose: separates the streams of one seed (initialisation, minibatches, noise): a word hashed into the stream.
        device: where the numbers are drawn.
    """

    _recording: ClassVar[list[Draw] | None] = None
    _replaying: ClassVar[Iterator[Tensor] | None] = None

    def __init__(self, seeds: Sequence[int], purpose: str, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.generators = []
        for seed in seeds:
            entropy = np.random.SeedSequence([seed, *purpose.encode()]).generate_state(1, np.uint64)[0]
            self.generators.append(torch.Generator(self.device).manual_seed(int(entropy) & (2**63 - 1)))

    def __len__(self) -> int:
        return len(self.generators)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal draws `[S, *shape]`."""
        return self.draw("normal", shape)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform draws in [0, 1), `[S, *shape]`."""
        return self.draw("uniform", shape)

    def chance(self, probability: float, *shape: int) -> Tensor:
        """1 with this probability, to within 2^-16, otherwise 0, `[S, *shape]`; at half the cost of uniform draws."""
        return self.draw("chance", shape, probability)

    def draw(self, kind: str, shape: tuple[int, ...], probability: float = 1.0, out: Tensor | None = None) -> Tensor:
        """`normal`, `uniform` or `chance`, `[S, *shape]`."""
        if SeedStreams._recording is not None:
            draw = Draw(self, kind, shape, probability)
            SeedStreams._recording.append(draw)
            return draw.example()
        if SeedStreams._replaying is not None:
            return next(SeedStreams._replaying)
        if out is None:
            out = torch.empty(len(self), *shape, device=self.device)
        if kind == "chance":
            limit = min(round(probability * 2**16) - 2**15, 2**15 - 1)
            return torch.lt(self._shorts(shape), limit, out=out)
        for row, generator in zip(out, self.generators, strict=True):
            row.normal_(generator=generator) if kind == "normal" else row.uniform_(generator=generator)
        return out

    def _shorts(self, shape: tuple[int, ...]) -> Tensor:
        """Uniform integers of 16 bits, `[S, *shape]`; one of 64 bits, as dear as a single uniform draw, makes four."""
        count = math.prod(shape)
        long = torch.empty(len(self), -(-count // 4), dtype=torch.int64, device=self.device)
        for row, generator in zip(long, self.generators, strict=True):
            row.random_(-(2**63), None, generator=generator)
        return long.view(torch.int16)[:, :count].unflatten(1, shape)

    @classmethod
    @contextmanager
    def recorded(cls, draws: list[Draw]) -> Iterator[None]:
        """Meanwhile every draw is noted down, and gives an example."""
        cls._recording = draws
        try:
            yield
        finally:
            cls._recording = None

    @classmethod
    @contextmanager
    def replayed(cls, numbers: Sequence[Tensor]) -> Iterator[None]:
        """Meanwhile every draw gives the next of these numbers."""
        cls._replaying = iter(numbers)
        try:
            yield
        finally:
            cls._replaying = None

    def integers(self, high: int | Sequence[int], *shape: int) -> Tensor:
        """Uniform integers in [0, high), `[S, *shape]`, int64; `high` may differ from seed to seed."""
        out = torch.empty(len(self), *shape, dtype=torch.int64, device=self.device)
        bounds = [high] * len(self) if isinstance(high, int) else high
        for row, generator, bound in zip(out, self.generators, bounds, strict=True):
            row.random_(0, bound, generator=generator)
        return out

    def permutation(self, n: int) -> Tensor:
        """One random permutation of 0..n-1 a seed: `[S, n]`, int64."""
        return torch.stack([torch.randperm(n, generator=g, device=self.device) for g in self.generators])

    def state_dict(self) -> dict[str, Any]:
        return {"generators": [g.get_state() for g in self.generators]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for generator, saved in zip(self.generators, state["generators"], strict=True):
            generator.set_state(saved.cpu())


def numpy_generator(seed: int, purpose: str) -> np.random.Generator:
    """One seed's random stream for what is computed with NumPy; `purpose` separates it from the seed's others."""
    return np.random.default_rng([seed, *purpose.encode()])
