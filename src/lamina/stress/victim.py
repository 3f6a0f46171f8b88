"""What an attack attacks: a model's answers to some examples, as functions of a displacement of their leaf.

Shapes: B examples, K classes, C columns; a displacement z is as the leaf (B, ...).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lamina.answer import by_term, to_device
from lamina.errors import LaminaError
from lamina.leaf import leaf, stands_by_embedding
from lamina.stress.space import Norm, Space
from lamina.task import Batch, Columns, Forward, Output, Task
from lamina.train.precision import float32

Objective = Literal["score", "dlr", "margin", "loss"]
"""What an attack raises: minus the task's score (cross entropy), the difference of logits ratio, the margin of the best
wrong class, or the task's own loss."""


@dataclass(frozen=True)
class Victim:
    """Examples with their labels, the function from a leaf to the Output, and the space of the attack."""

    task: Task
    model: Forward
    batch: Batch
    space: Space
    answer: Callable[[Tensor], Output] = field(repr=False)
    label: Tensor | None
    """Class numbers (B,) where the answer is one of K; else None, and nothing is ever `fooled`."""

    @staticmethod
    def of(task: Task, model: nn.Module, batch: Batch, unit: Tensor | float | None, norm: Norm, eps: float | None) -> Victim:
        """`unit` as `unit_of` gives it, `eps` None for the default of such an input (`default_eps`)."""
        clean, answer = leaf_of(task, model, batch)
        clean = clean.detach()
        spec = task.inputs[0]
        embedded = in_embedding_space(task)
        low, high = (None if embedded else column_bound(b, clean) for b in (spec.low, spec.high))
        scale = embedding_unit(task, batch, clean) if unit is None else unit
        radius = default_eps(task, norm, clean) if eps is None else eps
        space = Space.around(clean, scale, low, high, norm, radius)
        with torch.no_grad():
            output = answer(clean)
            if task.acts:  # right is what the agent does, left alone
                batch = {**batch, **task.target(model, batch)}
        return Victim(task, model, batch, space, answer, label_of(task, output, batch))

    def __len__(self) -> int:
        return len(self.space.clean)

    def take(self, rows: Tensor) -> Victim:
        """The examples at `rows`, or where a mask is true."""
        batch = {name: value[rows] for name, value in self.batch.items()}
        _, answer = leaf_of(self.task, self.model, batch)
        label = None if self.label is None else self.label[rows]
        return Victim(self.task, self.model, batch, self.space.take(rows), answer, label)

    def judge(self, z: Tensor, objective: Objective) -> tuple[Tensor, Tensor]:
        """The objective (B,), and whether the answer is wrong (B,)."""
        output = float32(self.answer(self.space.at(z)))
        if self.label is None:
            loss = losses(self.task, output, self.batch) if objective == "loss" else -self.task.score(output, self.batch)
            return loss, torch.zeros(len(z), dtype=torch.bool, device=z.device)
        logits_BK = output["logits"]  # type: ignore[index]
        if objective == "dlr":
            loss = dlr(logits_BK, self.label)
        elif objective == "margin":
            loss = margin(logits_BK, self.label)
        else:
            loss = losses(self.task, output, self.batch) if objective == "loss" else -self.task.score(output, self.batch)
        return loss, logits_BK.argmax(1) != self.label

    def gradient(self, z: Tensor, objective: Objective) -> tuple[Tensor, Tensor, Tensor]:
        """As `judge`, and the gradient of the objective with respect to z; zero where it is not a number."""
        z = z.detach().requires_grad_()
        with torch.enable_grad():
            loss_B, fooled_B = self.judge(z, objective)
            found = torch.autograd.grad(loss_B.sum(), z, allow_unused=True)[0] if loss_B.requires_grad else None
        gradient = torch.zeros_like(z) if found is None else found.nan_to_num(0.0, 0.0, 0.0)
        return loss_B.detach(), fooled_B, gradient


def leaf_of(task: Task, model: Any, batch: Batch) -> tuple[Tensor, Callable[[Tensor], Output]]:
    """`lamina.leaf.leaf`, but for tables of numbers: their cells themselves, so that an attack stays a row of the table."""
    if in_embedding_space(task):
        return leaf(task, model, batch)
    name = task.inputs[0].name
    return batch[name].float(), lambda x: task.outputs(model, {**batch, name: x})


def in_embedding_space(task: Task) -> bool:
    """Whether attacks move embeddings, because the input itself is not continuous."""
    spec = task.inputs[0]
    return not (spec.modality == "table" and spec.dtype.startswith("float")) and stands_by_embedding(task)


def unit_of(task: Task, columns: Columns) -> Tensor | float | None:
    """What a displacement of one means in raw units: 1, or for tables the spread of each column (C,), 0 for categories.

    None where the leaf is an embedding: the unit is then the spread of its values.
    Raises LaminaError where the columns of a table are not those that it asks for.
    """
    if in_embedding_space(task):
        return None
    spec = task.inputs[0]
    if spec.modality != "table":
        return 1.0
    from lamina.modalities.corrupt_table import plain, spread

    cells = [plain(columns[name]) for name in task.asks]
    if len(spec.dims) > 1 and spec.dims[1] != len(cells):
        raise LaminaError(f"{task.name}: expected one raw column for each of {spec.dims[1]} encoded ones; got {len(cells)}")
    spreads = torch.tensor([0.0 if values.dtype == object else spread(values) for values in cells])
    return spreads if len(spec.dims) > 1 else float(spreads[0])


def embedding_unit(task: Task, batch: Batch, clean: Tensor) -> Tensor | float:
    """The spread of embedded values; of a text, of those that are no padding, which stays where it is."""
    if task.inputs[0].modality != "text":
        return embedding_spread(clean)
    inside = (batch[task.inputs[0].name] != 0).view(*clean.shape[:2], *[1] * (clean.dim() - 2))
    return embedding_spread(clean[inside.expand_as(clean)]) * inside.to(clean)


def embedding_spread(values: Tensor) -> float:
    return float(values.std()) if values.numel() > 1 else 1.0


def default_eps(task: Task, norm: Norm, clean: Tensor) -> float:
    """The radius of an attack where none is asked for.

    Pictures: 8/255 of the range for three channels and 0.1 for others in linf. In l2, 0.5 and 1.5 of the range at
    32 x 32 x 3 and 28 x 28 x 1, the sizes of CIFAR-10 and MNIST that these radii are customary for, growing with the root
    of the number of values. Tables and embeddings: a tenth of the spread, for every value. Anything else: a hundredth of
    the range, for every value.
    """
    spec = task.inputs[0]
    values = clean[0].numel()
    across = span(task, clean)
    if spec.modality == "image":
        colour = clean.dim() == 4 and clean.shape[1] == 3
        if norm == "linf":
            return across * (8 / 255 if colour else 0.1)
        return across * (0.5 * math.sqrt(values / 3072) if colour else 1.5 * math.sqrt(values / 784))
    each = 0.1 if spec.modality == "table" or in_embedding_space(task) else 0.01 * across
    return each if norm == "linf" else each * math.sqrt(values)


def span(task: Task, clean: Tensor) -> float:
    """The width of the declared range; of the values at hand where none is declared."""
    low, high = task.inputs[0].low, task.inputs[0].high
    if isinstance(low, (int, float)) and isinstance(high, (int, float)):
        return float(high) - float(low)
    return float(clean.nan_to_num().max() - clean.nan_to_num().min()) or 1.0


def column_bound(bound: Any, clean: Tensor) -> Tensor | None:
    """A declared bound, to broadcast against the leaf (B, C, ...): one number, or one for each column."""
    if bound is None:
        return None
    tensor = torch.as_tensor(bound, dtype=clean.dtype, device=clean.device)
    return tensor.view(1, -1, *[1] * (clean.dim() - 2)) if tensor.dim() else tensor


def label_of(task: Task, output: Output, batch: Batch) -> Tensor | None:
    """The class numbers (B,) that `logits` (B, K) are judged by; None where the answer is no such thing."""
    if not isinstance(output, dict) or "logits" not in output or output["logits"].dim() != 2 or not task.labels:
        return None
    label = batch[task.labels[0]]
    return label if label.dim() == 1 and not label.is_floating_point() else None


def losses(task: Task, output: Output, batch: Batch) -> Tensor:
    """The loss (B,) of each example an item, summed over its terms."""
    total, count = by_term(task.loss(output, batch))
    each = total / count.clamp(min=1e-12)
    return each if each.dim() == 1 else each.sum(1)


def margin(logits_BK: Tensor, label_B: Tensor) -> Tensor:
    """The best wrong logit above the right one: positive where the answer is wrong (Carlini and Wagner 2017)."""
    right_B = logits_BK.gather(1, label_B[:, None])[:, 0]
    return logits_BK.scatter(1, label_B[:, None], -torch.inf).amax(1) - right_B


def dlr(logits_BK: Tensor, label_B: Tensor) -> Tensor:
    """The difference of logits ratio of Croce and Hein 2020 (equation 6): the margin over the gap from the best to the third.

    It does not change when logits are scaled or shifted, so that saturated ones do not hide the gradient. K >= 3.
    """
    sorted_BK = logits_BK.sort(1, descending=True).values
    return margin(logits_BK, label_B) / (sorted_BK[:, 0] - sorted_BK[:, 2] + 1e-12)


@contextlib.contextmanager
def at_rest(model: nn.Module) -> Iterator[None]:
    """Inside, the model evaluates and its weights ask for no gradient; afterwards it is as it was."""
    modes = [(module, module.training) for module in model.modules()]
    asked = [(p, p.requires_grad) for p in model.parameters()]
    model.eval().requires_grad_(False)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, wanted in asked:
            parameter.requires_grad_(wanted)


def encoded(task: Task, columns: Columns, device: torch.device) -> Batch:
    """Labelled examples as a batch on the device."""
    return to_device(task.encode(columns, "evaluate"), device)
