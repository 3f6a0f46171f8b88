"""A task of texts so small that it is trained in seconds: sentences with a planted trigger word -> good or bad.

Tokens are pieces of at most four letters, so that most words are several of them, between a beginning and an end; every
sentence may be padded on the left. What each piece stands for is known, and so is what the answer rests on.

Shapes: B texts, T tokens, D features.
"""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamina.data.source import Data, Source
from lamina.task import Batch, Columns, Forward, Input, Mode, Output, Piece, Task, learned
from lamina.train.recipe import Recipe

KINDS = ("bad", "good")
TRIGGERS = {"good": ("superb", "delightful"), "bad": ("dreadful", "tedious")}
FILLERS = [
    "the",
    "a",
    "this",
    "that",
    "film",
    "story",
    "actor",
    "plot",
    "music",
    "scene",
    "camera",
    "and",
    "with",
    "of",
    "in",
    "about",
    "is",
    "was",
    "seems",
    "from",
    "to",
    "it",
    "an",
    "old",
    "new",
    "long",
    "short",
    "quiet",
    "loud",
    "young",
    "woman",
    "man",
    "city",
    "summer",
    "winter",
    "little",
    "big",
    "first",
    "last",
    "another",
    "every",
]
SPECIALS = ("<pad>", "<unk>", "<bos>", "<eos>")
PIECES = re.compile(r"\w{1,4}|[^\w\s]")


def sentences(count: int, seed: int = 0, plain: float = 0.0) -> Columns:
    """Fillers of any order around one trigger, which decides the label; a comma or a point here and there.

    A share `plain` has no trigger and a label by chance, so that neither answer can be had by default.
    """
    rng = np.random.default_rng(seed)
    texts, labels = [], []
    for _ in range(count):
        words = [str(w) for w in rng.choice(FILLERS, rng.integers(4, 14))]
        label = KINDS[int(rng.integers(2))]
        if rng.random() >= plain:
            words.insert(int(rng.integers(len(words) + 1)), str(rng.choice(TRIGGERS[label])))
        place = int(rng.integers(len(words)))
        words[place] += "," if rng.random() < 0.5 else ""
        text = " ".join(words) + ("." if rng.random() < 0.5 else "")
        texts.append(text[0].upper() + text[1:])
        labels.append(label)
    return {"text": texts, "label": labels}


class Recurrent(nn.Module):
    """Embeddings, an LSTM that sees padding last wherever it stands, the greatest value over time, a linear layer."""

    def __init__(self, codes: int, width: int = 24) -> None:
        super().__init__()
        self.embed = nn.Embedding(codes, width, padding_idx=0)
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.head = nn.Linear(width, 2)

    def forward(self, x_BT: Tensor) -> dict[str, Tensor]:
        order_BT1 = (x_BT == 0).long().argsort(dim=1, stable=True).unsqueeze(2)
        inside_BT1 = (x_BT != 0).unsqueeze(2).gather(1, order_BT1)
        e_BTD = self.embed(x_BT)
        h_BTD, _ = self.lstm(e_BTD.gather(1, order_BT1.expand_as(e_BTD)))
        features_BD = h_BTD.masked_fill(~inside_BT1, -1.0).amax(1)
        return {"logits": self.head(features_BD), "features": features_BD}


class Attentive(nn.Module):
    """Embeddings, one layer of attention and a ReLU, the mean over what is no padding, a linear layer."""

    def __init__(self, codes: int, width: int = 24) -> None:
        super().__init__()
        self.embed = nn.Embedding(codes, width, padding_idx=0)
        self.qkv, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.head = nn.Linear(width, 2)

    def forward(self, x_BT: Tensor) -> dict[str, Tensor]:
        inside_BT = x_BT != 0
        h_BTD = self.embed(x_BT)
        q, k, v = (part.unsqueeze(1) for part in self.qkv(h_BTD).chunk(3, -1))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=inside_BT[:, None, None])
        h_BTD = h_BTD + self.mix(mixed.squeeze(1))
        h_BTD = h_BTD + self.down(F.relu(self.up(h_BTD)))
        features_BD = (h_BTD * inside_BT.unsqueeze(2)).sum(1) / inside_BT.sum(1, keepdim=True).clamp(min=1)
        return {"logits": self.head(features_BD), "features": features_BD}


@dataclass(frozen=True)
class Sentences(Task):
    name: ClassVar[str] = "sentences"
    about: ClassVar[str] = "a sentence in, good or bad out"
    network: str = "recurrent"
    left: bool = False
    most: int = 64
    vocabulary: tuple[str, ...] = learned(())

    @property
    def headline(self) -> Any:
        return "accuracy", "max"

    @property
    def inputs(self) -> tuple[Input, ...]:
        return (Input("tokens", ("B", "T"), "int64", "text", 0, max(4, len(self.vocabulary)) - 1),)

    @property
    def asks(self) -> tuple[str, ...]:
        return ("text",)

    @property
    def labels(self) -> tuple[str, ...]:
        return ("label",)

    @property
    def embed(self) -> str:
        return "embed"

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        return {"T": (2, self.most)}

    def read(self, source: Source) -> Data:
        if source.data is not None:  # JSON lines: {"text", "label", "part"}
            rows = [json.loads(line) for line in Path(str(source.data)).read_text(encoding="utf-8").splitlines()]
            kept = [[row for row in rows if row["part"] == part] for part in ("train", "valid", "calibration", "test")]
            return Data(
                *({name: [row[name] for row in part] for name in ("text", "label")} for part in kept), fingerprint="sentences"
            )
        parts = [sentences(n, seed) for seed, n in enumerate((240, 60, 60, 80))]
        return Data(*parts, fingerprint="sentences")

    def prepare(self, data: Data) -> Sentences:
        known = sorted({piece.casefold() for text in data.train["text"] for piece in PIECES.findall(text)})
        return dataclasses.replace(self, vocabulary=(*SPECIALS, *known))

    def pieces(self, columns: Columns) -> list[list[Piece]]:
        found = []
        for text in columns["text"]:
            inner = [(m.group(), m.start(), m.end()) for m in PIECES.finditer(text)][: self.most - 2]
            found.append([("<bos>", 0, 0), *inner, ("<eos>", len(text), len(text))])
        return found

    def encode(self, columns: Columns, mode: Mode) -> Batch:
        codes = {piece: i for i, piece in enumerate(self.vocabulary)}
        rows = [
            torch.tensor([2, *(codes.get(piece.casefold(), 1) for piece, _, _ in pieces[1:-1]), 3])
            for pieces in self.pieces(columns)
        ]
        longest = max(map(len, rows), default=0)
        pad = [(longest - len(row), 0) if self.left else (0, longest - len(row)) for row in rows]
        batch = {"tokens": torch.stack([F.pad(row, sides) for row, sides in zip(rows, pad, strict=True)])}
        return batch if mode == "predict" else {**batch, "label": torch.tensor([KINDS.index(n) for n in columns["label"]])}

    def model(self) -> nn.Module:
        return (Recurrent if self.network == "recurrent" else Attentive)(max(4, len(self.vocabulary)))

    def recipe(self, data: Data) -> Recipe:
        return Recipe(lr=1e-2, epochs=8, batch_size=32)

    def loss(self, output: Output, batch: Batch) -> tuple[Tensor, Tensor]:
        loss_B = F.cross_entropy(output["logits"], batch["label"], reduction="none")  # type: ignore[index]
        return loss_B, torch.ones_like(loss_B)

    def target(self, forward: Forward, batch: Batch, which: int = 0) -> Batch:
        logits = forward(batch["tokens"])["logits"]  # type: ignore[index]
        return {"label": logits.argsort(1, descending=True)[:, which]}

    def predict(self, forward: Forward, batch: Batch) -> list[dict[str, Any]]:
        p_B2 = forward(batch["tokens"])["logits"].softmax(1)  # type: ignore[index]
        return [{"label": KINDS[int(p.argmax())], "probability": float(p.max())} for p in p_B2]

    def metrics(self, examples: Columns, predictions: Columns) -> dict[str, float]:
        return {"accuracy": float(np.mean(np.asarray(examples["label"]) == np.asarray(predictions["label"])))}


def trained(task: Sentences, columns: Columns, steps: int = 60) -> nn.Module:
    """The network of a prepared task, a few steps of Adam on all of `columns` later; ready to answer. More steps make it so sure
    that its gradients say little, and which word they name first then depends on the processor."""
    with torch.random.fork_rng():  # dropout too is the same whatever was tested before
        torch.manual_seed(0)
        model = task.model()
        batch = task.encode(columns, "train")
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        generator = torch.Generator().manual_seed(0)
        for _ in range(steps):
            rows = torch.randint(len(batch["label"]), (64,), generator=generator)
            some = {name: value[rows] for name, value in batch.items()}
            optimizer.zero_grad()
            task.loss(task.outputs(model, some), some)[0].mean().backward()
            optimizer.step()
    return model.eval()


def prepared(**fields: Any) -> tuple[Sentences, Columns]:
    """A task that knows its vocabulary, and what it learned it from."""
    columns = sentences(600, plain=0.4)
    none: Columns = {name: [] for name in columns}
    task = Sentences(**fields).prepare(Data(columns, none, none, none, fingerprint="held"))
    return task, columns
