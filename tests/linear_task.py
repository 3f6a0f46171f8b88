"""Tasks whose worst case within a ball is known in closed form: linear models of pictures and of rows, and a run of them.

Legend: B examples, C columns, K classes.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from lamina.modalities.image import pictures
from lamina.modalities.table import TableEncoder
from lamina.task import Batch, Columns, Forward, Input, Mode, Output, Task

SIDE = 6


class Linear(nn.Module):
    """Logits (B, K) of flattened inputs, one weight a value, in units of 255."""

    def __init__(self, weight_KD: Tensor, bias_K: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight_KD), nn.Parameter(bias_K)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": x.float().flatten(1).nan_to_num() @ self.weight.T / 255 + self.bias}


@dataclass(frozen=True)
class Pictures(Task):
    """Gray pictures of 6 x 6, K classes named by their numbers."""

    name: ClassVar[str] = "pictures"
    headline: ClassVar[tuple[str, Literal["max", "min"]]] = ("accuracy", "max")
    classes: int = 3

    @property
    def inputs(self) -> tuple[Input, ...]:
        return (Input("image", ("B", 1, SIDE, SIDE), "uint8", "image", 0.0, 255.0),)

    @property
    def asks(self) -> tuple[str, ...]:
        return ("image",)

    @property
    def labels(self) -> tuple[str, ...]:
        return ("label",)

    def encode(self, columns: Columns, mode: Mode) -> Batch:
        image: Any = columns["image"]
        return {
            "image": torch.from_numpy(pictures(image, (1, SIDE, SIDE))),
            "label": torch.tensor(np.asarray(columns["label"], dtype=np.int64)),
        }

    def loss(self, output: Output, batch: Batch) -> tuple[Tensor, Tensor]:
        loss_B = nn.functional.cross_entropy(output["logits"], batch["label"], reduction="none")  # type: ignore[index]
        return loss_B, torch.ones_like(loss_B)

    def predict(self, forward: Forward, batch: Batch) -> list[dict[str, Any]]:
        return [{"label": label} for label in forward(batch["image"])["logits"].argmax(1).tolist()]  # type: ignore[index]

    def metrics(self, examples: Columns, predictions: Columns) -> dict[str, float]:
        return {"accuracy": float(np.mean(np.asarray(examples["label"]) == np.asarray(predictions["label"])))}


@dataclass(frozen=True)
class Rows(Pictures):
    """Rows of numbers and categories; `regression` answers with a number."""

    encoder: TableEncoder = dataclasses.field(default_factory=TableEncoder)
    regression: bool = False

    @property
    def inputs(self) -> tuple[Input, ...]:
        low, high = self.encoder.bounds()
        return (Input("table", ("B", len(low)), "float32", "table", low, high),)

    @property
    def asks(self) -> tuple[str, ...]:
        return self.encoder.names

    def encode(self, columns: Columns, mode: Mode) -> Batch:
        kind = np.float32 if self.regression else np.int64
        return {
            "table": torch.from_numpy(self.encoder.encode(columns)),
            "label": torch.tensor(np.asarray(columns["label"], dtype=kind)),
        }

    def loss(self, output: Output, batch: Batch) -> tuple[Tensor, Tensor]:
        if not self.regression:
            return super().loss(output, batch)
        loss_B = (output["value"][:, 0] - batch["label"]).square()  # type: ignore[index]
        return loss_B, torch.ones_like(loss_B)

    def predict(self, forward: Forward, batch: Batch) -> list[dict[str, Any]]:
        output: Any = forward(batch["table"])
        if self.regression:
            return [{"label": value} for value in output["value"][:, 0].tolist()]
        return [{"label": label} for label in output["logits"].argmax(1).tolist()]


@dataclass
class Held:
    """What the parts of `stress` need of a run: its task, and where pictures go."""

    task: Task
    folder: Path

    def pictures(self, verb: str) -> Path:
        return self.folder


def grays(count: int, seed: int = 0, low: int = 60, high: int = 200) -> np.ndarray:
    """uint8 (N, 1, 6, 6), away from the ends of the range."""
    return np.random.default_rng(seed).integers(low, high, (count, 1, SIDE, SIDE), dtype=np.uint8)


def linear(classes: int = 3, seed: int = 0) -> Linear:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(classes, SIDE * SIDE, generator=generator)
    weight = weight - weight.mean(1, keepdim=True)  # so that no class wins everywhere
    return Linear(weight, torch.zeros(classes))


def said_by(model: nn.Module, x: np.ndarray) -> np.ndarray:
    """The classes that a model answers with: labels that make it right everywhere."""
    with torch.no_grad():
        return model(torch.from_numpy(x))["logits"].argmax(1).numpy()
