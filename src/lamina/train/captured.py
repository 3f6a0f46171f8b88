"""A function of tensors as one graph: what it computes is written down once, and from then on run by TorchScript's interpreter.

Where networks are small, most of a step is Python, modules and autograd between one operation and the next; in the graph none of
them is left, and gradients are operations like any other (`torch.fx.experimental.proxy_tensor.make_fx`). The kernels are the same
ones. What is written down is what was done at the first call, so the first two calls of each kind are compared with the function
itself, and a function that the graph does not repeat is called as it is.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

KINDS = 4
"""Kinds of arguments (shapes, types) that a graph is made for; of others, the function is called."""
COMPARED = 2
"""Calls of each kind that are compared with the function."""
RELATIVE, ABSOLUTE = 1e-3, 1e-5

Function = Callable[..., tuple[Tensor, ...]]


class Captured:
    """`function(*tensors)` -> tensors, faster. It may ask `modules`, whose weights are those of the time of each call,
    and take gradients of them; it draws nothing at random, and does the same whatever the values are.

    On a GPU it is the function itself.
    """

    def __init__(self, function: Function, modules: Sequence[nn.Module] = ()) -> None:
        self.holder = Holder(function, modules)
        self.graphs: dict[Any, Graph | None] = {}
        self.compiled = False
        """Whether graphs are compiled (torch.compile): faster still, after a while of compiling, and in other bits."""

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        kind = tuple((t.shape, t.dtype) for t in tensors), self.holder.modes(), torch.is_autocast_enabled("cpu")
        if kind not in self.graphs:
            capturable = len(self.graphs) < KINDS and all(t.device.type == "cpu" for t in tensors)
            self.graphs[kind] = graph_of(self.holder, tensors, self.compiled) if capturable else None
        graph = self.graphs[kind]
        if graph is None:
            return self.holder(*tensors)
        if graph.compared < COMPARED:
            said = graph.beside(self.holder, tensors)
            if said is None:
                self.graphs[kind] = None
                return self.holder(*tensors)
            return said
        return graph(*tensors)


class Holder(nn.Module):
    """A function as a module whose weights are those of the modules that it asks."""

    def __init__(self, function: Function, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.function = function
        self.modules_asked = nn.ModuleList(modules)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return self.function(*tensors)

    def modes(self) -> tuple[bool, ...]:
        return tuple(module.training for module in self.modules_asked)


class Graph:
    """One graph, and the places where its weights stand."""

    def __init__(
        self, run: Callable[..., Any], places: list[tuple[dict[str, Any], str]], buffers: list[tuple[dict[str, Any], str]]
    ) -> None:
        self.run, self.places, self.buffers = run, places, buffers
        self.compared = 0

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        # As it is written: what the interpreter finds in its second call to do otherwise ends in other bits than its first.
        with torch.no_grad(), plain(), torch.jit.optimized_execution(False):
            return self.run(*[owner[name] for owner, name in self.places], *tensors)

    def beside(self, function: nn.Module, tensors: Sequence[Tensor]) -> tuple[Tensor, ...] | None:
        """What the graph says; None where the function says or does something else, and all is as it was before."""
        buffers = [owner[name] for owner, name in self.buffers]
        before = [b.clone() for b in buffers]
        expected = [t.detach() for t in function(*tensors)] + [b.clone() for b in buffers]
        restore(buffers, before)
        said = self(*tensors)
        if not all(torch.allclose(a, b, RELATIVE, ABSOLUTE, True) for a, b in zip([*said, *buffers], expected, strict=True)):
            restore(buffers, before)
            return None
        self.compared += 1
        return said


def plain() -> contextlib.AbstractContextManager[Any]:
    """Casts are operations of the graph; it needs no others."""
    return torch.autocast("cpu", enabled=False) if torch.is_autocast_enabled("cpu") else contextlib.nullcontext()


@torch.no_grad()
def restore(buffers: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for buffer, value in zip(buffers, values, strict=True):
        buffer.copy_(value)


def graph_of(holder: Holder, tensors: Sequence[Tensor], compiled: bool = False) -> Graph | None:
    """The graph of a call; None where it has none, such as where a branch depends on a value."""
    from torch.fx.experimental.proxy_tensor import make_fx

    weights, buffers = places_of(holder, "_parameters"), places_of(holder, "_buffers")
    names = [name for name, _, _ in (*weights, *buffers)]
    places = [(owner, key) for _, owner, key in (*weights, *buffers)]
    values = [owner[key] for owner, key in places]
    changing = [(owner, key) for _, owner, key in buffers]
    kept = [owner[key].clone() for owner, key in changing]

    def called(*flat: Tensor) -> tuple[Tensor, ...]:
        return torch.func.functional_call(holder, dict(zip(names, flat, strict=False)), flat[len(names) :])

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript tells of its successors at every call
            made = make_fx(called)(*values, *tensors)
            simplify(made.graph)
            made.recompile()
            if compiled:
                return Graph(torch.compile(made, dynamic=False), places, changing)
            with torch.no_grad(), plain():
                script: Any = torch.jit.trace(made, (*[v.detach() for v in values], *tensors), check_trace=False)
    except Exception:  # whatever a function does that no graph can: it is called as it is
        return None
    finally:
        restore([owner[key] for owner, key in changing], kept)
    return Graph(script.forward, places, changing)


def simplify(graph: fx.Graph) -> None:
    """The same values by fewer operations: what is computed twice is computed once (autograd asks again for what the forward pass
    had), and what only mattered to autograd, or is undone at once, is left out."""
    aten = torch.ops.aten
    calls = [node for node in graph.nodes if node.op == "call_function"]
    changed = {source_of(one) for node in calls if is_mutable(node) for one in node.all_input_nodes}
    known: dict[tuple[Any, str, str], fx.Node] = {}
    for node in calls:
        given = node.args[0] if node.args else None
        if node.target is aten.detach.default:
            same = given
        elif node.target is aten.t.default and isinstance(given, fx.Node) and given.target is aten.t.default:
            same = given.args[0]
        elif is_mutable(node) or changed & {source_of(one) for one in (node, *node.all_input_nodes)}:
            continue  # what changes in between is not the same twice
        else:
            same = known.setdefault((node.target, repr(node.args), repr(node.kwargs)), node)
        if isinstance(same, fx.Node) and same is not node:
            node.replace_all_uses_with(same)
            graph.erase_node(node)
    graph.eliminate_dead_code()


def is_mutable(node: fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def source_of(node: Any) -> Any:
    """Whose memory a node is, or may be, a view of."""
    while isinstance(node, fx.Node) and node.op == "call_function" and not owns(node):
        node = node.args[0]
    return node


def owns(node: fx.Node) -> bool:
    """Whether the node's value is memory of its own."""
    return isinstance(node.target, torch._ops.OpOverload) and all(r.alias_info is None for r in node.target._schema.returns)


def places_of(holder: nn.Module, kind: str) -> list[tuple[str, dict[str, Any], str]]:
    """(name, the dictionary that holds it, its key there) of every parameter or buffer, those that are shared once."""
    found: dict[int, tuple[str, dict[str, Any], str]] = {}
    for prefix, module in holder.named_modules():
        owner = getattr(module, kind)
        for key, value in owner.items():
            if value is not None and id(value) not in found:
                found[id(value)] = f"{prefix}.{key}" if prefix else key, owner, key
    return list(found.values())
