"""Two small correct applications, of which `faults.py` and `more_faults.py` hold copies with one fault each.

`Words` sorts sequences of varying length (padding, lengths, an embedding). `Cells` predicts a number from a table with
a category and missing values. Neither reads a file.

Shapes: B examples, T words, C columns, D features, K classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamina.data.source import Data
from lamina.task import Input, Task, learned

VOCABULARY = ("sun", "rain", "snow", "wind", "fog", "hail")
CLASSES = ("good", "bad", "worse")


def sentences(count: int, seed: int) -> dict[str, Any]:
    """Sentences of 1 to 9 words; the class is that of the word that they end with."""
    rng = np.random.default_rng(seed)
    rows = [list(rng.choice(VOCABULARY, rng.integers(1, 10))) for _ in range(count)]
    return {"text": [" ".join(map(str, r)) for r in rows], "label": [CLASSES[VOCABULARY.index(r[-1]) % 3] for r in rows]}


def four_parts(make: Callable[[int, int], dict[str, Any]]) -> Data:
    return Data(train=make(48, 0), valid=make(16, 1), calibration=make(8, 2), test=make(16, 3), fingerprint="made")


class Bag(nn.Module):
    """Mean of the words' vectors, and the vector of the last word: x_BT (int64), length_B (int64) -> logits (B, K)."""

    def __init__(self, words: int, classes: int, width: int = 8) -> None:
        super().__init__()
        self.embed = nn.Embedding(words + 2, width)
        self.head = nn.Linear(2 * width, classes)

    def forward(self, x_BT: Tensor, length_B: Tensor) -> dict[str, Tensor]:
        e_BTD = self.embed(x_BT)
        at_1T = torch.arange(x_BT.shape[1], device=x_BT.device)[None]
        inside_BT1 = (at_1T < length_B[:, None]).unsqueeze(-1)
        last_BT1 = (at_1T == length_B[:, None] - 1).unsqueeze(-1)
        mean_BD = (e_BTD * inside_BT1).sum(1) / length_B[:, None]
        features_BD = torch.cat([mean_BD, (e_BTD * last_BT1).sum(1)], 1)
        return {"logits": self.head(features_BD), "features": features_BD}


@dataclass(frozen=True)
class Words(Task):
    """Sequences of varying length into classes."""

    name = "tiny-words"

    classes: tuple[str, ...] = learned(())
    words: tuple[str, ...] = learned(())

    @property
    def headline(self):
        return "accuracy", "max"

    @property
    def inputs(self):
        high = len(self.words) + 1
        return (Input("tokens", ("B", "T"), "int64", "text", 0, high), Input("lengths", ("B",), "int64", "side", 1, 16))

    @property
    def asks(self):
        return ("text",)

    @property
    def labels(self):
        return ("label", "weight")

    @property
    def embed(self):
        return "embed"

    @property
    def sizes(self):
        return {"T": (1, 16)}

    def read(self, source):
        return four_parts(sentences)

    def prepare(self, data):
        words = tuple(sorted({w for text in data.train["text"] for w in text.split()}))
        return dataclasses.replace(self, classes=tuple(sorted(set(data.train["label"]))), words=words)

    def encode(self, columns, mode):
        codes = {w: i + 2 for i, w in enumerate(self.words)}  # 0 is padding, 1 an unknown word
        rows = [torch.tensor([codes.get(w, 1) for w in text.split()[:16]]) for text in columns["text"]]
        batch = {
            "tokens": nn.utils.rnn.pad_sequence(rows, batch_first=True),
            "lengths": torch.tensor([len(r) for r in rows]),
        }
        if mode != "predict":
            batch["label"] = torch.tensor([list(self.classes).index(c) for c in columns["label"]])
            batch["weight"] = torch.ones(len(rows))
        return batch

    def model(self) -> nn.Module:
        return Bag(len(self.words), len(self.classes))

    def loss(self, output, batch):
        each_B = F.cross_entropy(output["logits"], batch["label"], reduction="none")
        return each_B * batch["weight"], batch["weight"]

    def target(self, forward, batch, which=0):
        logits_BK = self.outputs(forward, batch)["logits"]
        return {"label": logits_BK.argmax(1), "weight": torch.ones(len(logits_BK))}

    def predict(self, forward, batch):
        p_BK = self.outputs(forward, batch)["logits"].softmax(1)
        return [{"label": self.classes[int(p.argmax())], "probability": float(p.max())} for p in p_BK]

    def metrics(self, examples, predictions):
        pairs = list(zip(examples["label"], predictions["label"], strict=True))
        return {"accuracy": sum(a == b for a, b in pairs) / len(pairs), "count": float(len(pairs))}

    def augment(self, batch, generator):
        blank_BT = torch.rand(batch["tokens"].shape, generator=generator) < 0.1
        return {**batch, "tokens": batch["tokens"].masked_fill(blank_BT & (batch["tokens"] > 0), 1)}


def cells(count: int, seed: int) -> dict[str, Any]:
    """Three columns: a number, a number that may be missing, a category; what is asked for is a sum of them."""
    rng = np.random.default_rng(seed)
    a, b, kind = rng.uniform(0, 10, count), rng.uniform(-1, 1, count), rng.integers(0, 3, count)
    y = 0.3 * a + b + kind
    b[rng.random(count) < 0.2] = np.nan
    return {"a": a, "b": b, "kind": [("x", "y", "z")[k] for k in kind], "y": y}


class Columns(nn.Module):
    """One vector a column: x_BC (two numbers, NaN for missing, and a code) -> (B, C, D)."""

    def __init__(self, codes: int, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(2, width))
        self.bias = nn.Parameter(torch.zeros(2, width))
        self.missing = nn.Parameter(torch.randn(2, width))
        self.codes = nn.Embedding(codes, width)

    def forward(self, x_BC: Tensor) -> Tensor:
        numbers_B2 = x_BC[:, :2]
        absent_B21 = numbers_B2.isnan().unsqueeze(-1)
        numbers_B2D = numbers_B2.nan_to_num().unsqueeze(-1) * self.scale + self.bias
        return torch.cat([torch.where(absent_B21, self.missing, numbers_B2D), self.codes(x_BC[:, 2:].long())], 1)


class Net(nn.Module):
    def __init__(self, codes: int, width: int = 8) -> None:
        super().__init__()
        self.columns = Columns(codes, width)
        self.body = nn.Sequential(
            nn.Flatten(), nn.Linear(3 * width, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 1)
        )

    def forward(self, x_BC: Tensor) -> Tensor:
        return self.body(self.columns(x_BC)).squeeze(-1)


@dataclass(frozen=True)
class Cells(Task):
    """A row of a table into a number."""

    name = "tiny-cells"

    kinds: tuple[str, ...] = learned(())
    low: float = learned(0.0)
    high: float = learned(0.0)

    @property
    def headline(self):
        return "error", "min"

    @property
    def inputs(self):
        return (Input("x", ("B", 3), "float32", "table", (self.low, -1.0, 0.0), (self.high, 1.0, float(len(self.kinds)))),)

    @property
    def asks(self):
        return ("a", "b", "kind")

    @property
    def labels(self):
        return ("y",)

    @property
    def embed(self):
        return "columns"

    def read(self, source):
        return four_parts(cells)

    def prepare(self, data):
        a = [float(v) for v in data.train["a"]]
        return dataclasses.replace(self, kinds=tuple(sorted(set(data.train["kind"]))), low=min(a), high=max(a))

    def encode(self, columns, mode):
        codes = [self.kinds.index(k) if k in self.kinds else len(self.kinds) for k in columns["kind"]]
        rows = zip(columns["a"], columns["b"], codes, strict=True)
        batch = {"x": torch.tensor([[float(v) for v in r] for r in rows], dtype=torch.float32)}
        if mode != "predict":
            batch["y"] = torch.tensor([float(v) for v in columns["y"]], dtype=torch.float32)
        return batch

    def model(self) -> nn.Module:
        return Net(len(self.kinds) + 1)

    def loss(self, output, batch):
        return (output - batch["y"]) ** 2, torch.ones_like(batch["y"])

    def score(self, output, batch):
        return output * batch["y"].sign()  # squared error is flat at its own answer

    def target(self, forward, batch, which=0):
        return {"y": self.outputs(forward, batch)}

    def predict(self, forward, batch):
        return [{"y": float(v)} for v in self.outputs(forward, batch)]

    def metrics(self, examples, predictions):
        return {"error": float(np.mean((np.asarray(examples["y"], float) - np.asarray(predictions["y"], float)) ** 2))}


FAULTS: list[tuple[str, type[Task]]] = []
"""(the name of the problem, an application that has it and no other)."""


def fault(name: str) -> Callable[[type[Task]], type[Task]]:
    """Plant the class below in FAULTS."""

    def plant(cls: type[Task]) -> type[Task]:
        FAULTS.append((name, cls))
        return cls

    return plant
