"""Tables: a row in, a class or a number out.

Data: CSV, TSV, Parquet, JSON lines, KEEL or ARFF files, a folder of train, valid and test, a saved `datasets` folder,
`(X, y)`, a dict of columns or a data frame. Without data: the breast cancer table that scikit-learn ships. Whether the
answer is a class or a number is seen from its column, and can be said with `answer`.

The default network is an ensemble of small perceptrons that share their weights (TabM); see `models/table_mlp.py`.

B rows, C columns, M members of an ensemble, K classes, D features.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from typing_extensions import Doc

from lamina.errors import LaminaError
from lamina.task import Batch, Columns, Forward, Input, Mode, Output, Serving, Stream, Task, learned

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from lamina.data.source import Data, Source
    from lamina.decode.classes import Classes
    from lamina.modalities.table import TableEncoder
    from lamina.train.recipe import Recipe


FEW_ROWS = 2000
"""Below this many training rows, validation rows are too few to choose weights by."""


@dataclass(frozen=True)
class Tabular(Task):
    """A row of a table in, a class with its probability or a number out."""

    model_name: Annotated[
        Literal["auto", "mlp", "ft-transformer"], Doc("the network; auto: mlp, an ensemble of perceptrons with shared weights")
    ] = "auto"
    answer: Annotated[
        Literal["auto", "classification", "regression"],
        Doc("what the answer is; auto: a number where it is not whole or has more than 20 values, else a class"),
    ] = "auto"
    width: Annotated[int | None, Doc("width of the hidden layers (default: 128 for mlp, 64 for ft-transformer)")] = None
    depth: Annotated[int | None, Doc("hidden layers (default: 2 for mlp, 3 for ft-transformer)")] = None
    embedding: Annotated[int, Doc("width of the embedding of a cell, for mlp")] = 8
    members: Annotated[int, Doc("perceptrons in the ensemble, for mlp")] = 8
    heads: Annotated[int, Doc("attention heads, for ft-transformer")] = 8
    dropout: Annotated[float, Doc("share of hidden features dropped in training")] = 0.2
    attention_dropout: Annotated[float, Doc("share of attention weights dropped in training, for ft-transformer")] = 0.2
    class_weights: Annotated[Literal["none", "balanced"], Doc("balanced: rare classes count more in the loss")] = "none"

    network: str = learned("")
    kind: str = learned("")
    label_column: str = learned("")
    table: tuple[dict[str, Any], ...] = learned(())
    """The state of the TableEncoder."""
    classes: tuple[str, ...] = learned(())
    weights: tuple[float, ...] = learned(())
    target_mean: float = learned(0.0)
    target_std: float = learned(1.0)

    name: ClassVar[str] = "tabular"
    about: ClassVar[str] = "a row of a table -> a class or a number"
    formats: ClassVar[tuple[str, ...]] = (
        "CSV/TSV", "Parquet", "JSON lines", "KEEL/ARFF", "a folder of train, valid, test", "datasets", "arrays", "data frames",
    )  # fmt: skip

    @property
    def headline(self) -> tuple[str, Literal["max", "min"]]:
        return ("rmse", "min") if self.regression else ("accuracy", "max")

    @property
    def regression(self) -> bool:
        return "regression" in (self.kind, self.answer)

    @property
    def encoder(self) -> TableEncoder:
        from lamina.modalities.table import TableEncoder

        return TableEncoder.from_state(self.table)

    @property
    def decoder(self) -> Classes:
        from lamina.decode.classes import Classes

        return Classes(self.classes)

    @property
    def inputs(self) -> tuple[Input, ...]:
        low, high = self.encoder.bounds()
        return (Input("table", ("B", len(self.table)), "float32", "table", low, high),)

    @property
    def asks(self) -> tuple[str, ...]:
        return tuple(column["name"] for column in self.table)

    @property
    def labels(self) -> tuple[str, ...]:
        return ("label",)

    @property
    def embed(self) -> str:
        return "embed"

    def read(self, source: Source) -> Data:
        """A task that is prepared reads what it was trained on: its label, its kind of answer, its columns."""
        from lamina.data.demo import breast_cancer
        from lamina.data.tables import read_table

        if self.label_column and source.label is None:
            source = dataclasses.replace(source, label=self.label_column)
        return read_table(
            source,
            breast_cancer,
            self.kind or self.answer,  # type: ignore[arg-type]
            needs=self.asks,
            numbers=[column["name"] for column in self.table if column["kind"] == "number"],
            words=[column["name"] for column in self.table if column["kind"] != "number"],
            classes=self.classes,
        )

    def prepare(self, data: Data) -> Tabular:
        import numpy as np

        from lamina.data.columns import length
        from lamina.data.table_checks import answer_kind
        from lamina.modalities.table import TableEncoder, category_of

        if length(data.train) == 0:
            raise LaminaError("data: expected at least one training example; found none")
        label = data.about.get("label") or list(data.train)[-1]
        answers = data.train[label]
        kind = self.answer if self.answer != "auto" else data.about.get("kind") or answer_kind(answers)
        names = [n for n in data.about.get("features") or data.train if n != label]
        taught: dict[str, Any] = {"classes": (), "weights": (), "target_mean": 0.0, "target_std": 1.0}
        if kind == "regression":
            values = np.asarray(answers, dtype=np.float64)
            taught["target_mean"] = float(values.mean())
            taught["target_std"] = float(values.std()) or 1.0
        else:
            classes, counts = np.unique([str(category_of(a)) for a in answers], return_counts=True)
            if len(classes) < 2:
                raise LaminaError(f"data: column {label!r}: expected at least two classes; found {', '.join(classes)}")
            taught["classes"] = tuple(classes.tolist())
            balanced = counts.sum() / (len(classes) * counts)
            taught["weights"] = tuple(balanced.tolist()) if self.class_weights == "balanced" else ()
        self.check_settings()
        network = "mlp" if self.model_name == "auto" else self.model_name
        width, depth = self._size(network)  # written down, so that a run still loads after the defaults have changed
        if network == "ft-transformer" and width % self.heads:
            raise LaminaError(f"--width: expected a multiple of the {self.heads} heads; got {width}")
        taught |= {"network": network, "width": width, "depth": depth}
        state = TableEncoder.fit(data.train, names).state()
        return dataclasses.replace(self, kind=kind, label_column=label, table=tuple(state), **taught)

    def _size(self, network: str) -> tuple[int, int]:
        """Width and depth."""
        width, depth = (64, 3) if network == "ft-transformer" else (128, 2)
        return self.width or width, self.depth or depth

    def check_settings(self) -> None:
        """Raises LaminaError naming the first setting whose value makes no sense."""
        from lamina.train.options import expect

        for flag, most in (("width", 65536), ("depth", 1000), ("embedding", 65536), ("members", 65536), ("heads", 65536)):
            value = getattr(self, flag)
            expect(flag, value, value is None or 1 <= value <= most, f"1 to {most}")
        for flag in ("dropout", "attention_dropout"):
            value = getattr(self, flag)
            expect(flag.replace("_", "-"), value, 0 <= value < 1, "a share from 0 to below 1")

    def encode(self, columns: Columns, mode: Mode) -> Batch:
        import torch

        batch = {name: torch.from_numpy(array) for name, array in self.serving().reader.encode(columns).items()}
        if mode != "predict":
            batch["label"] = torch.from_numpy(self._answers(columns[self.label_column]))
        return batch

    def _answers(self, answers: Any) -> Any:
        """Class numbers (B,) int64, or numbers (B,) float32."""
        import numpy as np

        from lamina.modalities.table import category_of

        if self.kind == "regression":
            return np.asarray(answers, dtype=np.float32)
        texts = np.asarray(answers)
        if texts.dtype.kind != "U":
            texts = np.asarray([str(category_of(a)) for a in answers], dtype=str)
        return self.decoder.codes(texts, f"column {self.label_column!r}")  # type: ignore[arg-type]

    def model(self) -> nn.Module:
        width, depth = self._size(self.network)
        common: dict[str, Any] = {
            "columns": self.encoder.specs(),
            "classes": len(self.classes) if self.kind != "regression" else None,
            "dropout": self.dropout,
            "target_mean": self.target_mean,
            "target_std": self.target_std,
        }
        if self.network == "ft-transformer":
            from lamina.models.ft_transformer import FTTransformer

            return FTTransformer(width=width, depth=depth, heads=self.heads, attention_dropout=self.attention_dropout, **common)
        from lamina.models.table_mlp import TableMLP

        return TableMLP(width=width, depth=depth, embedding=self.embedding, members=self.members, **common)

    def augment(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Adds the weight of each row's class."""
        if not self.weights:
            return batch
        weights_K = batch["table"].new_tensor(self.weights)
        return {**batch, "weight": weights_K[batch["label"]]}

    def loss(self, output: Output, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross entropy, or the squared error in units of the target's variance. The mean over members of an ensemble
        of the loss of each: members that learn alone stay different (Gorishniy et al. 2024, section 3)."""
        import torch

        from lamina.nn.losses import cross_entropy

        assert isinstance(output, dict)
        if self.kind == "regression":
            values_BM = output.get("member_values", output["value"])
            error_B = ((values_BM - batch["label"][:, None]) / self.target_std).square().mean(1)
            return error_B, torch.ones_like(error_B)
        if "member_logits" not in output:
            return cross_entropy(output["logits"], batch["label"], batch.get("weight"))
        logits_BMK = output["member_logits"]
        members = logits_BMK.shape[1]
        label, weight_B = batch["label"].repeat_interleave(members, 0), batch.get("weight")
        weight = None if weight_B is None else weight_B.repeat_interleave(members, 0)
        total, count = cross_entropy(logits_BMK.flatten(0, 1), label, weight)
        return total.unflatten(0, (-1, members)).mean(1), count.unflatten(0, (-1, members)).mean(1)

    def score(self, output: Output, batch: Batch) -> Tensor:
        """The log probability of the label; for numbers, the answer itself in standard deviations of the target, since
        a loss is flat at its own answer."""
        from lamina.nn.losses import cross_entropy

        assert isinstance(output, dict)
        if self.kind == "regression":
            return (output["value"][:, 0] - self.target_mean) / self.target_std
        return -cross_entropy(output["logits"], batch["label"])[0]

    def target(self, forward: Forward, batch: Batch, which: int = 0) -> Batch:
        """The `which`-th most probable class, or the number."""
        output = forward(batch["table"])
        assert isinstance(output, dict)
        if self.kind == "regression":
            return {"label": output["value"][:, 0]}
        return {"label": output["logits"].argsort(1, descending=True)[:, which]}

    def serving(self) -> Serving:
        from lamina.decode.classes import ClassAnswers
        from lamina.decode.numbers import NumberAnswers
        from lamina.modalities.table import TableReader

        decoder = NumberAnswers() if self.kind == "regression" else ClassAnswers(self.classes)
        return Serving(TableReader(self.table), decoder)

    def metrics(self, examples: Columns, predictions: Columns) -> dict[str, float]:
        import numpy as np

        from lamina.decode.classes import classification_metrics

        if self.kind == "regression":
            truth = np.asarray(examples[self.label_column], dtype=np.float64)
            error = np.asarray(predictions["value"], dtype=np.float64) - truth
            spread = float(np.square(truth - truth.mean()).sum())
            r2 = 1 - float(np.square(error).sum()) / spread if spread > 0 else 0.0
            return {"rmse": float(np.sqrt(np.square(error).mean())), "mae": float(np.abs(error).mean()), "r2": r2}
        truth, said = self._answers(examples[self.label_column]), self.decoder.codes(predictions["label"])
        return classification_metrics(truth, said, np.asarray(predictions["probabilities"]))

    def details(self, examples: Columns, predictions: Columns) -> dict[str, Any]:
        """Figures of each class and the confusion; for numbers, the error in each fifth of the true values."""
        import numpy as np

        from lamina.decode.classes import class_tables

        if self.kind != "regression":
            truth, said = self._answers(examples[self.label_column]), self.decoder.codes(predictions["label"])
            return class_tables(self.classes, truth, said)
        truth = np.asarray(examples[self.label_column], dtype=np.float64)
        error = np.asarray(predictions["value"], dtype=np.float64) - truth
        fifths = [rows for rows in np.array_split(np.argsort(truth, kind="stable"), 5) if len(rows)]
        return {
            "error_by_value": [
                {
                    "from": float(truth[rows].min()),
                    "to": float(truth[rows].max()),
                    "rows": len(rows),
                    "rmse": float(np.sqrt(np.square(error[rows]).mean())),
                    "bias": float(error[rows].mean()),
                }
                for rows in fifths
            ]
        }

    def recipe(self, data: Data) -> Recipe:
        """AdamW under a cosine. With few rows a short training to its end: on a handful of validation rows, the best
        accuracy is luck. With more, about 5,000 steps, of which the best on validation is kept."""
        from lamina.data.columns import length
        from lamina.train.recipe import Recipe

        count = max(length(data.train), 1)
        lr = 2e-3 if self.network == "mlp" else 5e-4
        common: dict[str, Any] = {"optimizer": "adamw", "schedule": "cosine", "warmup": 0.02, "weight_decay": 2e-2, "clip": 1.0}
        if count < FEW_ROWS:
            epochs = int(min(200, max(25, 300 * 32 / count)))
            return Recipe(lr=lr / 2, batch_size=32, epochs=epochs, evaluations=12, keep="last", **common)
        size = 64
        while size < 512 and size * 200 < count:
            size *= 2
        epochs = int(min(100, max(10, 5000 * size / count)))
        return Recipe(lr=lr, batch_size=size, epochs=epochs, evaluations=epochs, patience=16, **common)

    def stream(self, model: nn.Module, columns: Columns, size: int, seed: int, progress: Callable[[], float]) -> Stream:
        """Shuffled rows, encoded once: a row of a table takes no more room encoded than raw."""
        from lamina.train.stream import ShuffledStream

        whole = {name: value.numpy() for name, value in self.encode(columns, "train").items()}
        return ShuffledStream(Encoded(), whole, size, seed)  # type: ignore[arg-type]


class Encoded:
    """Stands for the task in a stream whose columns are encoded already."""

    def encode(self, columns: Columns, mode: Mode) -> Batch:
        import torch

        return {name: torch.from_numpy(value) for name, value in columns.items()}  # type: ignore[arg-type]
