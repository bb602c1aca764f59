"""What an update does, as PyTorch's operations in their order; and doing them again without all else.

An eager update spends half of its time, where networks are small, on what is the same every time: Python, autograd's
bookkeeping, views of the same memory. Its operations are recorded once, gradients, optimisers and target networks
included, and called one after another from there on: the same operations on the same numbers, so the same results to
the bit.
"""

from __future__ import annotations

import operator
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node

from rlbench.rng import Draw, SeedStreams

Update = Callable[[Tensor], dict[str, Tensor]]


class Tape:
    """The operations of an update, from rows and random numbers to metrics.

    Args:
        update: from the rows of a minibatch to metrics; changes tensors in place. It runs twice, on made-up random
            numbers.
        rows: an example of a minibatch.

    Raises:
        RuntimeError: which operations it does depends on numbers that it computes.
    """

    def __init__(self, update: Update, rows: Tensor) -> None:
        from torch.fx.experimental.proxy_tensor import make_fx

        self.draws: list[Draw] = []
        """Of random numbers, in their order."""
        with SeedStreams.recorded(self.draws):
            self.names = list(update(rows))

        def functional(rows: Tensor, *noise: Tensor) -> list[Tensor]:
            with SeedStreams.replayed(noise):
                return list(update(rows).values())

        self.example = [rows, *(draw.example() for draw in self.draws)]
        """Of what the operations begin with."""
        self.operations: GraphModule = make_fx(functional)(*self.example)
        self.held = lift(self.operations)
        """The tensors that they also read and change, which stay where they are."""


def lift(operations: GraphModule) -> list[Tensor]:
    """Make inputs of the tensors that a graph holds, so that compiled code does not depend on their values."""
    graph = operations.graph
    last = [node for node in graph.nodes if node.op == "placeholder"][-1]
    held: dict[str, Node] = {}
    for node in [node for node in graph.nodes if node.op == "get_attr"]:
        if node.target not in held:
            with graph.inserting_after(last):
                last = held[node.target] = graph.placeholder(f"held_{len(held)}")
        node.replace_all_uses_with(held[node.target])
        graph.erase_node(node)
    operations.recompile()
    return [getattr(operations, name) for name in held]


class Playback:
    """The operations of a tape, done one after another on the CPU.

    Args:
        tape: of an update.
    """

    def __init__(self, tape: Tape) -> None:
        self.names, self.draws = tape.names, tape.draws
        rows, *noise = tape.example
        self.rows, self.noise = alike(rows), [each.clone() for each in noise]
        graph = tape.operations.graph
        inputs = [node for node in graph.nodes if node.op == "placeholder"]
        stays = dict(zip(inputs, [self.rows, *self.noise, *tape.held], strict=True))
        self.arguments = fold_views(graph, stays)
        for node in graph.nodes:
            node.target = direct(node.target)
        self.operations = GraphModule(torch.nn.Module(), graph)

    def draw(self) -> None:
        """The next random numbers."""
        for place, draw in zip(self.noise, self.draws, strict=True):
            draw.again(out=place)

    @torch.inference_mode()
    def run(self, rows: Tensor) -> dict[str, Tensor]:
        """The update with these rows and the random numbers that are there."""
        self.rows.copy_(rows)
        return dict(zip(self.names, self.operations.forward(*self.arguments), strict=True))

    def __call__(self, rows: Tensor) -> dict[str, Tensor]:
        self.draw()
        return self.run(rows)


def alike(rows: Tensor) -> Tensor:
    """Memory for such rows, laid out as they are: a product's last bit may depend on that."""
    return rows.new_empty_strided(rows.shape, rows.stride())


def identical(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are the same; what is no number equals itself."""
    return a.dtype == b.dtype and a.shape == b.shape and bool(((a == b) | (a != a) & (b != b)).all())


@torch.no_grad()
def fold_views(graph: Graph, stays: dict[Node, Any]) -> list[Any]:
    """Make inputs of the views of tensors that stay where they are: they need no operation.

    Args:
        graph: is changed.
        stays: its inputs, and what they are.

    Returns:
        What the graph's inputs are from now on.
    """
    for node in list(graph.nodes):
        if node.op == "call_function" and node.target in (torch.ops.aten.detach.default, torch.ops.aten.alias.default):
            node.replace_all_uses_with(node.args[0])
        elif gives_view(node) and all(source in stays for source in node.all_input_nodes):
            arguments, options = torch.fx.node.map_arg((node.args, node.kwargs), stays.__getitem__)
            stays[node] = node.target(*arguments, **options)
            with graph.inserting_before(next(iter(graph.nodes))):
                put = graph.placeholder(node.name)
            stays[put] = stays[node]
            node.replace_all_uses_with(put)
    graph.eliminate_dead_code()
    for node in [node for node in graph.nodes if node.op == "placeholder" and not node.users]:
        graph.erase_node(node)
    return [stays[node] for node in graph.nodes if node.op == "placeholder"]


def gives_view(node: Node) -> bool:
    """Whether an operation only shows a part of the memory of its inputs, or picks one of several such parts."""
    if node.target is operator.getitem:
        return True
    if not isinstance(node.target, torch._ops.OpOverload):
        return False
    schema = node.target._schema
    return not schema.is_mutable and any(value.alias_info is not None for value in schema.returns)


def direct(target: Any) -> Any:
    """PyTorch's own function for an operation where there is one: it is called in half the time."""
    if isinstance(target, torch._ops.OpOverload) and target.namespace == "aten":
        name = target._schema.name.removeprefix("aten::")
        for place, kind in ((torch, types.BuiltinFunctionType), (Tensor, types.MethodDescriptorType)):
            if isinstance(found := getattr(place, name, None), kind):
                return found
    return target
