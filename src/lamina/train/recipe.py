"""How long and how fast to learn: the optimizer, its rates, the batch size and the length, as one printable value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from typing_extensions import Doc


@dataclass(frozen=True)
class Recipe:
    """The defaults that a task finds right for its data; each field is a flag of `lamina train`."""

    optimizer: Annotated[Literal["sgd", "adamw", "muon"], Doc("sgd (Nesterov), adamw, or muon for matrices and adamw for the rest")] = "adamw"
    lr: Annotated[float | Literal["auto"], Doc("peak learning rate, or auto: found by a range test")] = 1e-3
    momentum: Annotated[float, Doc("momentum of sgd and muon; beta1 of adamw")] = 0.9
    weight_decay: Annotated[float, Doc("decoupled (adamw, muon) or L2 (sgd); never on biases and norms")] = 0.01
    schedule: Annotated[Literal["one-cycle", "cosine", "linear", "constant"], Doc("how the learning rate moves after the warm-up")] = "cosine"
    warmup: Annotated[float, Doc("share of the steps over which the learning rate rises")] = 0.05
    epochs: Annotated[float | None, Doc("passes over the training data")] = 10
    steps: Annotated[int | None, Doc("optimizer steps, in place of epochs")] = None
    minutes: Annotated[float | None, Doc("a time budget, in place of epochs: trained, evaluated and saved within it")] = None
    batch_size: Annotated[int | Literal["auto"], Doc("examples a batch, or auto: the largest that still trains faster")] = 64
    accumulate: Annotated[int, Doc("batches whose gradients are summed into one step")] = 1
    clip: Annotated[float | None, Doc("greatest norm of the gradient; larger ones are scaled down")] = None
    ema: Annotated[float, Doc("decay of the averaged weights that are evaluated and kept; 0 turns it off")] = 0.0
    patience: Annotated[int | None, Doc("evaluations without improvement before training stops early")] = None
    keep: Annotated[Literal["best", "last"], Doc("the weights to keep: best on validation, or the last")] = "best"
    evaluations: Annotated[int, Doc("how many times to evaluate on validation during training")] = 12
