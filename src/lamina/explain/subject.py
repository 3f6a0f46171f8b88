"""What is explained: examples, what the model said of them, and the function whose change is looked for.

`said` is frozen first: an explanation asks how strongly the output says what the model said, never what it would say
elsewhere. Every method works on leaves (see `lamina.leaf`), so that pixels, cells of a table and tokens are one thing.

Shapes: B examples, C channels or columns, H and W pixels, D features, K classes; `...` are the places of an input.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lamina.explain.cells import cells_of
from lamina.leaf import leaf as leaf_of
from lamina.leaf import stands_by_embedding, submodule
from lamina.run import WritingForward
from lamina.task import Batch, Output, Task, Writes
from lamina.train.precision import autocast, float32

MOST = 256
"""Leaves in one forward."""
CELLS = "cells"
"""A key beside the inputs and the frozen labels: the word that each token belongs to, -1 where it is in none (B, T)."""
MOST_VALUES = 2**23
"""Numbers in the leaves of one forward: activations take some hundred times as much."""


@dataclass(frozen=True)
class Subject:
    """Examples that are explained together. `said` holds the inputs and the frozen labels, and of a text its `CELLS`; `leaf`
    is (B, ...)."""

    task: Task
    model: nn.Module
    said: Batch
    leaf: Tensor
    forward: Any
    """From a leaf of that shape to the Output."""
    precision: str = "float32"

    @property
    def modality(self) -> str:
        return self.task.inputs[0].modality

    @property
    def cell(self) -> Tensor:
        """The number of the cell that each place lies in, -1 in none: (1, ...), or (B, ...) of a text."""
        if CELLS in self.said:
            return self.said[CELLS]
        if self.modality == "text":
            return cells_of_tokens(self.said[self.task.inputs[0].name])
        return cells_of(by_place(self.leaf[:1].detach(), self.modality).shape[1:], self.modality)[None]

    def output(self, leaf: Tensor) -> Output:
        """The Output at other leaves, in float32."""
        wanted = autocast(self.precision, leaf.device) if self.precision != "float32" else nullcontext()
        with wanted:
            return float32(self.forward(leaf))

    def score(self, leaf: Tensor) -> Tensor:
        """(B,): how strongly the output at `leaf` says what was said, in the task's own measure."""
        return self.task.score(self.output(leaf), self.said)

    def strength(self, leaf: Tensor) -> Tensor:
        """(B,): the probability of what was said where answers are one of K, else the score. Bounded where it can be:
        the area under a curve of log probabilities would be that of its lowest point."""
        output = self.output(leaf)
        label = self.label
        if label is not None and isinstance(output, dict) and "logits" in output:
            return output["logits"].softmax(1).gather(1, label[:, None])[:, 0]
        return self.task.score(output, self.said)

    @property
    def label(self) -> Tensor | None:
        """(B,) the class that was said; None where what was said is not one class."""
        label = self.said[self.task.labels[0]] if len(self.task.labels) == 1 else None
        return label if label is not None and label.dtype == torch.int64 and label.dim() == 1 else None

    @torch.no_grad()
    def answer(self, x: Tensor) -> Tensor:
        """(B,) the class that the task says of inputs `x`, whichever way it comes to it. Expects `label` not to be None."""
        batch = {**self.said, self.task.inputs[0].name: x}
        return self.task.target(lambda *inputs: float32(self.model(*inputs)), batch)[self.task.labels[0]]

    def repeat(self, times: int) -> Subject:
        """Every example `times` times, one after another: (B * times, ...)."""
        said = {name: value.repeat_interleave(times, 0) for name, value in self.said.items()}
        leaf, forward = leaf_of(self.task, self.model, said)
        return replace(self, said=said, leaf=leaf, forward=forward)

    def rows(self, start: int, stop: int) -> Subject:
        """Some of the examples."""
        return subject(self.task, self.model, {name: v[start:stop] for name, v in self.said.items()}, self.precision)

    def with_model(self, model: nn.Module) -> Subject:
        """The same examples and the same frozen labels before another model."""
        return subject(self.task, model, self.said, self.precision)


def subject(task: Task, model: nn.Module, said: Batch, precision: str = "float32") -> Subject:
    """The subject of a batch whose labels are frozen already. The model must be in evaluation mode."""
    leaf, forward = leaf_of(task, model, said)
    return Subject(task, model, said, leaf, forward, precision)


def freeze(task: Task, model: nn.Module, batch: Batch, which: int = 0, size: int = MOST) -> Batch:
    """`batch` with what the model says as its labels; `which` picks the second answer, the third, and so on."""
    count = len(next(iter(batch.values())))
    parts = []
    said: Any = lambda *inputs: float32(model(*inputs))  # noqa: E731
    if isinstance(model, Writes):
        said = WritingForward(said, model, "float32", next(iter(batch.values())).device)
    with torch.no_grad():  # not inference mode, whose tensors no gradient may pass
        for start in range(0, count, size):
            part = {name: value[start : start + size] for name, value in batch.items()}
            parts.append(task.target(said, part, which))
    return {**batch, **{name: joined([part[name] for part in parts]) for name in parts[0]}}


def joined(parts: list[Tensor]) -> Tensor:
    """Parts of a batch one after another; what was said at different lengths is padded with zeros at its end."""
    if len({part.shape[1:] for part in parts}) == 1:
        return torch.cat(parts)
    widths = [max(sizes) for sizes in zip(*(part.shape[1:] for part in parts), strict=True)]
    whole = parts[0].new_zeros((sum(map(len, parts)), *widths))
    start = 0
    for part in parts:
        whole[(slice(start, start + len(part)), *(slice(0, n) for n in part.shape[1:]))] = part
        start += len(part)
    return whole


def subjects(task: Task, model: nn.Module, said: Batch, size: int | None = None, precision: str = "float32") -> Iterator[Subject]:
    """Subjects of at most `size` examples each; without a size, as many as memory should hold."""
    count = len(next(iter(said.values())))
    first = subject(task, model, {name: value[:1] for name, value in said.items()}, precision)
    size = size or at_once(first.leaf)
    for start in range(0, count, size):
        yield subject(task, model, {name: value[start : start + size] for name, value in said.items()}, precision)


def at_once(leaf: Tensor) -> int:
    """How many such examples go through the model at once."""
    return max(1, min(MOST, MOST_VALUES // max(1, leaf[0].numel())))


def gradient_at(subject: Subject, leaf: Tensor) -> Tensor:
    """The gradient of each example's score by its leaf, at `leaf` (B, ...)."""
    leaf = leaf.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(subject.score(leaf).sum(), leaf)
    return gradient


def by_place(values: Tensor, modality: str, signed: bool = True) -> Tensor:
    """Values of leaf shape as one number a place: (B, H, W) of pictures, (B, T) of sound, (B, C) of everything else.

    signed: the sum over the channels or features of a place, so that a sum over places stays what it was. Otherwise the
    largest magnitude over channels (Simonyan et al. 2014, section 3.1), or the length of the vector of features.
    """
    if modality == "image":
        return values.sum(1) if signed else values.abs().amax(1)
    if modality == "audio" or values.dim() < 3:
        values = values[:, None] if values.dim() == 1 else values
        return values if signed else values.abs()
    flat = values.flatten(2)
    return flat.sum(2) if signed else flat.norm(dim=2)


def typical(task: Task, x: Tensor, numeric: Sequence[bool] = ()) -> Tensor:
    """The neutral input (1, ...) of reference inputs `x` (N, ...), which explanations compare with.

    Pictures: the mean colour of each channel. Tables: the median of each number, the most frequent of the other columns
    (`numeric` says which are numbers). Sound: silence. Everything else: the mean.
    """
    modality = task.inputs[0].modality
    if modality == "text":  # see `padding_leaf`
        return torch.zeros_like(x[:1])
    x = x.float()
    if modality == "image":
        return x.mean((0, 2, 3), keepdim=True).expand(1, *x.shape[1:]).clone()
    if modality == "audio":
        return torch.zeros_like(x[:1])
    if modality == "table":
        kinds = numeric or [True] * x[0].numel()
        columns = [
            c.nanmedian() if number and not c.isnan().all() else c.mode().values
            for c, number in zip(x.flatten(1).unbind(1), kinds, strict=True)
        ]
        return torch.stack(columns).reshape(x[:1].shape)
    return x.mean(0, keepdim=True)


def cells_of_tokens(x_BT: Tensor) -> Tensor:
    """Every token by itself, padding in no cell: (B, T)."""
    inside_BT = x_BT != 0
    return torch.where(inside_BT, inside_BT.long().cumsum(1) - 1, -1)


def padding_leaf(subject: Subject) -> Tensor:
    """The leaf (B, T, D) of a text whose words are all padding: those of no cell (padding, beginning, end) stay what they are."""
    x = subject.leaf.detach()
    embed = submodule(subject.task, subject.model) if stands_by_embedding(subject.task) else None
    nothing = embed.weight[0].detach().to(x) if isinstance(embed, nn.Embedding) and embed.weight.shape[1] == x.shape[-1] else 0.0
    inside = (subject.cell >= 0).view(*x.shape[:2], *[1] * (x.dim() - 2))
    return torch.where(inside, nothing, x)


def baseline_leaf(subject: Subject, neutral: Tensor | None) -> Tensor:
    """The leaf (B, ...) of the neutral input. Without one: the middle of the range for pictures and tables, zero else; of a
    text, padding."""
    if subject.modality == "text":
        return padding_leaf(subject)
    spec = subject.task.inputs[0]
    x = subject.said[spec.name]
    if neutral is None:
        if spec.modality not in ("image", "table") or spec.low is None or spec.high is None:
            return torch.zeros_like(subject.leaf)
        middle = (torch.as_tensor(spec.low) + torch.as_tensor(spec.high)) / 2
        neutral = middle.expand(1, *x.shape[1:]) if spec.modality == "table" else middle.float().expand(1, *x.shape[1:])
    if neutral.shape[1:] != x.shape[1:]:  # a size that varies
        return torch.zeros_like(subject.leaf)
    batch = {**subject.said, spec.name: neutral.to(x.device, torch.float32).expand(len(x), *x.shape[1:])}
    return leaf_of(subject.task, subject.model, batch)[0].detach()
