"""An update as recorded: as a list of operations, as a compiled graph, on a GPU as a CUDA graph.

The update is written once, and recorded as it stands, gradients, optimisers and target networks included.

- On the CPU its operations are done one after another, as eager ones, without what stands around them (`Playback`).
- A compiled graph (PyTorch's Inductor) computes them fused, from random numbers that are drawn before. Compiled code is
  kept in the cache folder for the runs to come.
- A CUDA graph is the sequence of kernels, launched as a whole; random numbers are drawn within.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from packaging.version import Version
from torch import Tensor

from rlbench.nets.tape import Playback, Tape, Update, alike, identical
from rlbench.nets.tracing import tracing
from rlbench.paths import cache_root
from rlbench.rng import Draw, SeedStreams

AUTO_STEPS = 100_000
"""Updates from which on compiling pays: it saves a fifth of a millisecond and more of each, and takes some 10 s."""
EAGER_UPDATES = 1_000
"""After which on the CPU they are recorded, which takes as long as some 2,000 more gain; the results are the same."""
SLOWER = "updates are not recorded, and slower: "


class CapturedUpdate:
    """Runs `update(rows)` as recorded, once for each variant of it.

    Args:
        update: from the rows of a minibatch to metrics; changes parameters and optimisers in place, and must do the
            same whenever `variant` is the same.
        variant: which of several courses the next update takes.
        state: every tensor that it changes.
        compiled: whether operations are compiled.
        after: so many eager updates.
        say: told why updates cannot be recorded.
    """

    def __init__(
        self,
        update: Update,
        variant: Callable[[], Hashable],
        state: Sequence[Tensor],
        *,
        compiled: bool,
        after: int,
        say: Callable[[str], None],
    ) -> None:
        self.update, self.variant, self.state, self.compiled, self.say = update, variant, state, compiled, say
        self.eager = after
        """Eager updates that are to come before."""
        self.recorded: dict[Hashable, Update] = {}

    def __call__(self, rows: Tensor) -> dict[str, Tensor]:
        """Metrics, valid until the next update."""
        if self.eager:
            self.eager -= 1
            return self.update(rows)
        variant = self.variant()
        if variant not in self.recorded:
            if not (rows.is_cuda or self.compiled):
                self.recorded[variant], metrics = self.first(rows)
                return metrics
            self.recorded[variant] = self.record(rows)
        return self.recorded[variant](rows)

    def record(self, rows: Tensor) -> Update:
        if rows.is_cuda:
            rows = rows.clone()  # where graphs will read: compiled code depends on how its input is laid out
        with unchanged(self.state):
            update = CompiledGraph(self.update, rows) if self.compiled else self.update
            return CudaGraph(update, rows) if rows.is_cuda else update

    def first(self, rows: Tensor) -> tuple[Update, dict[str, Tensor]]:
        """The update with these rows, which decides what does the later ones.

        Returns:
            Its operations, if they do to the bit what it does, otherwise itself; and its metrics.
        """
        picked = torch.arange(rows.shape[1]) // 2
        try:
            with unchanged(self.state):
                others = alike(rows).copy_(rows[:, picked])  # what is recorded with some rows must fit all
                playback = Playback(Tape(self.update, others))
                playback.run(others)
        except Exception as error:  # noqa: BLE001 - whatever it is, eager updates do without
            reason = re.split(r"(?<=[.!])\s", str(error))[0]
            self.say(f"{SLOWER}{reason} (Does an `if` or `.item()` look at what they compute?)")
            return self.update, self.update(rows)
        playback.draw()
        with unchanged(self.state):
            found = self.outcome(playback.run, rows)
        with SeedStreams.replayed(playback.noise):
            expected = self.outcome(self.update, rows)
        metrics = dict(zip(playback.names, expected, strict=False))
        if all(map(identical, found, expected)):
            return playback, metrics
        self.say(f"{SLOWER}what was recorded with one minibatch does something else with another")
        return self.update, metrics

    def outcome(self, update: Update, rows: Tensor) -> list[Tensor]:
        """The metrics of an update, and the state after it."""
        return clones([*update(rows).values(), *self.state])


def clones(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.clone() for tensor in tensors]


@contextmanager
def unchanged(state: Sequence[Tensor]) -> Iterator[None]:
    """Afterwards these tensors hold what they held before."""
    before = clones(state)
    try:
        yield
    finally:
        for value, saved in zip(state, before, strict=True):
            value.copy_(saved)


class CudaGraph:
    """An update as the kernels that it launches, launched together.

    The streams that it draws from are registered with the graph: every launch draws their next numbers.

    Args:
        update: as above; runs a few times.
        rows: an example, and from now on the place of every minibatch.
    """

    WARM_UP = 3  # libraries choose kernels and take memory in their first calls, which cannot be recorded

    def __init__(self, update: Update, rows: Tensor) -> None:
        self.rows = rows
        draws: list[Draw] = []
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside), SeedStreams.recorded(draws):
            for _ in range(self.WARM_UP):
                update(self.rows)
        torch.cuda.current_stream().wait_stream(aside)
        self.graph = torch.cuda.CUDAGraph()
        for generator in {id(each): each for draw in draws for each in draw.streams.generators}.values():
            self.graph.register_generator_state(generator)
        with torch.cuda.graph(self.graph):
            self.metrics = update(self.rows)

    def __call__(self, rows: Tensor) -> dict[str, Tensor]:
        self.rows.copy_(rows)
        self.graph.replay()
        return self.metrics


class CompiledGraph:
    """An update, compiled.

    Args:
        update: as above; runs twice.
        rows: an example.
    """

    def __init__(self, update: Update, rows: Tensor) -> None:
        keep_compiled_code()
        with tracing():
            self.tape = Tape(update, rows)
        self.run = compiled(self.tape.operations, [*self.tape.example, *self.tape.held])

    def __call__(self, rows: Tensor) -> dict[str, Tensor]:
        tape = self.tape
        values = self.run(rows, *(draw.again() for draw in tape.draws), *tape.held)
        return dict(zip(tape.names, values, strict=True))


def keep_compiled_code() -> None:
    """Have the compiler keep its results in the cache folder, unless the user named another."""
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    named = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    if named in (None, default_cache_dir()):  # parts of torch set the default, a temporary folder, when imported
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache_root() / "compiled")


def compiled(traced: torch.fx.GraphModule, example: Sequence[Tensor]) -> Callable[..., Any]:
    """The graph as machine code, taken from the cache folder where an earlier process left it there."""
    import torch._inductor

    # No pool of processes that outlives the compiling; shapes never change, and are not looked at in each update.
    options = {"config_patches": {"compile_threads": 1, "size_asserts": False}}
    return torch._inductor.standalone_compile(
        traced, list(example), dynamic_shapes="from_example_inputs", options=options
    )


def obstacle() -> str | None:
    """What keeps updates from being compiled here, and what to do about it; None: nothing."""
    if Version(torch.__version__) < Version("2.8"):
        return f"compile=on needs torch 2.8, and this is {torch.__version__}: update it, or set compile=off"
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        return "compile=on needs a C++ compiler: install g++, or name another in CXX, or set compile=off"
    return None
