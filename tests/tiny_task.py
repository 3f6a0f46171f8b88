"""A task so small that verbs can be tested without training: a number in, `low` or `high` out; and runs that hold it.

Legend: B examples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import nn

from lamina.data.source import Data, Source
from lamina.run import Run
from lamina.task import Batch, Columns, Forward, Input, Mode, Output, Task, learned

NAMES = ("low", "high")


class Line(nn.Module):
    """Logits (B, 2) of numbers (B,): high above zero."""

    def forward(self, x_B: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": torch.stack([-x_B, x_B], 1)}


@dataclass(frozen=True)
class Tiny(Task):
    name: ClassVar[str] = "tiny"
    headline: ClassVar[tuple[str, Literal["max", "min"]]] = ("accuracy", "max")
    scale: float = 1.0
    sizes_of: tuple[int, ...] = (1, 2)
    seen: int = learned(0)

    @property
    def inputs(self) -> tuple[Input, ...]:
        return (Input("x", ("B",), "float32", "table"),)

    @property
    def asks(self) -> tuple[str, ...]:
        return ("x",)

    @property
    def labels(self) -> tuple[str, ...]:
        return ("label",)

    def read(self, source: Source) -> Data:
        return data_of(*(int(n) for n in str(source.data).split("-")))

    def encode(self, columns: Columns, mode: Mode) -> Batch:
        batch = {"x": torch.tensor(np.asarray(columns["x"], dtype=np.float32))}
        if mode != "predict":
            batch["label"] = torch.tensor([NAMES.index(label) for label in columns["label"]])
        return batch

    def model(self) -> nn.Module:
        return Line()

    def loss(self, output: Output, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        loss_B = nn.functional.cross_entropy(output["logits"], batch["label"], reduction="none")  # type: ignore[index]
        return loss_B, torch.ones_like(loss_B)

    def predict(self, forward: Forward, batch: Batch) -> list[dict[str, Any]]:
        p_B2 = forward(batch["x"])["logits"].softmax(1)  # type: ignore[index]
        return [{"label": NAMES[int(p.argmax())], "probability": float(p.max())} for p in p_B2]

    def metrics(self, examples: Columns, predictions: Columns) -> dict[str, float]:
        return {"accuracy": float(np.mean(np.asarray(examples["label"]) == np.asarray(predictions["label"])))}

    def details(self, examples: Columns, predictions: Columns) -> dict[str, Any]:
        return {"classes": [{"class": name, "count": int(np.sum(np.asarray(examples["label"]) == name))} for name in NAMES]}


def rows(count: int, seed: int, wrong: float = 0.2) -> Columns:
    """`count` numbers with labels, of which the share `wrong` is not what the sign says."""
    rng = np.random.default_rng(seed)
    x_N = rng.normal(size=count)
    high_N = (x_N > 0) ^ (rng.random(count) < wrong)
    return {"x": x_N, "label": [NAMES[int(high)] for high in high_N]}


def data_of(count: int = 100, seed: int = 0) -> Data:
    return Data(
        rows(count, seed + 1), rows(20, seed + 2), rows(0, seed + 3), rows(count, seed + 4), fingerprint=f"{count}-{seed}"
    )


class TinyRun(Run):
    """A run that was never trained: its data and its Forward are given."""

    def __init__(
        self, folder: str | Path = "runs/tiny", task: Task | None = None, data: Data | None = None, forward: Any = None
    ) -> None:
        self.held = data or data_of()
        self.given: Callable[..., Any] = forward or Line()
        source = dataclasses.asdict(Source(data="100-0"))
        info = {"source": source, "data": {"fingerprint": self.held.fingerprint}, "task": "tiny"}
        super().__init__(Path(folder), info, task or Tiny())

    def data(self) -> Data:
        return self.held

    def forward(self, device: str = "auto", precision: str | None = None, calibrated: bool = True) -> Forward:
        return self.given


def noisy(seed: int, share: float) -> Callable[[torch.Tensor], dict[str, torch.Tensor]]:
    """A Forward that answers the share `share` of examples at random wrongly, the same ones however they are batched."""

    def forward(x_B: torch.Tensor) -> dict[str, torch.Tensor]:
        flipped = [np.random.default_rng((seed, abs(int(1e6 * float(x))))).random() < share for x in x_B]
        turned_B = torch.where(torch.tensor(flipped), -x_B, x_B)
        return Line()(turned_B)

    return forward
