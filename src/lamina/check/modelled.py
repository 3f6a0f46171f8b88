"""The module: what it is built from, what its output looks like, and what it may depend on."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from lamina.check.problem import Broken
from lamina.check.walk import Walk, overlap, row, same, same_dicts, seeded, word
from lamina.errors import LaminaError
from lamina.export.graph import varying
from lamina.leaf import leaf, stands_by_embedding
from lamina.task import Input

_watching: list[tuple[int, list[str]]] = []
"""(thread, what it opened): filled by the audit hook, which Python cannot remove and which is therefore installed once."""
_installed: list[bool] = []
CODE = (".py", ".pyc", ".so", ".pyd", ".dylib", ".dll")


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if _watching and event in ("open", "socket.connect", "socket.getaddrinfo"):
        name = str(args[0] if event == "open" else args[-1])
        for thread, opened in _watching:
            if thread == threading.get_ident() and not name.endswith(CODE):
                opened.append(name)


@contextmanager
def opened_files() -> Iterator[list[str]]:
    """Files and addresses that this thread opens inside, imports left out."""
    if not _installed:
        sys.addaudithook(_hook)
        _installed.append(True)
    entry: tuple[int, list[str]] = (threading.get_ident(), [])
    _watching.append(entry)
    try:
        yield entry[1]
    finally:
        _watching.remove(entry)


def reads_no_files(walk: Walk) -> None:
    with opened_files() as opened:
        walk.fresh()
    under = (sys.prefix, sys.base_prefix, "/proc/", "/sys/", "/dev/")  # libraries and the system look about on first use
    opened = [name for name in opened if not name.startswith(under) and not name.isdigit()]
    if opened:
        walk.problem(
            "model-reads-files", "expected model to read no file", f"it opened {opened[0]}: load weights in init", method="model"
        )


def runs_on_meta(walk: Walk) -> None:
    _ = walk.output  # a model that does not run at all is another problem
    advice = "make tensors in the constructor, and no decisions on their values in forward"
    try:
        with torch.device("meta"):
            model = walk.task.model().eval()
        stray = [n for n, t in [*model.named_parameters(), *model.named_buffers()] if not t.is_meta]
        if stray:
            want = "expected model to build under torch.device('meta')"
            walk.problem(
                "not-on-meta",
                f"{want}; {stray[0]} is on another device: make it with torch.tensor or torch.empty",
                method="model",
            )
            return
        with torch.no_grad():
            walk.task.outputs(model, {name: value.to("meta") for name, value in walk.batch.items()})
    except Exception as error:
        walk.problem(
            "not-on-meta", "expected model to build and run on the meta device", f"{walk.told(error)}: {advice}", method="model"
        )


def keeps_reserved_keys(walk: Walk) -> None:
    walk.seen["output"] = ", ".join(f"{name} {tuple(value.shape)}".strip() for name, value in walk.output.items())
    for name in ("logits", "features"):
        value = walk.output.get(name)
        if value is not None and value.dim() != 2:
            want = f"expected output[{name!r}] to be (B, {'K' if name == 'logits' else 'D'})"
            advice = "name it otherwise, or pool it"
            walk.problem("reserved-logits", f"{want}; got {tuple(value.shape)}: {advice}", method="model")


def is_finite(walk: Walk) -> None:
    for name, value in walk.output.items():
        if value.is_floating_point() and bool(torch.isnan(value).any()):
            walk.problem(
                "output-not-finite",
                f"expected numbers in output {name}; got NaN for rows that encode took from the data",
                method="model",
            )


def is_settled(walk: Walk) -> None:
    with seeded(1):
        one = walk.said(walk.batch)
    with seeded(2):
        two = walk.said(walk.batch)
    if (name := same_dicts(one, two)) is not None:
        want = "expected the same output twice in evaluation mode"
        walk.problem("random-at-evaluation", f"{want}; output {name} differs: draw only when self.training", method="model")


def keeps_rows_apart(walk: Walk) -> None:
    if walk.found("random-at-evaluation"):
        raise Broken
    for i in range(walk.count):
        single = walk.said(row(walk.batch, i), "on one row")
        if (name := same_dicts(single, row(walk.output, i))) is not None:
            want = "expected a row's output not to depend on the other rows in evaluation mode"
            walk.problem("rows-leak", f"{want}; output {name} of row {i} differs when it is alone", method="model")
            return


def uses_inputs(walk: Walk) -> None:
    """An input is rolled by a row, or lengths are set to one: something must change."""
    if walk.found("random-at-evaluation") or walk.count < 2:
        raise Broken
    for spec in walk.task.inputs:
        value = walk.batch[spec.name]
        lengths = is_lengths(spec)
        other = torch.ones_like(value) if lengths else value.roll(1, 0)
        if same(other, value):
            continue
        batch = {**walk.batch, spec.name: other}
        said = walk.said(batch, f"with other values of {spec.name!r}")
        if same_dicts(said, walk.output) is not None:
            continue
        if lengths and losses_differ(walk, batch):
            continue
        want = f"expected the model to use its input {spec.name!r}"
        if lengths:
            walk.problem(
                "ignored-lengths",
                f"{want}; nothing changes when every length is 1: mask what lies beyond the length",
                method="model",
            )
        else:
            walk.problem("ignored-input", f"{want}; the output is the same when its rows are exchanged", method="model")


def is_lengths(spec: Input) -> bool:
    return spec.modality == "side" and spec.dims == ("B",) and spec.dtype.startswith("int")


def losses_differ(walk: Walk, batch: dict[str, Tensor]) -> bool:
    one, two = walk.losses(walk.output, walk.batch), walk.losses(walk.output, batch)
    return any(not same(a, b) for name in one for a, b in zip(one[name], two[name], strict=True))


def ignores_padding(walk: Walk) -> None:
    """Each example alone, at its own size, against the same example in the padded batch."""
    walk.losses(walk.output, walk.batch)  # what is wrong with a whole batch is not the padding
    if not varying(walk.task) or walk.found(
        "random-at-evaluation", "ignored-lengths", "encode-depends-on-neighbours", "encode-random"
    ):
        raise Broken
    for i, single in enumerate(walk.alone):
        padded = row(walk.batch, i)
        if all(single[s.name].shape == padded[s.name].shape for s in walk.task.inputs):
            continue
        name = walk.task.inputs[0].name
        shapes = f"{tuple(single[name].shape[1:])} alone, {tuple(padded[name].shape[1:])} padded"
        alone, company = walk.said(single, "on one example without padding"), walk.said(padded, "on one row")
        for name, value in alone.items():
            if not overlap(value, company[name]):
                want = "expected an example to have the same output alone as in a padded batch"
                reason = f"{want}; output {name} differs ({shapes}): mask the padding"
                walk.problem("padding-leaks", reason, method="model")
                return
        ours, theirs = walk.losses(alone, single), walk.losses(company, padded)
        for name in ours:
            for what, a, b in zip(("total", "count"), ours[name], theirs[name], strict=True):
                if not same(a, b):
                    want = f"expected an example to have the same {what} of its loss alone as in a padded batch"
                    walk.problem("padding-leaks", f"{want}", f"got {float(a):.4g} and {float(b):.4g} ({shapes})", method="loss")
                    return


def stands_for_codes(walk: Walk) -> None:
    """The submodule that `embed` names exists, runs once, and can be replaced."""
    task = walk.task
    _ = walk.output
    try:
        stands = stands_by_embedding(task)
    except LaminaError as error:
        walk.problem("embed-undeclared", str(error), method="embed")
        return
    if task.embed is None:
        return
    try:
        module = walk.model.get_submodule(task.embed)
    except AttributeError:
        names = [n for n, _ in walk.model.named_children()]
        walk.problem(
            "embed-missing", f"expected embed to name a submodule of the model ({names}, ...); got {task.embed!r}", method="embed"
        )
        return
    said: list[Any] = []
    handle = module.register_forward_hook(lambda _m, _i, value: said.append(value))
    try:
        walk.said(walk.batch)
    finally:
        handle.remove()
    if len(said) != 1:
        want = f"expected the submodule {task.embed!r} to run exactly once in a forward, as a call (not through .weight)"
        walk.problem("embedding-called-twice", f"{want}; it ran {len(said)} times", method="model")
    elif stands and not (isinstance(said[0], Tensor) and said[0].dim() > 0 and len(said[0]) == walk.count):
        walk.problem(
            "embed-missing",
            f"expected the submodule {task.embed!r} to return one tensor (B, ...); got {word(said[0])}",
            method="embed",
        )


def has_leaf(walk: Walk) -> None:
    if walk.found("embed-undeclared", "embed-missing", "embedding-called-twice", "random-at-evaluation", "output-not-finite"):
        raise Broken
    _ = walk.output
    try:
        x, forward = leaf(walk.task, walk.model, walk.batch)
        output = forward(x)
    except Exception as error:
        want = "expected the model to take inputs[0] as floats in raw units, or what embed gives"
        walk.problem("leaf-differs", f"{want}; {walk.told(error)}", method="model")
        return
    said = output if isinstance(output, dict) else {"": output}
    if (name := same_dicts({n: v.detach() for n, v in said.items()}, walk.output)) is not None:
        want = "expected the same output from floats in raw units as from the input"
        walk.problem("leaf-differs", f"{want}; output {name} differs: decide by values, not by dtype", method="model")
        return
    floats = [v for v in said.values() if v.is_floating_point() and v.requires_grad]
    got = (
        torch.autograd.grad(torch.stack([v.double().square().sum() for v in floats]).sum(), x, allow_unused=True)[0]
        if floats
        else None
    )
    if got is None:
        want = f"expected a gradient from the output to input {walk.task.inputs[0].name!r}"
        walk.problem("leaf-differs", f"{want}", "none reaches it: no .detach(), no cast to integers on the way", method="model")


CHECKS = (
    reads_no_files, keeps_reserved_keys, is_finite, is_settled, keeps_rows_apart, uses_inputs, ignores_padding,
    stands_for_codes, has_leaf, runs_on_meta,
)  # fmt: skip
