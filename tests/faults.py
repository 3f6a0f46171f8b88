"""Two small correct applications, and copies of them with one fault each: what `check_task` must catch by name.

`Words` sorts sequences of varying length (padding, lengths, an embedding). `Cells` predicts a number and a class from a
table with a category and missing values. Neither reads a file.

Shapes: B examples, T words, C columns, D features, K classes.
"""

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
from torch import Tensor, nn

from lamina.data.source import Data
from lamina.errors import LaminaError
from lamina.task import Input, Task, learned
from lamina.train.stream import ShuffledStream

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
    headline = ("accuracy", "max")

    classes: tuple[str, ...] = learned(())
    words: tuple[str, ...] = learned(())

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
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(3 * width, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 1))

    def forward(self, x_BC: Tensor) -> Tensor:
        return self.body(self.columns(x_BC)).squeeze(-1)


@dataclass(frozen=True)
class Cells(Task):
    """A row of a table into a number."""

    name = "tiny-cells"
    headline = ("error", "min")

    kinds: tuple[str, ...] = learned(())
    low: float = learned(0.0)
    high: float = learned(0.0)

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


# The loss.


@fault("loss-averaged")
class MeanOverBatch(Words):
    def loss(self, output, batch):
        return F.cross_entropy(output["logits"], batch["label"]), batch["weight"].sum()


@fault("loss-averaged")
class BroadcastMean(Words):
    def loss(self, output, batch):
        return F.cross_entropy(output["logits"], batch["label"]) * batch["weight"], batch["weight"]


@fault("loss-averaged")
class DividesByBatch(Cells):
    def loss(self, output, batch):
        total, count = super().loss(output, batch)
        return total / len(count), count


@fault("loss-averaged")
class MeanOverItems(Words):
    def loss(self, output, batch):
        total, _ = super().loss(output, batch)
        return total, batch["lengths"].float()


@fault("loss-wrong-shape")
class LossOfColumns(Cells):
    def loss(self, output, batch):
        total, count = super().loss(output, batch)
        return total[:, None], count[:, None]


@fault("counts-depend-on-output")
class CountsConfident(Words):
    def loss(self, output, batch):
        sure_B = (output["logits"].softmax(1).amax(1) > 0.34).float()
        return super().loss(output, batch)[0] * sure_B, sure_B


@fault("random-loss")
class NoisyLoss(Cells):
    def loss(self, output, batch):
        total, count = super().loss(output, batch)
        return total + torch.rand(len(total)), count


@fault("loss-rows-leak")
class Contrasts(Cells):
    def loss(self, output, batch):
        total, count = super().loss(output, batch)
        return total + (output[:, None] - output).square().sum(1), count


@fault("loss-not-finite")
class InfiniteLoss(Cells):
    def loss(self, output, batch):
        total, count = super().loss(output, batch)
        return total / (count - 1), count


# Answers.


@fault("target-not-labels")
class TargetOfOtherNames(Words):
    def target(self, forward, batch, which=0):
        return {"prediction": super().target(forward, batch)["label"]}


@fault("target-not-labels")
class TargetOfLogits(Words):
    def target(self, forward, batch, which=0):
        return {**super().target(forward, batch), "label": self.outputs(forward, batch)["logits"].unsqueeze(1)}


@fault("target-needs-labels")
class TargetIsTruth(Words):
    def target(self, forward, batch, which=0):
        return {name: batch[name] for name in self.labels}


@fault("target-random")
class TargetByChance(Cells):
    def target(self, forward, batch, which=0):
        return {"y": super().target(forward, batch)["y"] + torch.rand(len(batch["x"]))}


@fault("predict-count")
class AnswersOnce(Words):
    def predict(self, forward, batch):
        return super().predict(forward, batch)[:1]


@fault("predict-keys")
class AnswersUnevenly(Words):
    def predict(self, forward, batch):
        return [{**answer, **({"sure": True} if i else {})} for i, answer in enumerate(super().predict(forward, batch))]


@fault("not-json")
class AnswersTensors(Cells):
    def predict(self, forward, batch):
        return [{"y": value} for value in self.outputs(forward, batch)]


@fault("not-json")
class AnswersNumpy(Words):
    def predict(self, forward, batch):
        return [{**answer, "probability": np.float64(answer["probability"])} for answer in super().predict(forward, batch)]


@fault("not-json")
class AnswersNan(Cells):
    def predict(self, forward, batch):
        return [{**answer, "spread": float("nan")} for answer in super().predict(forward, batch)]


@fault("predict-random")
class AnswersByChance(Cells):
    def predict(self, forward, batch):
        return [{"y": answer["y"] + float(torch.rand(()))} for answer in super().predict(forward, batch)]


@fault("metrics-order")
class HeadlineLast(Words):
    def metrics(self, examples, predictions):
        return dict(reversed(super().metrics(examples, predictions).items()))


@fault("metrics-order")
class HeadlineNan(Words):
    def metrics(self, examples, predictions):
        return {**super().metrics(examples, predictions), "accuracy": float("nan")}


@fault("metrics-blind")
class ComparesWithItself(Words):
    def metrics(self, examples, predictions):
        return {"accuracy": float(np.mean([a in CLASSES for a in predictions["label"]]))}


@fault("metrics-blind")
class WrongDirection(Cells):
    headline = ("error", "max")


@fault("score-wrong-shape")
class ScoreOfAll(Words):
    def score(self, output, batch):
        return output["logits"].max()


@fault("score-flat")
class ScoreIsFlat(Cells):
    def score(self, output, batch):
        return -self.loss(output, batch)[0]


# Training.


@fault("augment-changes-shape")
class CropsColumns(Cells):
    def augment(self, batch, generator):
        return {**batch, "x": batch["x"][:, :2]}


@fault("augment-out-of-range")
class ShiftsTooFar(Cells):
    def augment(self, batch, generator):
        x = batch["x"].clone()
        x[:, 0] += 1.0
        return {**batch, "x": x}


@fault("augment-global-randomness")
class AugmentsByChance(Words):
    def augment(self, batch, generator):
        return super().augment(batch, torch.Generator().manual_seed(int(torch.randint(1000, ()))))


class ForgetfulStream(ShuffledStream):
    """Remembers the epoch, and not where in it."""

    def state_dict(self):
        return {"epoch": self.epoch}

    def load_state_dict(self, state):
        self.epoch = state["epoch"]


@fault("stream-not-resumable")
class StreamForgets(Cells):
    def stream(self, model, columns, size, seed, progress):
        return ForgetfulStream(self, columns, size, seed)


@fault("stream-not-resumable")
class TrainsByChance(Words):
    def encode(self, columns, mode):
        batch = super().encode(columns, mode)
        hidden = (torch.rand(batch["tokens"].shape) < 0.5) & (batch["tokens"] > 0) & torch.tensor(mode == "train")
        return {**batch, "tokens": batch["tokens"].masked_fill(hidden, 1)}


@fault("groups-fails")
class GroupsTwice(Cells):
    def groups(self, model, recipe):
        return [{"params": list(model.parameters())}, {"params": [next(model.parameters())]}]


@fault("recipe-fails")
class RecipeOfWords(Cells):
    def recipe(self, data):
        return {"lr": 0.1}


@fault("learns")
class LossOfNothing(Cells):
    def loss(self, output, batch):
        return batch["y"] ** 2 + output * 0, torch.ones_like(batch["y"])


@fault("learns")
class LossDetached(Words):
    def loss(self, output, batch):
        return super().loss({"logits": output["logits"].detach()}, batch)


# What stops altogether, or comes in another kind than the contract's.


@fault("prepare-fails")
class PreparesNothing(Words):
    def prepare(self, data):
        return None


@fault("state-fails")
class CannotSave(Words):
    def save_processor(self, folder):
        raise OSError("no such disk")


@fault("output-not-tensors")
class SaysAList(Words):
    def outputs(self, forward, batch):
        return {**super().outputs(forward, batch), "words": ["sun"] * len(batch["tokens"])}


class OneEyedNet(Net):
    """Takes a second input, and does not look at it."""

    def forward(self, x_BC, y_B):
        return super().forward(x_BC)


@fault("ignored-input")
class IgnoresAnInput(Cells):
    @property
    def inputs(self):
        return (*super().inputs, Input("a", ("B",), "float32", "side"))

    def encode(self, columns, mode):
        return {**super().encode(columns, mode), "a": torch.tensor([float(v) for v in columns["a"]], dtype=torch.float32)}

    def model(self):
        return OneEyedNet(len(self.kinds) + 1)


@fault("loss-fails")
class CannotLose(Words):
    def loss(self, output, batch):
        return super().loss({"logits": output["logit"]}, batch)


@fault("target-fails")
class CannotTarget(Words):
    def target(self, forward, batch, which=0):
        raise KeyError("said")


@fault("predict-fails")
class CannotPredict(Words):
    def predict(self, forward, batch):
        raise KeyError("said")


@fault("metrics-fails")
class CannotMeasure(Words):
    def metrics(self, examples, predictions):
        return {"accuracy": predictions["score"][0]}


@fault("metrics-not-numbers")
class MeasuresInWords(Words):
    def metrics(self, examples, predictions):
        return {"accuracy": "good"}


@fault("details-not-json")
class DetailsOfArrays(Words):
    def details(self, examples, predictions):
        return {"by class": [np.ones(3)]}


@fault("score-fails")
class CannotScore(Words):
    def score(self, output, batch):
        return output["score"]


@fault("augment-fails")
class AugmentsAway(Words):
    def augment(self, batch, generator):
        return {name: value for name, value in batch.items() if name != "label"}


@fault("stream-fails")
class CannotStream(Words):
    def stream(self, model, columns, size, seed, progress):
        return iter([])


@fault("init-fails")
class CannotStart(Words):
    def init(self, model, data):
        raise LaminaError("pretrained.safetensors: expected weights; there is no such file")
