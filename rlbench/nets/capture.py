"""An update without Python: as a compiled graph, on a GPU as a CUDA graph, or as both.

The update is written once, and recorded as it stands, gradients, optimisers and target networks included.

- A compiled graph (PyTorch's Inductor) computes the traced operations, fused, from random numbers that are drawn
  before. Compiled code is kept in the cache folder for the runs to come.
- A CUDA graph is the sequence of kernels, launched as a whole; random numbers are drawn within.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from packaging.version import Version
from torch import Tensor

from rlbench.nets.tracing import tracing
from rlbench.paths import cache_root
from rlbench.rng import Draw, SeedStreams

AUTO_STEPS = 100_000
"""Updates from which on compiling pays: it saves a fifth of a millisecond and more of each, and takes some 10 s."""
Update = Callable[[Tensor], dict[str, Tensor]]


class CapturedUpdate:
    """Runs `update(rows)` as recorded, once for each variant of it.

    Args:
        update: from the rows of a minibatch to metrics; changes parameters and optimisers in place, and must do the
            same whenever `variant` is the same.
        variant: which of several courses the next update takes.
        state: every tensor that it changes.
        compiled: whether operations are compiled.
    """

    def __init__(
        self, update: Update, variant: Callable[[], Hashable], state: Sequence[Tensor], *, compiled: bool
    ) -> None:
        self.update, self.variant, self.state, self.compiled = update, variant, state, compiled
        self.recorded: dict[Hashable, Update] = {}

    def __call__(self, rows: Tensor) -> dict[str, Tensor]:
        """Metrics, valid until the next update."""
        variant = self.variant()
        if variant not in self.recorded:
            self.recorded[variant] = self.record(rows)
        return self.recorded[variant](rows)

    def record(self, rows: Tensor) -> Update:
        if rows.is_cuda:
            rows = rows.clone()  # where graphs will read: compiled code depends on how its input is laid out
        with unchanged(self.state):
            update = CompiledGraph(self.update, rows) if self.compiled else self.update
            return CudaGraph(update, rows) if rows.is_cuda else update


@contextmanager
def unchanged(state: Sequence[Tensor]) -> Iterator[None]:
    """Afterwards these tensors hold what they held before."""
    before = [value.clone() for value in state]
    yield
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
        update: as above; runs once.
        rows: an example.
    """

    def __init__(self, update: Update, rows: Tensor) -> None:
        keep_compiled_code()
        from torch.fx.experimental.proxy_tensor import make_fx

        self.draws: list[Draw] = []
        with tracing(), SeedStreams.recorded(self.draws):
            self.names = list(update(rows))

        def functional(rows: Tensor, *noise: Tensor) -> list[Tensor]:
            with SeedStreams.replayed(noise):
                return list(update(rows).values())

        example = [rows, *(draw.example() for draw in self.draws)]
        with tracing():
            traced = make_fx(functional)(*example)
        self.held = lift(traced)
        self.run = compiled(traced, [*example, *self.held])

    def __call__(self, rows: Tensor) -> dict[str, Tensor]:
        values = self.run(rows, *(draw.again() for draw in self.draws), *self.held)
        return dict(zip(self.names, values, strict=True))


def lift(traced: torch.fx.GraphModule) -> list[Tensor]:
    """Make inputs of the tensors that a graph holds, so that compiled code does not depend on their values."""
    graph = traced.graph
    last = [node for node in graph.nodes if node.op == "placeholder"][-1]
    held: dict[str, torch.fx.Node] = {}
    for node in [node for node in graph.nodes if node.op == "get_attr"]:
        if node.target not in held:
            with graph.inserting_after(last):
                last = held[node.target] = graph.placeholder(f"held_{len(held)}")
        node.replace_all_uses_with(held[node.target])
        graph.erase_node(node)
    traced.recompile()
    return [getattr(traced, name) for name in held]


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
