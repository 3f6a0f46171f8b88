"""Planted faults in what is declared, read, prepared and encoded, and in the network. `more_faults.py` goes on."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from faultless import FAULTS, Bag, Cells, Words, fault
from lamina.task import Task

# What is declared, read and prepared.


@fault("frozen")
class NotADataclass(Words):
    width: int = 8


@fault("frozen")
class PrepareChangesItself(Words):
    def prepare(self, data):
        object.__setattr__(self, "classes", ("good",))
        return super().prepare(data)


@fault("frozen")
class PredictChangesItself(Words):
    def predict(self, forward, batch):
        object.__setattr__(self, "classes", self.classes[::-1])
        answers = super().predict(forward, batch)
        object.__setattr__(self, "classes", self.classes[::-1])
        object.__setattr__(self, "words", (*self.words, "grown") if "grown" not in self.words else self.words)
        return answers


@fault("no-defaults")
@dataclass(frozen=True, kw_only=True)
class NeedsArguments(Words):
    width: int


@fault("undeclared")
class NoName(Words):
    name = ""


@fault("undeclared-size")
class NoSizes(Words):
    @property
    def sizes(self):
        return {}


@fault("asks-missing")
class AsksForMore(Words):
    @property
    def asks(self):
        return ("text", "language")


@fault("read-fails")
class CannotRead(Words):
    def read(self, source):
        raise FileNotFoundError("no such folder")


@fault("unequal-columns")
class UnequalColumns(Words):
    def read(self, source):
        data = super().read(source)
        return dataclasses.replace(data, train={**data.train, "label": data.train["label"][:-1]})


@fault("too-few-examples")
class NoExamples(Words):
    def read(self, source):
        return dataclasses.replace(super().read(source), train={"text": [], "label": []})


@fault("read-random")
class ReadsAnew(Words):
    def read(self, source):
        return dataclasses.replace(super().read(source), fingerprint=str(object()) + str(np.random.default_rng().random()))


@fault("prepare-random")
class PreparesAnew(Cells):
    def prepare(self, data):
        return dataclasses.replace(super().prepare(data), high=100 + float(np.random.default_rng().random()))


@fault("prepare-peeks")
class PeeksAtNumbers(Cells):
    def prepare(self, data):
        everything = [*data.train["a"], *data.test["a"]]
        return dataclasses.replace(super().prepare(data), low=float(min(everything)) - 1, high=float(max(everything)))


@fault("prepare-peeks")
class PeeksAtClasses(Words):
    def prepare(self, data):
        seen = set(data.train["label"]) | set(data.valid["label"])
        return dataclasses.replace(super().prepare(data), classes=tuple(sorted(seen)))


@fault("state-not-json")
class LearnsAnArray(Words):
    def prepare(self, data):
        prepared = super().prepare(data)
        return dataclasses.replace(prepared, words=np.array(prepared.words))


@fault("state-lost")
class ForgetsWords(Words):
    def state(self):
        return {"classes": self.classes}


@fault("state-lost")
class ForgetsTheOrder(Words):
    def with_state(self, state):
        return dataclasses.replace(self, classes=tuple(reversed(state["classes"])), words=tuple(state["words"]))


# What encode gives.


@fault("encode-fails")
class CannotEncodeOne(Cells):
    def encode(self, columns, mode):
        if len(columns["a"]) == 1:
            raise IndexError("too few rows")
        return super().encode(columns, mode)


@fault("missing-key")
class NoLabels(Words):
    def encode(self, columns, mode):
        return {name: value for name, value in super().encode(columns, mode).items() if name != "label"}


@fault("not-a-tensor")
class EncodesArrays(Cells):
    def encode(self, columns, mode):
        return {name: value.numpy() for name, value in super().encode(columns, mode).items()}


@fault("wrong-batch-size")
class EncodesOneWeight(Words):
    def encode(self, columns, mode):
        return {**super().encode(columns, mode), "weight": torch.tensor(1.0)}


@fault("wrong-dims")
class DeclaresOtherDims(Cells):
    @property
    def inputs(self):
        return tuple(dataclasses.replace(i, dims=("B", 4), low=None, high=None) for i in super().inputs)


@fault("wrong-dtype")
class DeclaresOtherDtype(Cells):
    @property
    def inputs(self):
        return tuple(dataclasses.replace(i, dtype="float64") for i in super().inputs)


@fault("input-out-of-range")
class LeavesItsRange(Cells):
    def prepare(self, data):
        return dataclasses.replace(super().prepare(data), high=5.0)


@fault("encode-random")
class MasksByChance(Words):
    def encode(self, columns, mode):
        batch = super().encode(columns, mode)
        hidden = (torch.rand(batch["tokens"].shape) < 0.5) & (batch["tokens"] > 0)
        return {**batch, "tokens": batch["tokens"].masked_fill(hidden, 1)}


@fault("encode-depends-on-neighbours")
class ScalesByTheBatch(Cells):
    def encode(self, columns, mode):
        batch = super().encode(columns, mode)
        x = batch["x"].clone()
        x[:, 0] = self.low + (self.high - self.low) * x[:, 0] / x[:, 0].max()
        return {**batch, "x": x}


@fault("labels-needed-at-serving")
class EncodesLabelsAlways(Words):
    def encode(self, columns, mode):
        return super().encode(columns, "evaluate")


@fault("labels-needed-at-serving")
class PredictsWithLabels(Words):
    def predict(self, forward, batch):
        return [{**answer, "true": int(y)} for answer, y in zip(super().predict(forward, batch), batch["label"], strict=True)]


@fault("serving-skew")
class ServesLowerCase(Words):
    def encode(self, columns, mode):
        if mode == "predict":
            columns = {**columns, "text": [text.upper() for text in columns["text"]]}
        return super().encode(columns, mode)


@fault("pieces-differ")
class TellsNoEnd(Words):
    def pieces(self, columns):
        found = []
        for text in columns["text"]:
            starts = [0, *(i + 1 for i, c in enumerate(text) if c == " ")]
            found.append([(text[a:], a, len(text) + 1) for a in starts])
        return found


# What the model says.


def with_model(task: type[Task], change: Callable[[Any], nn.Module]) -> type[Task]:
    """A copy of `task` whose model is changed."""

    def model(self):
        return change(task.model(self))

    return type(f"{change.__name__.title()}{task.__name__}", (task,), {"model": model, "__module__": task.__module__})


def bag(base: type[Bag]) -> Callable[[Bag], Bag]:
    return lambda plain: base(plain.embed.num_embeddings - 2, plain.head.out_features)


class LeakyBag(Bag):
    """Divides by the padded length."""

    def forward(self, x_BT, length_B):
        e_BTD = self.embed(x_BT)
        inside_BT1 = (torch.arange(x_BT.shape[1], device=x_BT.device)[None] < length_B[:, None]).unsqueeze(-1)
        mean_BD = (e_BTD * inside_BT1).sum(1) / x_BT.shape[1]
        return {"logits": self.head(torch.cat([mean_BD, mean_BD], 1))}


class DeafBag(Bag):
    """Takes no notice of lengths."""

    def forward(self, x_BT, length_B):
        mean_BD = self.embed(x_BT).mean(1)
        return {"logits": self.head(torch.cat([mean_BD, mean_BD], 1))}


class ShuffledBag(Bag):
    """Looks at the neighbours, in evaluation too."""

    def forward(self, x_BT, length_B):
        output = super().forward(x_BT, length_B)
        return {"logits": output["logits"] - output["logits"].mean(0)}


class RestlessBag(Bag):
    """Drops features in evaluation too."""

    def forward(self, x_BT, length_B):
        output = super().forward(x_BT, length_B)
        return {"logits": self.head(F.dropout(output["features"], 0.5, training=True))}


class LopsidedBag(Bag):
    """Says one row too few."""

    def forward(self, x_BT, length_B):
        return {**super().forward(x_BT, length_B), "words": self.embed.weight}


class LongBag(Bag):
    """Logits of every word under the reserved name."""

    def forward(self, x_BT, length_B):
        output = super().forward(x_BT, length_B)
        return {"logits": output["logits"], "features": output["features"].unsqueeze(1)}


class TwiceBag(Bag):
    """Embeds twice."""

    def forward(self, x_BT, length_B):
        self.embed(x_BT)
        return super().forward(x_BT, length_B)


class DeadBag(Bag):
    """Has a layer that it does not use."""

    def __init__(self, words, classes):
        super().__init__(words, classes)
        self.spare = nn.Linear(4, 4)


class DetachedBag(Bag):
    """No gradient comes back beyond the head."""

    def forward(self, x_BT, length_B):
        return {"logits": self.head(super().forward(x_BT, length_B)["features"].detach())}


class ExportedBag(Bag):
    """Takes a short cut that is only taken while exporting."""

    def forward(self, x_BT, length_B):
        output = super().forward(x_BT, length_B)
        return {"logits": output["logits"] * 2} if torch.compiler.is_exporting() else {"logits": output["logits"]}


class FixedBag(Bag):
    """Branches on the size of the batch."""

    def forward(self, x_BT, length_B):
        output = super().forward(x_BT, length_B)
        return output if x_BT.shape[0] < 5 else {**output, "logits": output["logits"] + 0.0}


class HostBag(Bag):
    """Makes a table on the processor, whatever the device."""

    def __init__(self, words, classes):
        super().__init__(words, classes)
        self.register_buffer("table", torch.from_numpy(np.ones(2 * 8, dtype=np.float32)))

    def forward(self, x_BT, length_B):
        return {"logits": self.head(super().forward(x_BT, length_B)["features"] * self.table)}


class NanBag(Bag):
    """The logarithm of what may be negative."""

    def forward(self, x_BT, length_B):
        return {"logits": super().forward(x_BT, length_B)["logits"].log()}


FAULTS += [
    ("padding-leaks", with_model(Words, bag(LeakyBag))),
    ("ignored-lengths", with_model(Words, bag(DeafBag))),
    ("rows-leak", with_model(Words, bag(ShuffledBag))),
    ("random-at-evaluation", with_model(Words, bag(RestlessBag))),
    ("output-leading-dim", with_model(Words, bag(LopsidedBag))),
    ("reserved-logits", with_model(Words, bag(LongBag))),
    ("embedding-called-twice", with_model(Words, bag(TwiceBag))),
    ("dead-parameter", with_model(Words, bag(DeadBag))),
    ("export-differs", with_model(Words, bag(ExportedBag))),
    ("export-fails", with_model(Words, bag(FixedBag))),
    ("not-on-meta", with_model(Words, bag(HostBag))),
    ("output-not-finite", with_model(Words, bag(NanBag))),
    ("leaf-differs", with_model(Words, bag(DetachedBag))),
]


@fault("model-reads-files")
class ReadsWeights(Words):
    def model(self):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "weights").write_text("1")
            (Path(folder) / "weights").read_text()
        return super().model()


@fault("model-fails")
class CannotBuild(Words):
    def model(self):
        raise ValueError("width must be even")


@fault("forward-fails")
class WrongOrder(Words):
    @property
    def inputs(self):
        return super().inputs[::-1]


@fault("embed-missing")
class NamesNoSubmodule(Words):
    @property
    def embed(self):
        return "embedding"


@fault("embed-undeclared")
class NamesNothing(Words):
    @property
    def embed(self):
        return None
