"""Tasks so small that explanations of them are known: pictures whose answer is one cell, rows whose answer is one column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamina.data.source import Data
from lamina.run import Run
from lamina.task import Batch, Columns, Forward, Input, Mode, Output, Task, learned

SIDE = 16
KINDS = ("dark", "light")


class Spot(nn.Module):
    """{"logits": (B, 2)}: light where the upper left 4x4 of a picture (B, 1, 16, 16) is above middle gray, nothing else counts."""

    def forward(self, x_BCHW: Tensor) -> dict[str, Tensor]:
        light_B = (x_BCHW[:, 0, :4, :4].float().mean((1, 2)) - 127.5) / 30
        return {"logits": torch.stack([-light_B, light_B], 1)}


class Small(nn.Module):
    """A convolution, a ReLU, another, a mean and a linear layer: every way that gradients take through a picture."""

    def __init__(self, seed: int = 0, channels: int = 1) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.conv1, self.conv2 = nn.Conv2d(channels, 6, 3, padding=1), nn.Conv2d(6, 8, 3, stride=2, padding=1)
            self.head = nn.Linear(8, 2)

    def forward(self, x_BCHW: Tensor) -> dict[str, Tensor]:
        x = self.conv2(F.gelu(self.conv1((x_BCHW.float() - 127.5) / 60)))
        features_BD = F.gelu(x).mean((2, 3))
        return {"logits": 8 * self.head(features_BD), "features": features_BD}


@dataclass(frozen=True)
class Pictures(Task):
    """Pictures (1, 16, 16) -> dark or light."""

    name: ClassVar[str] = "pictures"
    network: str = learned("spot")

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
        batch = {"image": torch.from_numpy(np.stack([np.asarray(one) for one in columns["image"]]))}
        return batch if mode == "predict" else {**batch, "label": torch.tensor([KINDS.index(n) for n in columns["label"]])}

    def model(self) -> nn.Module:
        return Spot() if self.network == "spot" else Small()

    def loss(self, output: Output, batch: Batch) -> tuple[Tensor, Tensor]:
        loss_B = F.cross_entropy(output["logits"], batch["label"], reduction="none")  # type: ignore[index]
        return loss_B, torch.ones_like(loss_B)

    def target(self, forward: Forward, batch: Batch, which: int = 0) -> Batch:
        logits = forward(batch[self.inputs[0].name])["logits"]  # type: ignore[index]
        return {"label": logits.argsort(1, descending=True)[:, which]}

    def predict(self, forward: Forward, batch: Batch) -> list[dict[str, Any]]:
        p_B2 = forward(batch[self.inputs[0].name])["logits"].softmax(1)  # type: ignore[index]
        return [{"label": KINDS[int(p.argmax())], "probability": float(p.max())} for p in p_B2]

    def metrics(self, examples: Columns, predictions: Columns) -> dict[str, float]:
        return {"accuracy": float(np.mean(np.asarray(examples["label"]) == np.asarray(predictions["label"])))}


def pictures(count: int, seed: int = 0) -> Columns:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 1, SIDE, SIDE), dtype=np.uint8)
    images[:, :, :4, :4] = np.where(rng.random(count) < 0.5, 80, 180)[:, None, None, None]
    return {"image": images, "label": [KINDS[int(one[0, 0, 0] > 127)] for one in images]}


class Rows(nn.Module):
    """{"logits": (B, 2)} of rows (B, 3) of a size, a colour code 1..3, and a number that nothing depends on.

    Light where the size is above 10, or the colour is the third. A missing size counts as 0.
    """

    def __init__(self) -> None:
        super().__init__()
        self.embed = Lift()

    def forward(self, x_BC: Tensor) -> dict[str, Tensor]:
        cells_BCD = self.embed(x_BC)
        light_B = (cells_BCD[:, 0, 0] - 10) / 2 + cells_BCD[:, 1, 1]
        return {"logits": torch.stack([-light_B, light_B], 1)}


class Lift(nn.Module):
    """(B, C) -> (B, C, 2): a cell and whether it is the third kind, which is worth 20."""

    def forward(self, x_BC: Tensor) -> Tensor:
        return torch.stack([x_BC.nan_to_num(0.0), 20.0 * (x_BC == 3)], 2)


@dataclass(frozen=True)
class Table(Pictures):
    """Rows -> dark or light."""

    name: ClassVar[str] = "rows"
    colors: ClassVar[tuple[str, ...]] = ("blue", "green", "red")

    @property
    def headline(self) -> Any:
        return "accuracy", "max"

    @property
    def inputs(self) -> tuple[Input, ...]:
        return (Input("table", ("B", 3), "float32", "table", (0.0, 0.0, 0.0), (20.0, 3.0, 1.0)),)

    @property
    def asks(self) -> tuple[str, ...]:
        return ("size", "colour", "noise")

    @property
    def embed(self) -> str:
        return "embed"

    def encode(self, columns: Columns, mode: Mode) -> Batch:
        code = [float("nan") if c is None else self.colors.index(c) + 1.0 for c in columns["colour"]]
        table = np.stack([np.asarray(columns["size"], float), code, np.asarray(columns["noise"], float)], 1).astype(np.float32)
        batch = {"table": torch.from_numpy(table)}
        return batch if mode == "predict" else {**batch, "label": torch.tensor([KINDS.index(n) for n in columns["label"]])}

    def model(self) -> nn.Module:
        return Rows()


def table(count: int, seed: int = 0) -> Columns:
    rng = np.random.default_rng(seed)
    size = rng.integers(0, 21, count).astype(float)
    colour = [Table.colors[int(i)] for i in rng.choice(3, count, p=[0.5, 0.4, 0.1])]
    label = [KINDS[int(s > 10 or c == "red")] for s, c in zip(size, colour, strict=True)]
    return {"size": size, "colour": colour, "noise": rng.random(count), "label": label}


class Held(Run):
    """A run that was never trained: data, model and folder are given."""

    def __init__(self, folder: Path, task: Task, data: Data | None, model: nn.Module | None = None) -> None:
        super().__init__(folder, {"task": task.name, "data": {"fingerprint": "held"}, "source": {"data": "<memory>"}}, task)
        self.held, self.given = data, model or task.model()

    def data(self) -> Data:
        return self.held if self.held is not None else super().data()

    def model(self) -> nn.Module:
        return self.given.eval()


def data_of(columns: Mapping[str, Any], train: Mapping[str, Any]) -> Data:
    none = {name: [] for name in train}
    return Data(dict(train), none, none, dict(columns), fingerprint="held")
