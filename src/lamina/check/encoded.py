"""What `encode` gives: the declared inputs, from each row alone, and for clients from what they send."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lamina.check.problem import Broken
from lamina.check.walk import Walk, overlap, same, same_dicts, seeded
from lamina.data.columns import length
from lamina.leaf import per_column
from lamina.task import Batch, Input, Task


def has_declared_dims(walk: Walk) -> None:
    walk.seen["encode"] = described(walk.batch)
    found: dict[str, int] = {}
    for spec in walk.task.inputs:
        if wrong := wrong_dims(spec, walk.batch[spec.name], walk.task.sizes, found):
            walk.problem(
                "wrong-dims", f"expected input {spec.name!r} to be ({', '.join(map(str, spec.dims))}); {wrong}", method="encode"
            )


def described(batch: Batch) -> str:
    return ", ".join(f"{n} {str(t.dtype).removeprefix('torch.')} {tuple(t.shape)}" for n, t in batch.items())


def wrong_dims(spec: Input, value: Tensor, sizes: dict[str, tuple[int, int]], found: dict[str, int]) -> str | None:
    """How the shape breaks the declaration, or None. `found` gathers the sizes of varying dimensions over the inputs."""
    got = f"got shape {tuple(value.shape)}"
    if value.dim() != len(spec.dims):
        return got
    for dim, size in zip(spec.dims, value.shape, strict=True):
        if isinstance(dim, int):
            if dim != size:
                return got
            continue
        if found.setdefault(dim, size) != size:
            return f"{got}, but {dim} is {found[dim]} in another input"
        low, high = sizes.get(dim, (0, size))
        if dim != "B" and not low <= size <= high:
            return f"{got}, but sizes says that {dim} is from {low} to {high}"
    return None


def has_declared_dtype(walk: Walk) -> None:
    for spec in walk.task.inputs:
        got = str(walk.batch[spec.name].dtype).removeprefix("torch.")
        if got != spec.dtype:
            walk.problem(
                "wrong-dtype", f"expected input {spec.name!r} to be {spec.dtype}, as declared", f"got {got}", method="encode"
            )


def lies_in_range(walk: Walk) -> None:
    """Training rows, and for anything but tables, whose bounds are those of the training data, other rows too."""
    for spec in walk.task.inputs:
        if wrong := out_of_range(spec, walk.batch[spec.name]):
            walk.problem("input-out-of-range", wrong, method="encode")
    for part in (walk.data.valid, walk.data.test):
        if length(part) == 0:
            continue
        batch = walk.encoded(first(part), "evaluate", "on rows of another part than train")
        for spec in walk.task.inputs:
            if spec.modality != "table" and (wrong := out_of_range(spec, batch[spec.name])):
                walk.problem("input-out-of-range", wrong, method="encode")


def first(part: Any) -> Any:
    return {
        name: column[:4] if isinstance(column, list) else [column[i] for i in range(min(4, len(column)))]
        for name, column in part.items()
    }


def out_of_range(spec: Input, value: Tensor) -> str | None:
    """How the values break `low` and `high`, or None."""
    x = value.double()
    if spec.modality != "table" and bool(torch.isnan(x).any()):
        return f"expected numbers in input {spec.name!r}; got NaN, which only a table may hold"
    if bool(torch.isinf(x).any()):
        return f"expected finite numbers in input {spec.name!r}; got infinity"
    slack = 1e-6 * x.nan_to_num().abs().max() if x.numel() else 0.0
    for bound, sign, what in ((spec.low, -1, "at least low"), (spec.high, 1, "at most high")):
        if bound is None:
            continue
        over = sign * (x - per_column(bound, x)) > slack
        if bool(over.any()):
            return f"expected input {spec.name!r} to be {what} = {bound}; got {float(x[over][0]):g}"
    return None


def is_not_random(walk: Walk) -> None:
    for mode, columns in (("evaluate", walk.rows), ("predict", asked(walk.task, walk.rows))):
        if mode == "predict" and serving_fails(walk):
            continue
        with seeded(1):
            one = walk.encoded(columns, mode)
        with seeded(2):
            two = walk.encoded(columns, mode)
        if (name := same_dicts(one, two)) is not None:
            advice = "where evaluating must draw, seed by the content of the row"
            walk.problem(
                "encode-random",
                f"expected the same rows to be encoded the same with mode {mode!r}; batch[{name!r}] differs: {advice}",
                method="encode",
            )


def ignores_neighbours(walk: Walk) -> None:
    if walk.found("encode-random"):
        raise Broken
    for i, single in enumerate(walk.alone):
        for name, value in single.items():
            if name not in walk.batch or not overlap(value, walk.batch[name][i : i + 1]):
                want = f"expected batch[{name!r}] of a row to be the same alone and among {walk.count} rows, up to padding"
                walk.problem("encode-depends-on-neighbours", f"{want}; row {i} differs", method="encode")
                return


def asked(task: Task, columns: dict[str, Any]) -> dict[str, Any]:
    return {name: columns[name] for name in task.asks if name in columns}


def serving_fails(walk: Walk) -> bool:
    """Whether encode cannot do with what a client sends; noted."""
    if walk.found("labels-needed-at-serving", "asks-missing"):
        return True
    _ = walk.batch
    task = walk.task
    try:
        task.encode(asked(task, walk.rows), "predict")
    except Exception as error:
        want = f"expected encode with mode 'predict' to work from {task.asks} alone"
        walk.problem("labels-needed-at-serving", f"{want}", f"{walk.told(error)}: leave labels out in that mode", method="encode")
        return True
    return False


def serves(walk: Walk) -> None:
    if serving_fails(walk):
        raise Broken
    served = walk.encoded(asked(walk.task, walk.rows), "predict")
    if walk.found("encode-random"):
        raise Broken
    for spec in walk.task.inputs:
        if spec.modality != "side" and not same(served[spec.name], walk.batch[spec.name]):
            want = f"expected input {spec.name!r} to be the same with modes 'predict' and 'evaluate'"
            walk.problem(
                "serving-skew", f"{want}", "it differs: what clients send must be encoded as what was evaluated", method="encode"
            )


def tells_pieces(walk: Walk) -> None:
    """Where a task tells what its tokens stand for, there is one piece a token, in the order of the text and inside it."""
    spec, task = walk.task.inputs[0], walk.task
    if spec.modality != "text" or spec.dtype != "int64" or serving_fails(walk):
        return
    columns = asked(task, walk.rows)
    try:
        told = task.pieces(columns)
    except Exception as error:
        walk.problem("pieces-differ", "expected pieces to take what a client sends", walk.told(error), method="pieces")
        return
    if told is None:
        return
    x_BT = walk.encoded(columns, "predict")[spec.name]
    if len(told) != len(x_BT):
        walk.problem("pieces-differ", f"expected pieces of {len(x_BT)} texts; got {len(told)}", method="pieces")
        return
    for row, (pieces, text) in enumerate(zip(told, columns[task.asks[0]], strict=True)):
        tokens = int((x_BT[row] != 0).sum())
        if len(pieces) != tokens:
            walk.problem("pieces-differ", f"expected a piece for each of the {tokens} tokens of row {row}; got {len(pieces)}",
                         "padding (id 0) has none; beginning and end have an empty one", method="pieces")  # fmt: skip
            return
        ends = [(start, end) for _, start, end in pieces if start < end]
        if any(end > len(str(text)) or start < 0 for start, end in ends) or ends != sorted(ends):
            walk.problem("pieces-differ", f"expected the pieces of row {row} in the order of its text, and inside it",
                         f"got {ends[:8]} of {len(str(text))} characters", method="pieces")  # fmt: skip
            return


CHECKS = (has_declared_dims, has_declared_dtype, lies_in_range, is_not_random, ignores_neighbours, serves, tells_pieces)
