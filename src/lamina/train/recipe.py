"""How long and how fast to learn: the optimizer, its rates, the batch size and the length, as one printable value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from typing_extensions import Doc

from lamina.errors import LaminaError
from lamina.train.options import expect


@dataclass(frozen=True)
class Recipe:
    """The defaults that a task finds right for its data; each field is a flag of `lamina train`."""

    optimizer: Annotated[
        Literal["sgd", "adamw", "muon"], Doc("sgd (Nesterov), adamw, or muon for matrices and adamw for the rest")
    ] = "adamw"
    lr: Annotated[float | Literal["auto"], Doc("peak learning rate, or auto: found by a range test")] = 1e-3
    momentum: Annotated[float, Doc("momentum of sgd and muon; beta1 of adamw")] = 0.9
    weight_decay: Annotated[float, Doc("decoupled (adamw, muon) or L2 (sgd); never on biases and norms")] = 0.01
    schedule: Annotated[
        Literal["one-cycle", "cosine", "linear", "constant"], Doc("how the learning rate moves after the warm-up")
    ] = "cosine"
    warmup: Annotated[float, Doc("share of the steps over which the learning rate rises")] = 0.05
    epochs: Annotated[float | None, Doc("passes over the training data")] = 10
    steps: Annotated[int | None, Doc("optimizer steps, in place of epochs")] = None
    minutes: Annotated[float | None, Doc("a time budget, in place of epochs: trained, evaluated and saved within it")] = None
    batch_size: Annotated[int | Literal["auto"], Doc("examples a batch, or auto: the largest that still trains faster")] = 64
    accumulate: Annotated[int, Doc("batches whose gradients are summed into one step")] = 1
    clip: Annotated[float | None, Doc("greatest norm of the gradient; larger ones are scaled down")] = None
    ema: Annotated[float, Doc("decay of the averaged weights that are evaluated and kept; 0 turns it off")] = 0.0
    sam: Annotated[float, Doc("radius in the weights within which sharpness is avoided (SAM); 0 turns it off, 0.05 is common")] = 0.0
    adversarial: Annotated[
        float,
        Doc("train on inputs changed by up to this much against the model (PGD): raw units, or spreads of a column; 0 turns it off"),
    ] = 0.0
    adversarial_steps: Annotated[int, Doc("gradient steps of each change, for adversarial")] = 7
    patience: Annotated[int | None, Doc("evaluations without improvement before training stops early")] = None
    keep: Annotated[Literal["best", "last"], Doc("the weights to keep: best on validation, or the last")] = "best"
    evaluations: Annotated[int, Doc("how many times to evaluate on validation during training")] = 12


def check_recipe(recipe: Recipe) -> None:
    """Raises LaminaError naming the first field whose value makes no sense."""
    r = recipe
    expect("lr", r.lr, r.lr == "auto" or 0 < float(r.lr) < math.inf, "a number above 0, or auto")
    expect("momentum", r.momentum, 0 <= r.momentum < 1, "a number from 0 to below 1")
    expect("weight-decay", r.weight_decay, 0 <= r.weight_decay < math.inf, "0 or more")
    expect("warmup", r.warmup, 0 <= r.warmup <= 1, "a share from 0 to 1")
    expect("epochs", r.epochs, r.epochs is None or 0 < r.epochs < math.inf, "a number above 0")
    expect("steps", r.steps, r.steps is None or r.steps >= 1, "1 or more")
    expect("minutes", r.minutes, r.minutes is None or 0 < r.minutes < math.inf, "a number above 0")
    expect("batch-size", r.batch_size, r.batch_size == "auto" or int(r.batch_size) >= 1, "1 or more, or auto")
    expect("accumulate", r.accumulate, r.accumulate >= 1, "1 or more")
    expect("clip", r.clip, r.clip is None or 0 < r.clip < math.inf, "a number above 0")
    expect("ema", r.ema, 0 <= r.ema < 1, "a decay from 0 to below 1")
    expect("sam", r.sam, 0 <= r.sam < math.inf, "0 or more")
    expect("adversarial", r.adversarial, 0 <= r.adversarial < math.inf, "0 or more")
    expect("adversarial-steps", r.adversarial_steps, r.adversarial_steps >= 1, "1 or more")
    expect("patience", r.patience, r.patience is None or r.patience >= 1, "1 or more")
    expect("evaluations", r.evaluations, r.evaluations >= 1, "1 or more")
    if r.epochs is None and r.steps is None and r.minutes is None:
        raise LaminaError("--epochs: expected one of --epochs, --steps, --minutes; got none")
