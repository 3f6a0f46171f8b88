"""What a check can find, by name: the names are stable, and each stands for one rule of the contract."""

from __future__ import annotations

from dataclasses import dataclass

RULES: dict[str, str] = {
    # what is declared
    "undeclared": "name, headline, inputs, asks and labels say what the application is",
    "frozen": "a task is a frozen dataclass, and no method changes it: prepare returns a copy",
    "no-defaults": "every hyperparameter has a default",
    "undeclared-size": "sizes gives the least and greatest size of every varying dimension but B",
    # read and prepare
    "read-fails": "read turns a Source into Data",
    "unequal-columns": "the columns of a part have equal lengths, and every part has the same columns",
    "too-few-examples": "the training part holds enough examples to check with",
    "asks-missing": "the columns that a client sends are among the columns that read gives",
    "read-random": "the same data read again gives the same examples and split",
    "prepare-fails": "prepare turns Data into a copy of the task",
    "prepare-random": "prepare learns the same from the same data",
    "prepare-peeks": "prepare learns from the training part alone",
    # what prepare learned
    "state-not-json": "what prepare learned is JSON",
    "state-fails": "what prepare learned can be saved and loaded",
    "state-lost": "a loaded task encodes, builds and answers as the saved one did",
    # encode
    "encode-fails": "encode turns rows, one or many, into a batch",
    "missing-key": "a batch holds every input and every label",
    "not-a-tensor": "a batch holds tensors only",
    "wrong-batch-size": "every tensor of a batch leads with the number of rows",
    "wrong-dims": "inputs have the dims that are declared",
    "wrong-dtype": "inputs have the dtype that is declared",
    "input-out-of-range": "inputs lie within low and high; only a table may hold NaN",
    "encode-random": "outside training, the same rows are encoded the same",
    "encode-depends-on-neighbours": "a row is encoded the same alone and in company, up to padding",
    "labels-needed-at-serving": "a client is answered from the columns in asks alone",
    "serving-skew": "a client's row is encoded as it was when evaluating",
    "pieces-differ": "pieces tells where each token that is no padding stands in the raw text",
    # model and output
    "model-fails": "model builds the module",
    "model-reads-files": "model reads no file and no network",
    "not-on-meta": "the model builds and runs on the meta device",
    "forward-fails": "the model takes the inputs in the order in which they are declared",
    "output-not-tensors": "an output is a tensor or a dict of tensors",
    "output-leading-dim": "every tensor of an output leads with the number of rows",
    "reserved-logits": "logits are (B, K) and features are (B, D)",
    "output-not-finite": "outputs are numbers",
    "random-at-evaluation": "in evaluation mode the same inputs give the same output",
    "rows-leak": "in evaluation mode a row's output does not depend on the other rows",
    "ignored-lengths": "lengths that the model takes change what it says",
    "ignored-input": "every input that the model takes changes what it says",
    "padding-leaks": "an example gives the same output and loss alone as in a padded batch",
    "embed-undeclared": "codes have a submodule whose output stands for them",
    "embed-missing": "embed names a submodule of the model that returns one tensor (B, ...)",
    "embedding-called-twice": "the submodule embed runs exactly once in a forward",
    "leaf-differs": "the model says the same of floats in raw units, and the gradient reaches them",
    # loss
    "loss-fails": "loss turns an output and a batch into sums and counts",
    "loss-wrong-shape": "loss gives a total (B,) and a count (B,)",
    "loss-averaged": "a total is a sum over the items of one example, never a mean",
    "loss-rows-leak": "a row's loss depends on that row alone, unless the task is coupled",
    "loss-not-finite": "losses are numbers, and counts are numbers that are not negative",
    "random-loss": "the same output and batch give the same loss",
    "counts-depend-on-output": "counts depend on the batch alone",
    # answers
    "target-fails": "target says in label form what the model says",
    "target-not-labels": "target gives exactly the labels (and side inputs), and loss takes them",
    "target-needs-labels": "target works on a client's batch, which has no labels",
    "target-random": "target says the same of the same batch",
    "predict-fails": "predict turns a batch into answers",
    "predict-count": "predict gives one answer for each example",
    "predict-keys": "answers are dicts with the same keys",
    "not-json": "answers are JSON: str, int, float, bool, None, lists and dicts of them",
    "predict-random": "the same rows get the same answers",
    "evaluate-fails": "evaluate answers examples and judges the answers",
    "metrics-fails": "metrics turns examples and predictions into figures",
    "metrics-not-numbers": "metrics are a dict of names to numbers",
    "metrics-order": "the headline is the first metric, and finite",
    "metrics-blind": "good predictions have a better headline than the same predictions shuffled",
    "details-not-json": "details are JSON",
    "score-fails": "score says how strongly an output says the labels",
    "score-wrong-shape": "score gives one number for each example",
    "score-flat": "the score of the model's own answer has a gradient at the input",
    # training
    "augment-fails": "augment turns a batch into a batch that the model and the loss take",
    "augment-changes-shape": "augmented inputs keep their shape",
    "augment-out-of-range": "augmented inputs stay within low and high",
    "augment-global-randomness": "augment draws from its generator alone",
    "recipe-fails": "recipe gives a Recipe",
    "groups-fails": "groups gives parameter groups, each parameter at most once",
    "stream-fails": "stream gives training batches",
    "stream-not-resumable": "a stream restored from its state gives the batches that would have followed",
    "init-fails": "init sets the first weights",
    "dead-parameter": "a gradient reaches every parameter that asks for one",
    "learns": "a few steps on one small batch reduce the loss",
    # export
    "export-fails": "torch.export takes the model, with the dimensions varying that are declared to vary",
    "export-differs": "the exported model says the same at other sizes",
    # the check itself
    "check-stopped": "every check can be carried out",
}
"""Name -> the rule that is broken."""


@dataclass(frozen=True)
class Problem:
    """One way in which an application breaks the contract."""

    name: str
    """Stable, in kebab-case: a key of RULES."""
    reason: str
    """What was expected, what came, and so what to change."""
    method: str | None = None
    """The method or property of the task to change."""

    def __str__(self) -> str:
        return f"{self.name}{f' ({self.method})' if self.method else ''}: {self.reason}"


class Broken(Exception):
    """A step failed, and its problem has been noted: what builds on it cannot be checked."""
