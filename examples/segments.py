"""An application of one's own: series of numbers, of varying length, into a tag for every time step.

`lamina train examples/segments.py` learns its demo data; `--data FILE` takes JSON lines: {"signal": [...], "tags": [...]}.

Shapes: B series, T steps, D features, K tags.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from typing_extensions import Doc

from lamina.data.splits import split_columns
from lamina.task import Input, Task, learned


def demo(n=300, seed=0):
    """Noise, waves and rises, one after another."""
    rng = np.random.default_rng(seed)
    signals, tags = [], []
    for _ in range(n):
        parts, names = [], []
        for _ in range(rng.integers(2, 5)):
            k, steps = rng.integers(3), int(rng.integers(10, 30))
            t = np.arange(steps)
            parts.append([np.zeros(steps), np.sin(t * 1.2), t / 15][k] * 5 + rng.normal(0, 1.0, steps) + 20)
            names += [["rest", "wave", "rise"][k]] * steps
        signals.append([round(float(v), 3) for v in np.concatenate(parts)])
        tags.append(names)
    return {"signal": signals, "tags": tags}


class Tagger(nn.Module):
    def __init__(self, width, depth, classes, mean, std):
        super().__init__()
        self.mean, self.std = mean, std
        self.first = nn.Conv1d(1, width, 7, padding=3)
        self.rest = nn.ModuleList([nn.Conv1d(width, width, 5, padding=2) for _ in range(depth)])
        self.head = nn.Linear(width, classes)

    def forward(self, x_BT, length_B):
        inside_B1T = (torch.arange(x_BT.shape[1], device=x_BT.device) < length_B[:, None]).unsqueeze(1)
        x_B1T = ((x_BT - self.mean) / self.std).unsqueeze(1) * inside_B1T
        h_BDT = F.relu(self.first(x_B1T)) * inside_B1T
        for layer in self.rest:
            h_BDT = (h_BDT + F.relu(layer(h_BDT))) * inside_B1T
        features_BD = h_BDT.sum(2) / inside_B1T.sum(2).clamp(min=1)
        return {"scores": self.head(h_BDT.transpose(1, 2)), "features": features_BD}


@dataclass(frozen=True)
class Segments(Task):
    name, about = "segments", "a series of numbers in, a tag for every step out"
    width: Annotated[int, Doc("channels of the convolutions")] = 32
    depth: Annotated[int, Doc("how many convolutions")] = 3
    classes: tuple[str, ...] = learned(())
    mean: float = learned(0.0)
    std: float = learned(1.0)

    headline = property(lambda self: ("step_accuracy", "max"))
    inputs = property(
        lambda self: (  # the series, and how long each is before padding
            Input("signal", ("B", "T"), "float32", "observation"),
            Input("length", ("B",), "int64", "side"),
        )
    )
    asks = property(lambda self: ("signal",))
    labels = property(lambda self: ("tags",))
    sizes = property(lambda self: {"T": (8, 512)})

    def read(self, source):
        if source.data is None:
            columns = demo()
        else:
            rows = [json.loads(line) for line in Path(source.data).read_text().splitlines()]
            columns = {name: [row[name] for row in rows] for name in ("signal", "tags")}
        return split_columns(columns, source)

    def prepare(self, data):
        values = np.concatenate([np.asarray(s, dtype=float) for s in data.train["signal"]])
        return dataclasses.replace(
            self,
            classes=tuple(sorted({t for row in data.train["tags"] for t in row})),
            mean=float(values.mean()),
            std=float(values.std()) or 1.0,
        )

    def encode(self, columns, mode):
        signals = [torch.tensor(s, dtype=torch.float32) for s in columns["signal"]]
        batch = {
            "signal": nn.utils.rnn.pad_sequence(signals, batch_first=True),
            "length": torch.tensor([len(s) for s in signals]),
        }
        if mode != "predict":
            tags = [torch.tensor([self.classes.index(t) for t in row]) for row in columns["tags"]]
            batch["tags"] = nn.utils.rnn.pad_sequence(tags, batch_first=True, padding_value=-100)
        return batch

    def model(self):
        return Tagger(self.width, self.depth, len(self.classes), self.mean, self.std)

    def loss(self, output, batch):
        losses_BT = F.cross_entropy(output["scores"].transpose(1, 2), batch["tags"], reduction="none", ignore_index=-100)
        return losses_BT.sum(1), (batch["tags"] >= 0).sum(1)

    def target(self, forward, batch, which=0):
        said_BT = self.outputs(forward, batch)["scores"].argmax(2)
        inside_BT = torch.arange(said_BT.shape[1], device=said_BT.device) < batch["length"][:, None]
        return {"tags": said_BT.masked_fill(~inside_BT, -100)}

    def predict(self, forward, batch):
        scores_BTK = self.outputs(forward, batch)["scores"]
        said_BT = scores_BTK.argmax(2)
        return [{"tags": [self.classes[int(k)] for k in row[: int(n)]]} for row, n in zip(said_BT, batch["length"], strict=True)]

    def metrics(self, examples, predictions):
        right = [a == b for x, y in zip(examples["tags"], predictions["tags"], strict=True) for a, b in zip(x, y, strict=True)]
        return {"step_accuracy": sum(right) / len(right)}
