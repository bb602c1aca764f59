"""An update as one compiled graph: what is drawn at random is drawn before, everything else runs without Python.

The update is traced once as it stands, gradients, optimisers and target networks included, and compiled by PyTorch's
Inductor; the traced operations are those of the eager update, so the losses are written once. Compiled code is kept in
the cache folder for the runs to come.
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

from rlbench.nets.optim import Adam
from rlbench.paths import cache_root
from rlbench.rng import Draw, SeedStreams

AUTO_STEPS = 100_000
"""Updates from which on compiling pays: it saves a fifth of a millisecond and more of each, and takes some 10 s."""
Update = Callable[[Tensor], dict[str, Tensor]]


class CapturedUpdate:
    """Runs `update(rows)` as a compiled graph, one for each variant of it.

    Args:
        update: from the rows of a minibatch to metrics; changes parameters and optimisers in place, and must do the
            same whenever `variant` is the same.
        variant: which of several courses the next update takes.
        state: every tensor that it changes.
    """

    def __init__(self, update: Update, variant: Callable[[], Hashable], state: Sequence[Tensor]) -> None:
        self.update, self.variant, self.state = update, variant, state
        self.graphs: dict[Hashable, Graph] = {}

    def __call__(self, rows: Tensor) -> dict[str, Tensor]:
        variant = self.variant()
        if variant not in self.graphs:
            self.graphs[variant] = Graph(self.update, rows, self.state)
        return self.graphs[variant](rows)


class Graph:
    """One variant, compiled.

    Args:
        update: as above.
        rows: an example.
        state: as above; it is the same after the capture as before.
    """

    def __init__(self, update: Update, rows: Tensor, state: Sequence[Tensor]) -> None:
        keep_compiled_code()
        from torch.fx.experimental.proxy_tensor import make_fx

        before = [value.clone() for value in state]
        self.draws: list[Draw] = []
        with traceable(), SeedStreams.recorded(self.draws):
            self.names = list(update(rows))

        def functional(rows: Tensor, *noise: Tensor) -> list[Tensor]:
            with SeedStreams.replayed(noise):
                return list(update(rows).values())

        example = [rows, *(draw.example() for draw in self.draws)]
        with traceable():
            traced = make_fx(functional)(*example)
        self.held = lift(traced)
        self.run = compiled(traced, [*example, *self.held])
        for value, saved in zip(state, before, strict=True):
            value.copy_(saved)

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


@contextmanager
def traceable() -> Iterator[None]:
    """Meanwhile Adam computes with operations that a compiler can fuse with others."""
    Adam.fused = False
    try:
        yield
    finally:
        Adam.fused = True


def keep_compiled_code() -> None:
    """Have the compiler keep its results in the cache folder, unless the user named another."""
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    named = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    if named in (None, default_cache_dir()):  # parts of torch set the default, a temporary folder, when imported
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache_root() / "compiled")


def compiled(traced: torch.fx.GraphModule, example: Sequence[Tensor]) -> Callable[..., Any]:
    """The graph as machine code, taken from the cache folder where an earlier process left it there."""
    import torch._inductor

    options = {"config_patches": {"compile_threads": 1}}  # no pool of processes that outlives the compiling
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
