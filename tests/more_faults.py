"""Planted faults in the loss, in answers, in training, and steps that stop altogether."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from faultless import CLASSES, Cells, Net, Words, fault
from lamina.errors import LaminaError
from lamina.task import Input
from lamina.train.stream import ShuffledStream

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
    @property
    def headline(self):
        return "error", "max"


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


@fault("evaluate-fails")
class CannotPlay(Words):
    acts = True

    def evaluate(self, forward, columns, batch_size=250):
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
