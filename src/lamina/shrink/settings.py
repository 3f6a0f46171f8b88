"""The flags of `lamina shrink`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from typing_extensions import Doc

from lamina.errors import LaminaError
from lamina.train.options import expect

Method = Literal["int8", "int8-weights", "int4-weights", "prune", "prune-channels", "distill", "low-rank", "merge"]
TRAINED = ("prune", "prune-channels", "distill", "low-rank")
"""Methods after which the weights are trained on."""


@dataclass(frozen=True)
class Settings:
    """How a run is made smaller, and what that may cost."""

    method: Annotated[Method, Doc("what is done: numbers of 8 or 4 bits, weights or channels left out, a smaller network")] = (
        "int8"
    )
    max_drop: Annotated[
        float | None, Doc("refuse what costs more: points of the headline, or percent of it where it is no share")
    ] = None
    out: Annotated[str | None, Doc("the folder of the new run (default: the run's folder and the method)")] = None
    flops: Annotated[float, Doc("prune-channels: share of the multiplications to keep")] = 0.5
    importance: Annotated[
        Literal["taylor", "l1", "scale"],
        Doc("prune-channels: what a channel is worth: loss it saves, size of its weights, scale of its norm"),
    ] = "taylor"
    multiple: Annotated[int, Doc("prune-channels: channels are kept in multiples of this, which processors like")] = 8
    sparsity: Annotated[float, Doc("prune: share of the weights set to zero")] = 0.8
    energy: Annotated[float, Doc("low-rank: share of a matrix's squared singular values to keep")] = 0.9
    group_size: Annotated[int, Doc("int4-weights: weights that share one scale")] = 32
    student: Annotated[
        str | None, Doc("distill: what differs in the small model, as in width=0.5 or model=resnet20,width=0.5")
    ] = None
    temperature: Annotated[float, Doc("distill: softens both answers before they are compared")] = 4.0
    soft: Annotated[float, Doc("distill: share of the loss that comes from the teacher's answers; the rest from labels")] = 0.9
    hints: Annotated[float, Doc("distill: weight of the distance between features; 0 for none")] = 0.0
    epochs: Annotated[
        float | None, Doc("passes of training afterwards; 0 for none (default: half of the run's own; distill: all)")
    ] = None
    minutes: Annotated[float | None, Doc("a time budget for that training, in place of epochs")] = None
    lr: Annotated[float | None, Doc("learning rate of that training (default: a fifth of the run's own; distill: all)")] = None
    examples: Annotated[int, Doc("examples that calibrate int8 and weigh channels")] = 512
    resamples: Annotated[int, Doc("draws behind the interval of the cost")] = 1000
    confidence: Annotated[float, Doc("share of the draws that an interval holds")] = 0.95
    seed: Annotated[int, Doc("seed of the training and of the draws")] = 0


def check(settings: Settings) -> None:
    """Raises LaminaError naming the first flag whose value makes no sense."""
    s = settings
    expect("max-drop", s.max_drop, s.max_drop is None or 0 <= s.max_drop <= 100, "0 to 100 points")
    expect("flops", s.flops, 0 < s.flops < 1, "a share between 0 and 1")
    expect("multiple", s.multiple, s.multiple >= 1, "1 or more")
    expect("sparsity", s.sparsity, 0 < s.sparsity < 1, "a share between 0 and 1")
    expect("energy", s.energy, 0 < s.energy <= 1, "a share above 0, up to 1")
    expect("group-size", s.group_size, s.group_size >= 2 and s.group_size % 2 == 0, "an even number from 2")
    expect("temperature", s.temperature, 0 < s.temperature < 1000, "a number above 0")
    expect("soft", s.soft, 0 <= s.soft <= 1, "a share from 0 to 1")
    expect("hints", s.hints, 0 <= s.hints < 1e6, "0 or more")
    expect("epochs", s.epochs, s.epochs is None or s.epochs >= 0, "0 or more")
    expect("minutes", s.minutes, s.minutes is None or s.minutes > 0, "a number above 0")
    expect("lr", s.lr, s.lr is None or s.lr > 0, "a number above 0")
    expect("examples", s.examples, s.examples >= 1, "1 or more")
    if s.epochs is not None and s.minutes is not None:
        raise LaminaError("--minutes: expected one of --epochs, --minutes; got --epochs as well")
    if (s.epochs is not None or s.minutes is not None or s.lr is not None) and s.method not in TRAINED:
        raise LaminaError(f"--method {s.method}: expected no --epochs, --minutes or --lr; this method trains nothing")
    if s.method == "distill" and not s.student:
        raise LaminaError("--student: expected what makes the student smaller, as in width=0.5 or model=resnet20; got nothing")
    if s.student and s.method != "distill":
        raise LaminaError(f"--student: expected --method distill; got {s.method}")
    if s.method == "distill" and s.epochs == 0:
        raise LaminaError("--epochs: expected above 0 for distill; got 0: a student that is not trained knows nothing")
