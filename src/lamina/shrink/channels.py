"""Which channels of a network stand and fall together, read off its exported graph.

Every index of every dimension of every parameter and buffer starts as a group of its own. The graph is walked once, each
value carrying, a dimension, the group of each of its indices; an operation that lines two dimensions up joins their
groups (a convolution's inputs with the outputs before it, both sides of a residual sum, a norm's scale with the
channels it scales, a flattened picture's pixels with their channel). Depgraph (Fang et al. 2023, "DepGraph: Towards Any
Structural Pruning") groups layers; here single indices are joined, so that concatenation, chunks and flattening need no
cases of their own.

An operation that mixes indices (layer normalization, softmax, a head of attention), that fixes them (the answer), or that
is not known here freezes the groups that enter it: they are never removed. So what is removed is exactly what the
network can do without: the outputs of the smaller network are those of the whole one whose removed columns are zero.

Legend: shapes stand in the comments of each operation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, fx, nn

from lamina.errors import LaminaError

Labels: TypeAlias = "list[np.ndarray | None]"
"""Of each dimension of a value: the group of each index, or None where the dimension has none."""

Place: TypeAlias = tuple[str, int]
"""A dimension of a parameter or buffer: its name, and which dimension."""

UNARY = [
    "relu",
    "gelu",
    "silu",
    "elu",
    "leaky_relu",
    "sigmoid",
    "tanh",
    "hardtanh",
    "hardswish",
    "softplus",
    "dropout",
    "to",
    "_to_copy",
    "clone",
    "contiguous",
    "detach",
    "detach_",
    "alias",
    "lift_fresh_copy",
    "neg",
    "abs",
    "square",
    "sqrt",
    "rsqrt",
    "exp",
    "clamp",
    "relu_",
    "feature_dropout",
    "mish",
    "_assert_tensor_metadata",
]
BINARY = ["add", "sub", "mul", "div", "maximum", "minimum", "add_", "mul_"]
REDUCE = ["mean", "sum", "amax", "amin", "logsumexp"]
POOL = [
    "max_pool2d",
    "avg_pool2d",
    "adaptive_avg_pool2d",
    "adaptive_max_pool2d",
    "max_pool1d",
    "avg_pool1d",
    "adaptive_avg_pool1d",
]


@dataclass(frozen=True)
class Channels:
    """The groups of a network that may be removed. G groups; `group` holds -1 where an index may not go."""

    count: int
    group: dict[Place, np.ndarray]
    """The group of each index of a dimension."""
    consumers: frozenset[Place]
    """Dimensions over which a layer sums: zero there, and the channels before are without effect."""
    producers: frozenset[Place]
    """Dimensions that hold one filter an index."""
    scales: frozenset[Place]
    """The scales of batch norms."""
    layers: tuple[tuple[str, int], ...]
    """(weight, multiplications and additions for one example) of each use of a layer."""


class Walk:
    """One pass over the graph; `parent` and `frozen` are a union-find over groups."""

    def __init__(self) -> None:
        self.parent: list[int] = []
        self.frozen: list[bool] = []
        self.of: dict[Place, np.ndarray] = {}
        self.consumers: set[Place] = set()
        self.producers: set[Place] = set()
        self.scales: set[Place] = set()
        self.layers: list[tuple[str, int]] = []

    def fresh(self, name: str, tensor: Tensor) -> Labels:
        """New groups for every dimension of the tensor called `name`."""
        for dim, size in enumerate(tensor.shape):
            start = len(self.parent)
            self.parent += range(start, start + size)
            self.frozen += [False] * size
            self.of[name, dim] = np.arange(start, start + size)
        return [self.of[name, dim] for dim in range(tensor.ndim)]

    def root(self, group: int) -> int:
        while self.parent[group] != group:
            self.parent[group] = self.parent[self.parent[group]]
            group = self.parent[group]
        return group

    def freeze(self, *labels: np.ndarray | None) -> None:
        for dimension in labels:
            for group in dimension if dimension is not None else ():
                self.frozen[self.root(int(group))] = True

    def join(self, one: np.ndarray | None, other: np.ndarray | None) -> np.ndarray | None:
        """Index by index the same group. A dimension without groups, or of another size, holds the other one fast."""
        if one is None or other is None or len(one) != len(other):
            self.freeze(one, other)
            return one if other is None else other
        for a, b in zip(one, other, strict=True):
            a, b = self.root(int(a)), self.root(int(b))
            if a != b:
                self.parent[b] = a
                self.frozen[a] = self.frozen[a] or self.frozen[b]
        return one


def channels_of(model: nn.Module, inputs: Sequence[Tensor]) -> Channels:
    """The groups of channels of `model`, which is evaluating, from one example in a batch of two (`inputs`).

    Raises LaminaError where torch.export does not take the model, or nothing of it may be removed.
    """
    try:
        with torch.no_grad():
            program = torch.export.export(model, tuple(inputs))
    except Exception as error:  # of many kinds
        told = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise LaminaError(f"--method prune-channels: expected torch.export to take the model; {told}") from error
    walk = Walk()
    signature = program.graph_signature
    named = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    known = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    values: list[Any] = []
    for node in (n for n in program.graph.nodes if n.op == "placeholder"):
        name = named.get(node.name)
        values.append(Parameter(name, walk.fresh(name, known[name])) if name in known else unlabelled(node))
    said = follow(walk, program.graph_module, values)
    output = torch.utils._pytree.tree_unflatten(said, program.call_spec.out_spec)  # type: ignore[arg-type]
    for key, labels in output.items() if isinstance(output, dict) else [("", output)]:
        frozen = labels if key != "features" else [labels[0]]  # its width D may be any
        walk.freeze(*(d for one in ([frozen] if is_labels(frozen) else frozen) for d in one))
    return collected(walk)


@dataclass(frozen=True)
class Parameter:
    """The value of a parameter or buffer: its groups, and its name."""

    name: str
    labels: Labels


def unlabelled(node: fx.Node) -> Any:
    value = node.meta.get("val")
    if isinstance(value, (list, tuple)):
        return [[None] * v.ndim for v in value]
    return [None] * value.ndim if isinstance(value, Tensor) else None


def is_labels(value: Any) -> bool:
    return isinstance(value, list) and all(d is None or isinstance(d, np.ndarray) for d in value)


def labels_of(value: Any) -> Labels:
    return value.labels if isinstance(value, Parameter) else value


def collected(walk: Walk) -> Channels:
    """The groups that may go: none of their members frozen, and some layer or the features read them."""
    read = {walk.root(int(g)) for place in walk.consumers for g in walk.of[place]}
    free = sorted(root for root in read if not walk.frozen[root])
    if not free:
        raise LaminaError(
            "--method prune-channels: expected channels that the network can do without; every one is tied to the answer"
        )
    number = {root: i for i, root in enumerate(free)}
    group = {place: np.array([number.get(walk.root(int(g)), -1) for g in labels]) for place, labels in walk.of.items()}
    held = {place: groups for place, groups in group.items() if (groups >= 0).any()}
    reading, made, scales = (frozenset(p for p in side if p in held) for side in (walk.consumers, walk.producers, walk.scales))
    return Channels(len(free), held, reading, made, scales, tuple(walk.layers))


def follow(walk: Walk, graph: fx.GraphModule, values: Sequence[Any]) -> list[Any]:
    """Walk `graph` with the groups of its inputs; returns those of its outputs."""
    env: dict[fx.Node, Any] = {}
    incoming = iter(values)
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            env[node] = next(incoming)
        elif node.op == "get_attr":
            env[node] = (
                getattr(graph, node.target) if isinstance(getattr(graph, node.target), fx.GraphModule) else unlabelled(node)
            )
        elif node.op == "output":
            return [labels_of(env[n]) if isinstance(n, fx.Node) else [] for n in node.args[0]]
        else:
            env[node] = step(walk, node, fx.map_arg(node.args, lambda n: env[n]))
    return []


def step(walk: Walk, node: fx.Node, args: Sequence[Any]) -> Any:
    """The groups of one operation's result."""
    name = str(node.target).removeprefix("aten.").split(".")[0] if str(node.target).startswith("aten.") else node.target
    if name in OPERATIONS:
        return OPERATIONS[name](walk, node, args)
    if getattr(name, "__name__", "") == "getitem":
        return args[0][args[1]]
    if getattr(name, "__name__", str(name)) == "wrap_with_autocast":  # (device, dtype, enabled, cache, graph, *inputs)
        return follow(walk, args[4], args[5:])
    for value in flat(args):  # not known here: what enters it stays as it is
        walk.freeze(*labels_of(value))
    return unlabelled(node)


def flat(args: Any) -> list[Any]:
    """All values with groups among arguments."""
    found = []
    for value in args:
        if isinstance(value, Parameter) or is_labels(value):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += flat(value)
    return found


def shape_of(node: Any) -> torch.Size:
    return node.meta["val"].shape


def same(walk: Walk, node: fx.Node, args: Sequence[Any]) -> Labels:
    return list(labels_of(args[0]))


def binary(walk: Walk, node: fx.Node, args: Sequence[Any]) -> Labels:
    """Broadcasting: the last dimensions line up; one of size 1 takes any."""
    sides = [(labels_of(a), shape_of(n)) for a, n in zip(args[:2], node.args[:2], strict=True) if isinstance(n, fx.Node)]
    if len(sides) == 1:
        return list(sides[0][0])
    made: Labels = []
    for back in range(1, len(shape_of(node)) + 1):
        there = [(labels[-back], shape[-back]) for labels, shape in sides if len(shape) >= back]
        wide = [labels for labels, size in there if size > 1] or [None]
        made.append(wide[0] if len(wide) == 1 else walk.join(*wide))
    return made[::-1]


def linear(walk: Walk, node: fx.Node, args: Sequence[Any]) -> Labels:
    """(..., I) and a weight (O, I) -> (..., O)."""
    x, weight = labels_of(args[0]), args[1]
    out, taken = labels_of(weight)
    consume(walk, x[-1], weight, 1, taken)
    if isinstance(weight, Parameter):
        walk.producers.add((weight.name, 0))
        walk.layers.append((weight.name, 2 * math.prod(shape_of(node)[1:]) * shape_of(node.args[0])[-1]))
    if len(args) > 2 and args[2] is not None:
        walk.join(out, labels_of(args[2])[0])
    return [*x[:-1], out]


def consume(walk: Walk, x: np.ndarray | None, weight: Any, dim: int, taken: np.ndarray | None) -> None:
    """A sum over channels: the groups of `x` are those of the weight's columns, which only a parameter can lose."""
    walk.join(x, taken)
    if isinstance(weight, Parameter):
        walk.consumers.add((weight.name, dim))
    else:
        walk.freeze(x)


def convolution(walk: Walk, node: fx.Node, args: Sequence[Any]) -> Labels:
    """(B, I, ...) and a weight (O, I / groups, ...) -> (B, O, ...)."""
    x, weight = labels_of(args[0]), args[1]
    out, taken, *kernel = labels_of(weight)
    groups = args[6] if len(args) > 6 else 1
    walk.freeze(*kernel, *x[2:])
    if groups == 1:
        consume(walk, x[1], weight, 1, taken)
    else:
        walk.freeze(taken)
        if groups == shape_of(node.args[0])[1] == shape_of(node)[1]:  # one filter a channel
            walk.join(x[1], out)
        else:
            walk.freeze(x[1], out)
    if isinstance(weight, Parameter):
        walk.producers.add((weight.name, 0))
        walk.layers.append((weight.name, 2 * math.prod(shape_of(node)[1:]) * math.prod(shape_of(node.args[1])[1:])))
    if len(args) > 2 and args[2] is not None:
        walk.join(out, labels_of(args[2])[0])
    return [x[0], out, *[None] * len(kernel)]


def batch_norm(walk: Walk, node: fx.Node, args: Sequence[Any]) -> Labels:
    """(B, C, ...) with scale, shift, mean and variance (C,)."""
    x = list(labels_of(args[0]))
    for value in args[1:5]:
        if value is not None:
            x[1] = walk.join(x[1], labels_of(value)[0])
    if isinstance(args[1], Parameter):
        walk.scales.add((args[1].name, 0))
    return x


def layer_norm(walk: Walk, node: fx.Node, args: Sequence[Any]) -> Labels:
    """Mean and variance over the last dimensions: none of their indices can go without changing the others."""
    for value in (list(labels_of(args[0]))[-len(args[1]) :], *(labels_of(a) for a in args[2:4] if a is not None)):
        walk.freeze(*value)
    return list(labels_of(args[0]))


def softmax(walk: Walk, node: fx.Node, args: Sequence[Any]) -> Labels:
    walk.freeze(labels_of(args[0])[args[1]])
    return list(labels_of(args[0]))


def reduce(walk: Walk, node: fx.Node, args: Sequence[Any]) -> Labels:
    """Over some dimensions, or all."""
    x = list(labels_of(args[0]))
    dims = args[1] if len(args) > 1 and args[1] is not None else list(range(len(x)))
    gone = {d % len(x) for d in ([dims] if isinstance(dims, int) else dims)} if x else set()
    walk.freeze(*(x[d] for d in gone))
    if len(shape_of(node)) == len(x):
        return [None if d in gone else labels for d, labels in enumerate(x)]
    return [labels for d, labels in enumerate(x) if d not in gone]


def pool(walk: Walk, node: fx.Node, args: Sequence[Any]) -> Labels:
    x = labels_of(args[0])
    walk.freeze(*x[2:])
    return [*x[:2], *[None] * (len(x) - 2)]


def permute(walk: Walk, node: fx.Node, args: Sequence[Any]) -> Labels:
    return [labels_of(args[0])[d] for d in args[1]]


def transpose(walk: Walk, node: fx.Node, args: Sequence[Any]) -> Labels:
    x = list(labels_of(args[0]))
    x[args[1]], x[args[2]] = x[args[2]], x[args[1]]
    return x


def reshape(walk: Walk, node: fx.Node, args: Sequence[Any]) -> Labels:
    """Dimensions merged, split, or of size 1 come and gone. A merged dimension repeats the groups of the one that had any."""
    x, before, after = labels_of(args[0]), shape_of(node.args[0]), shape_of(node)
    made: Labels = [None] * len(after)
    i = j = 0
    while i < len(before) or j < len(after):
        a, b = [i] if i < len(before) else [], [j] if j < len(after) else []
        i, j = i + len(a), j + len(b)
        while math.prod(before[d] for d in a) != math.prod(after[d] for d in b):
            if math.prod(before[d] for d in a) < math.prod(after[d] for d in b):
                a, i = [*a, i], i + 1
            else:
                b, j = [*b, j], j + 1
        wide = [d for d in b if after[d] > 1]
        held = [d for d in a if x[d] is not None and before[d] > 1]
        if len(wide) == 1 and len(held) == 1:
            sizes = [before[d] for d in a]
            along = [before[d] if d == held[0] else 1 for d in a]
            made[wide[0]] = np.broadcast_to(x[held[0]].reshape(along), sizes).reshape(-1)  # type: ignore[union-attr]
        else:
            walk.freeze(*(x[d] for d in a))
    return made


def expand(walk: Walk, node: fx.Node, args: Sequence[Any]) -> Labels:
    x, before, after = labels_of(args[0]), shape_of(node.args[0]), shape_of(node)
    new = len(after) - len(before)
    return [None] * new + [labels if before[d] == after[d + new] else None for d, labels in enumerate(x)]


def cat(walk: Walk, node: fx.Node, args: Sequence[Any]) -> Labels:
    parts, dim = [labels_of(a) for a in args[0]], (args[1] if len(args) > 1 else 0)
    made = list(parts[0])
    for d in range(len(made)):
        along = [part[d] for part in parts]
        if d != dim % len(made):
            for other in along[1:]:
                made[d] = walk.join(made[d], other)
        elif any(labels is None for labels in along):
            walk.freeze(*along)
            made[d] = None
        else:
            made[d] = np.concatenate(along)  # type: ignore[arg-type]
    return made


def chunk(walk: Walk, node: fx.Node, args: Sequence[Any]) -> list[Labels]:
    """Equal parts stay equal: the same index of every part stands and falls together."""
    x, parts, dim = labels_of(args[0]), args[1], (args[2] if len(args) > 2 else 0)
    labels = x[dim]
    if labels is None or len(labels) % parts:
        walk.freeze(labels)
        return [[labels_d if d != dim % len(x) else None for d, labels_d in enumerate(x)] for _ in node.meta["val"]]
    pieces = np.split(labels, parts)
    for piece in pieces[1:]:
        walk.join(pieces[0], piece)
    return [[labels_d if d != dim % len(x) else piece for d, labels_d in enumerate(x)] for piece in pieces]


def picked(walk: Walk, node: fx.Node, args: Sequence[Any]) -> Labels:
    """`select` takes a dimension away, `slice` shortens it: places in it are fixed from then on."""
    x, dim = list(labels_of(args[0])), args[1] if len(args) > 1 else 0
    shorter = shape_of(node) != shape_of(node.args[0])
    if shorter:
        walk.freeze(x[dim])
        x[dim] = None
    if len(shape_of(node)) < len(x):
        del x[dim]
    return x


def einsum(walk: Walk, node: fx.Node, args: Sequence[Any]) -> Labels:
    """The same letter is the same groups; a letter that is summed over needs a parameter that can lose its indices."""
    left, arrow, right = args[0].replace(" ", "").partition("->")
    operands = left.split(",")
    if not arrow or "." in left:
        for value in args[1]:
            walk.freeze(*labels_of(value))
        return unlabelled(node)
    by_letter: dict[str, np.ndarray | None] = {}
    for letters, value in zip(operands, args[1], strict=True):
        for letter, labels in zip(letters, labels_of(value), strict=True):
            by_letter[letter] = walk.join(by_letter[letter], labels) if letter in by_letter else labels
    for letter in set(by_letter) - set(right):
        held = [
            (v.name, ls.index(letter))
            for ls, v in zip(operands, args[1], strict=True)
            if isinstance(v, Parameter) and letter in ls
        ]
        walk.consumers.update(held)
        if not held:
            walk.freeze(by_letter[letter])
    sizes = dict(zip(left.replace(",", ""), (s for n in node.args[1] for s in shape_of(n)), strict=True))  # type: ignore[union-attr]
    for value in args[1]:
        if isinstance(value, Parameter):
            walk.layers.append((value.name, 2 * math.prod(size for letter, size in sizes.items() if letter != left[0])))
    return [by_letter[letter] for letter in right]


OPERATIONS: dict[Any, Callable[[Walk, fx.Node, Sequence[Any]], Any]] = {
    **dict.fromkeys(UNARY, same),
    **dict.fromkeys(BINARY, binary),
    **dict.fromkeys(REDUCE, reduce),
    **dict.fromkeys(POOL, pool),
    **dict.fromkeys(("softmax", "log_softmax"), softmax),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), convolution),
    **dict.fromkeys(("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze"), reshape),
    **dict.fromkeys(("select", "slice"), picked),
    "linear": linear,
    "batch_norm": batch_norm,
    "layer_norm": layer_norm,
    "permute": permute,
    "transpose": transpose,
    "expand": expand,
    "cat": cat,
    "chunk": chunk,
    "einsum": einsum,
}
