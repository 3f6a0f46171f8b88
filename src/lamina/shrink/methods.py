"""Each method as one function: from a run to a new one in `folder`. Sentences say what only this method can say."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lamina.data.columns import length, take
from lamina.data.source import Data
from lamina.errors import LaminaError
from lamina.flags import Verb, flags_of, parse
from lamina.run import Run, file_hash
from lamina.shrink import few_bits, low_rank, merged, select_channels, sparse
from lamina.shrink.channels import channels_of
from lamina.shrink.child import evaluating, finished_child, trained_child
from lamina.shrink.measure import flops_of, inputs_of
from lamina.shrink.settings import Settings
from lamina.surgery import apply
from lamina.task import Task

WEIGHING_BATCH = 16
"""Examples a batch when channels are weighed: the importance is a mean of squares over batches, and many small ones say more."""
EXACT = 1e-3
"""Relative difference up to which a pruned network counts as the masked one: sums over fewer numbers round differently."""


@dataclass
class Work:
    """What a method is given, and where it leaves its words."""

    run: Run
    settings: Settings
    folder: Path
    data: Data
    own_data: bool = True
    """The data are what the run was trained on, read again; else they were given in memory."""
    device: str = "auto"
    precision: str | None = None
    sentences: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)

    def train(self, surgeries: list[dict[str, Any]], model: nn.Module, passing: str | None = None) -> Run:
        """The new run after the training that follows a surgery, or without any where none is wanted.

        passing: see `trained_child`.
        """
        if self.settings.epochs == 0:
            return finished_child(self.run, self.folder, self.settings, surgeries, model)
        where = {"device": self.device, "precision": self.precision, "passing": passing}
        return trained_child(self.run, self.folder, self.settings, self.data, self.run.task, surgeries, model, **where)  # type: ignore[arg-type]


def few_bit_weights(work: Work) -> Run:
    """`int8-weights` and `int4-weights`: every linear layer."""
    method = work.settings.method
    extra = {"group_size": work.settings.group_size} if method == "int4-weights" else {}
    model = evaluating(work.run)
    names = few_bits.linears(model)
    if not names:
        raise LaminaError(f"--method {method}: expected linear layers; the network has none (int8 takes convolutions too)")
    held = sum(model.get_submodule(name).weight.numel() for name in names)  # type: ignore[operator, union-attr]
    share = held / max(1, sum(p.numel() for p in model.parameters()))
    surgeries = [{"surgery": method, "module": name, **extra} for name in names]
    work.figures["share_of_weights_in_few_bits"] = share
    if share < 0.5:
        work.warnings.append(
            f"only {100 * share:.0f}% of the weights stand in linear layers; the others keep 32 bits (int8 takes all)"
        )
    return finished_child(work.run, work.folder, work.settings, surgeries, apply(model, surgeries))


def prune(work: Work) -> Run:
    """The smallest weights of the whole network become zero, and are held there while the others learn."""
    model = evaluating(work.run)
    count = sparse.zero_smallest(model, work.settings.sparsity)
    whole = sum(model.get_submodule(name).weight.numel() for name in sparse.prunable(model))  # type: ignore[operator, union-attr]
    work.figures["sparsity"] = count / whole
    work.sentences.append(
        f"{100 * count / whole:.1f}% of the weights of its layers are zero. That makes the file compress better, and answers no "
        "faster: dense arithmetic multiplies zeros too. prune-channels is what saves time."
    )
    if work.settings.epochs == 0:
        return work.train([], model)
    holding = [{"surgery": "sparse", "modules": sparse.prunable(model)}]
    return work.train(holding, apply(model, holding), passing="held")


def prune_channels(work: Work) -> Run:
    """Channels that matter least are left out, until the share of FLOPs is reached."""
    task, settings = work.run.task, work.settings
    model = evaluating(work.run)
    inputs = inputs_of(task, work.data.train, 2)
    channels = channels_of(model, inputs)
    if settings.importance == "taylor":
        importance = select_channels.taylor(model, channels, losses(task, model, work.data, settings.examples, settings.seed))
    else:
        importance = getattr(select_channels, settings.importance)(model, channels)
    one = inputs_of(task, work.data.train, 1)
    full = flops_of(model, one)
    everything = np.ones(channels.count, bool)
    fixed = max(0, full - select_channels.flops_of(channels, everything))
    keep = select_channels.chosen(channels, importance, settings.flops, settings.multiple, fixed, settings.importance == "taylor")
    surgeries = select_channels.surgeries_of(channels, keep)
    masked = copy.deepcopy(model)
    select_channels.mask(masked, channels, keep)
    apply(model, surgeries)
    with torch.no_grad():
        apart = select_channels.difference(model(*inputs), masked(*inputs))
    if not apart <= EXACT:
        raise LaminaError(
            f"--method prune-channels: expected the smaller network to answer as the whole one with those channels at zero; "
            f"they differ by {apart:.2g}: this network does something with its channels that its graph does not show"
        )
    gone = int((~keep).sum())
    left = 100 * flops_of(model, one) / full
    work.sentences.append(
        f"{gone:,} of {channels.count:,} channels that may go are gone; {left:.0f}% of the multiplications are left."
    )
    work.figures |= {"channels_kept": float(keep.sum()), "channels_free": float(channels.count)}
    return work.train(surgeries, model)


def losses(task: Task, model: nn.Module, data: Data, examples: int, seed: int) -> Iterator[Callable[[], Tensor]]:
    """The loss of batches of training examples, as they are: without augmentation or dropout."""
    count = length(data.train)
    rows = np.random.default_rng(seed).permutation(count)[:examples]
    for start in range(0, len(rows), WEIGHING_BATCH):
        batch = task.encode(take(data.train, rows[start : start + WEIGHING_BATCH]), "train")

        def loss(batch: dict[str, Tensor] = batch) -> Tensor:
            terms = task.loss(task.outputs(model, batch), batch)
            pairs = list(terms.values()) if isinstance(terms, dict) else [terms]
            return sum((total.sum() / n.sum().clamp(min=1e-12) for total, n in pairs[1:]), pairs[0][0].sum() / pairs[0][1].sum())

        yield loss


def factor(work: Work) -> Run:
    """Layers whose matrix is nearly of low rank become two thinner ones."""
    model = evaluating(work.run)
    found = low_rank.ranks(model, work.settings.energy)
    if not found:
        raise LaminaError(
            f"--energy: expected a share that thins some layer; at {work.settings.energy:g} two layers would hold more "
            "weights than one everywhere: ask for less"
        )
    work.sentences.append(
        f"{len(found)} layers are products of two thinner ones, that keep {100 * work.settings.energy:g}% of their energy."
    )
    work.details["ranks"] = found
    surgeries = [{"surgery": "low-rank", "module": name, "rank": rank} for name, rank in found.items()]
    return work.train(surgeries, apply(model, surgeries))


def distill(work: Work) -> Run:
    """A smaller network learns from this one's answers."""
    settings = work.settings
    asked = student_of(work.run.task, settings.student or "")
    data = asked.read(work.run.source()) if work.own_data else work.data  # other settings may read pictures of another size
    student = asked.prepare(data)
    if student.inputs != work.run.task.inputs:
        raise LaminaError("--student: expected one that takes the teacher's inputs; its size or columns differ")
    told = {"run": str(work.run.folder.resolve()), **{n: getattr(settings, n) for n in ("temperature", "soft", "hints")}}
    surgeries = [{"surgery": "projector", **widths(work, student)}] if settings.hints else []
    where = {"device": work.device, "precision": work.precision, "teacher": told, "passing": "projector" if surgeries else None}
    return trained_child(work.run, work.folder, settings, work.data, student, surgeries, **where)  # type: ignore[arg-type]


def student_of(task: Task, overrides: str) -> Task:
    """`task` with other hyperparameters, as in `width=0.5,model=resnet20`. Raises LaminaError for one that it does not have."""
    arguments = []
    for pair in overrides.split(","):
        name, equals, value = pair.strip().partition("=")
        if not equals:
            raise LaminaError(f"--student: expected name=value, separated by commas; got {pair!r}")
        arguments += ["--" + name.strip().replace("_", "-"), value.strip()]
    kind = type(task)
    try:
        given = parse(Verb("shrink", "", (), flags_of(kind, "task")), arguments).values
    except LaminaError as error:
        raise LaminaError(f"--student: {error}") from error
    return kind(**{**task.hyperparameters(), **given})


def widths(work: Work, student: Task) -> dict[str, int]:
    """The widths of the features of the student and of its teacher."""
    inputs = inputs_of(student, work.data.train, 2)
    found = []
    for model in (student.model().eval(), evaluating(work.run)):
        with torch.no_grad():
            said = model(*inputs)
        if not isinstance(said, dict) or "features" not in said:
            raise LaminaError("--hints: expected networks whose Output has features; one has none")
        found.append(int(said["features"].shape[1]))
    return {"width": found[0], "to": found[1]}


def int8(work: Work) -> Run:
    """All layers in whole numbers of 8 bits, as an ONNX graph."""
    from lamina.shrink.int8 import FILE, quantized

    chosen, tried = quantized(work.run, work.data, work.settings.examples, work.folder / FILE)
    work.details["calibration"] = tried
    work.sentences.append(
        f"Weights and activations are whole numbers of 8 bits; ranges by {chosen}, which did best on validation."
    )
    child = finished_child(work.run, work.folder, work.settings, [], None)
    child.info.pop("surgeries", None)  # they stand in the graph
    child.update(forward={"kind": "onnx", "file": FILE}, weights={FILE: file_hash(work.folder / FILE)})
    return child


def merge(work: Work) -> Run:
    """What LoRA learned beside the weights, put into them."""
    model = evaluating(work.run)
    if not merged.mergeable(model):
        raise LaminaError("--method merge: expected a run that was trained with --lora; its network has nothing to merge")
    surgeries = [{"surgery": "merge"}]
    work.sentences.append("What was learned beside the weights stands in them now.")
    return finished_child(work.run, work.folder, work.settings, surgeries, apply(model, surgeries))


METHODS: dict[str, Callable[[Work], Run]] = {
    "int8": int8,
    "int8-weights": few_bit_weights,
    "int4-weights": few_bit_weights,
    "prune": prune,
    "prune-channels": prune_channels,
    "low-rank": factor,
    "distill": distill,
    "merge": merge,
}
