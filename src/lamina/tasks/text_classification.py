"""Text classification: a sentence or a document in, one of K labels out, or several (sentiment, topic, spam, language).

Data: a folder per class of .txt files, lines of text<TAB>label, fastText's lines, CSV, TSV, Parquet or JSON lines with a column
of texts and one of labels, a saved `datasets` folder, or (texts, labels). Without data: the paragraphs of what Python's `help()`
says, by their chapter. A tokenizer is learned from the training texts.

Texts of several labels (lists, or names with a `separator` between them) are answered with a sigmoid each: their output is
`scores` and not `logits`, which are for one of K.

B texts, T tokens, K classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from typing_extensions import Doc

from lamina.errors import LaminaError
from lamina.task import Batch, Columns, Forward, Input, Mode, Output, Serving, Stream, Task, learned

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from lamina.data.source import Data, Source
    from lamina.modalities.text import TextReader
    from lamina.train.recipe import Recipe

MOST = 512
"""Tokens of a text at most, where nobody says."""
VECTORS = 100_000
"""Words of a file of vectors that join the vocabulary: the most frequent ones stand first."""
LARGE = 100_000
"""Training texts from which on capitals are kept: both spellings of a word are then seen often enough."""


@dataclass(frozen=True)
class TextClassification(Task):
    """A text in, one of K labels out with its probability; or the labels that hold."""

    model_name: Annotated[
        Literal["auto", "bag", "rnn", "lstm", "gru", "transformer"],
        Doc("the network; auto: bag, the mean of embeddings of words and of pairs"),
    ] = "auto"
    tokenizer: Annotated[
        str, Doc("words, bpe, wordpiece, unigram, characters or bytes, learned from the training texts; or a tokenizer.json")
    ] = "auto"
    pretrained: Annotated[
        str | None, Doc("an encoder to start from: a folder, or a name of the hub, with safetensors and tokenizer (extra hub)")
    ] = None
    vectors: Annotated[
        str | None, Doc("vectors of words to start from: .txt or .vec, or a .safetensors of the rows of --tokenizer")
    ] = None
    vocabulary: Annotated[int, Doc("tokens of a learned tokenizer at most")] = 20_000
    case: Annotated[Literal["auto", "keep", "lower"], Doc("capitals; auto: lower, below 100,000 training texts")] = "auto"
    length: Annotated[
        int | None, Doc("tokens of a text at most, longer ones keep head and tail (default: of the longest, up to 512)")
    ] = None
    width: Annotated[int | None, Doc("features of a token (default: by the network)")] = None
    depth: Annotated[int | None, Doc("layers (default: by the network)")] = None
    heads: Annotated[int | None, Doc("attention heads, for transformer (default: by the network)")] = None
    dropout: Annotated[float | None, Doc("share of features dropped in training (default: by the network)")] = None
    word_dropout: Annotated[
        float | None, Doc("share of tokens that become unknown in training (default: 0.1, and 0 with pretrained or vectors)")
    ] = None
    deletion: Annotated[float, Doc("share of tokens left out in training")] = 0.0
    swap: Annotated[float, Doc("share of tokens that change places with the next in training")] = 0.0
    span: Annotated[float, Doc("greatest share of a text that becomes unknown in one stretch in training")] = 0.0
    label_smoothing: Annotated[float, Doc("probability given to the other classes")] = 0.1
    class_weights: Annotated[Literal["none", "balanced"], Doc("balanced: rare classes count more in the loss")] = "none"
    several: Annotated[
        Literal["auto", "off", "on"], Doc("texts have several labels; auto: where labels are lists, or with a separator")
    ] = "auto"
    separator: Annotated[str, Doc("what stands between the labels of a text that has several, such as ,")] = ""
    threshold: Annotated[float, Doc("probability from which on a label holds, where texts have several")] = 0.5

    network: str = learned("")
    architecture: Mapping[str, Any] | None = learned(None)
    tokens: str = learned("", file="tokenizer.json")
    size: int = learned(5)
    """Tokens of the vocabulary."""
    pad: int = learned(0)
    most: int = learned(MOST)
    many: bool = learned(False)
    """Texts have several labels."""
    classes: tuple[str, ...] = learned(())
    weights: tuple[float, ...] = learned(())
    text_column: str = learned("")
    label_column: str = learned("")

    name: ClassVar[str] = "text-classification"
    about: ClassVar[str] = "a text -> one of K labels, or several"
    formats: ClassVar[tuple[str, ...]] = (
        "folder per class", "text<TAB>label", "fastText lines", "CSV/TSV", "Parquet", "JSON lines",
        "a folder of train, valid, test", "datasets", "texts in memory",
    )  # fmt: skip

    @property
    def headline(self) -> tuple[str, Literal["max", "min"]]:
        return ("micro_f1" if self.many else "accuracy"), "max"

    @property
    def inputs(self) -> tuple[Input, ...]:
        return (Input("tokens", ("B", "T"), "int64", "text", 0, self.size - 1),)

    @property
    def asks(self) -> tuple[str, ...]:
        return (self.text_column or "text",)

    @property
    def labels(self) -> tuple[str, ...]:
        return ("label",)

    @property
    def embed(self) -> str:
        from lamina.models.text_networks import EMBEDDINGS

        own = (self.architecture or {}).get("embed") or EMBEDDINGS[self.network or "bag"]
        return f"network.{own}" if self.many else own

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        return {"T": (2, self.most)}

    @property
    def reader(self) -> TextReader:
        from lamina.modalities.text import TextReader

        return TextReader(self.tokens, self.most, self.asks[0], self.pad)

    def read(self, source: Source) -> Data:
        from lamina.data.demo import python_paragraphs
        from lamina.data.texts import read_texts

        self.check_settings()
        several = self.several if not self.classes else "on" if self.many else "off"
        return read_texts(source, python_paragraphs, (self.text_column, self.label_column), several, self.separator, self.classes)

    def prepare(self, data: Data) -> TextClassification:
        import numpy as np

        from lamina.data.columns import length
        from lamina.data.text_checks import cut_texts

        self.check_settings()
        if length(data.train) == 0:
            raise LaminaError("data: expected at least one training example; found none")
        column = data.about.get("text") or next(name for name in data.train if name != "label")
        many = bool(data.about.get("several", self.several == "on"))
        texts, labels = data.train[column], data.train["label"]
        found = [name for label in labels for name in (label if many else [label])]
        classes, counts = np.unique(found, return_counts=True)
        if len(classes) < 2:
            raise LaminaError(f"data: expected at least two classes; found {len(classes)} ({', '.join(map(str, classes))})")
        balanced = len(found) / (len(classes) * counts)
        made = dataclasses.replace(
            self,
            many=many,
            text_column=column,
            label_column=data.about.get("label", "label"),
            classes=tuple(str(c) for c in classes),
            weights=tuple(balanced.tolist()) if self.class_weights == "balanced" else (),
        )
        made = made._with_tokenizer(list(texts))
        made = made._with_network()
        cuts = cut_texts(made.reader.lengths(texts), made.most)
        data.findings.extend(finding for finding in cuts if finding.code not in {f.code for f in data.findings})
        return made

    def _with_tokenizer(self, texts: list[str]) -> TextClassification:
        from lamina.modalities.text import TextReader, vocabulary_of
        from lamina.modalities.vocabulary import taken, tokenizer_for, with_words
        from lamina.models.word_vectors import words_of

        if self.pretrained is not None:
            from lamina.models.hub_encoder import described, tokenizer_of

            built_as = described(self.pretrained)
            tokens, pad, limit = (
                taken(tokenizer_of(self.pretrained), self.pretrained),
                built_as["pad"],
                min(MOST, built_as["most"]),
            )
            size = max(built_as["vocabulary"], len(vocabulary_of(tokens)))
        else:
            lower = self.case == "lower" or (self.case == "auto" and len(texts) < LARGE)
            tokens, built_as, limit = tokenizer_for(self.tokenizer, texts, self.vocabulary, lower), None, MOST
            if self.vectors is not None and not self.tokenizer.endswith(".json"):
                tokens = with_words(tokens, words_of(self.vectors, VECTORS))  # those that training lacks are known all the same
            names = vocabulary_of(tokens)
            pad, size = next(names[name] for name in ("<pad>", "[PAD]") if name in names), max(names.values()) + 1
        longest = max(TextReader(tokens, limit, self.asks[0], pad).lengths(texts))
        most = self.length or min(limit, max(16, -(-longest // 8) * 8))
        return dataclasses.replace(self, tokens=tokens, size=size, pad=pad, most=most, architecture=built_as)

    def _with_network(self) -> TextClassification:
        from lamina.models.text_networks import architecture
        from lamina.models.word_vectors import width_of

        network = "pretrained" if self.pretrained is not None else "bag" if self.model_name == "auto" else self.model_name
        width = self.width if self.vectors is None else width_of(self.vectors)
        dropout = 0.3 if self.dropout is None and self.vectors is not None else self.dropout
        built_as = architecture(network, width, self.depth, self.heads, dropout, self.most, self.architecture or {})
        return dataclasses.replace(self, network=network, architecture=built_as)

    def init(self, model: nn.Module, data: Data) -> None:
        """Pretrained weights, or the vectors of words."""
        network: Any = model.network if self.many else model
        if self.pretrained is not None:
            from lamina.models.hub_encoder import load_weights

            load_weights(network, self.pretrained)
        elif self.vectors is not None:
            from lamina.modalities.text import vocabulary_of
            from lamina.models.word_vectors import start_from

            start_from(model.get_submodule(self.embed), self.vectors, vocabulary_of(self.tokens), self.pad)  # type: ignore[arg-type]

    def groups(self, model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
        """Vectors of words that are known already move at a tenth of the rate."""
        from lamina.train.optimizers import default_groups

        found = default_groups(model, recipe)
        if self.vectors is None:
            return found
        known = model.get_submodule(self.embed).weight
        rest = [{**group, "params": [p for p in group["params"] if p is not known]} for group in found]
        return [*rest, {"params": [known], "weight_decay": 0.0, "lr_scale": 0.1}]

    def check_settings(self) -> None:
        """Raises LaminaError naming the first setting whose value makes no sense."""
        from lamina.train.options import expect

        expect("vocabulary", self.vocabulary, 8 <= self.vocabulary <= 10**6, "8 to 1,000,000")
        expect("length", self.length, self.length is None or 4 <= self.length <= 65536, "4 to 65,536 tokens")
        for flag, most in (("width", 65536), ("depth", 1000), ("heads", 1024)):
            value = getattr(self, flag)
            expect(flag, value, value is None or 1 <= value <= most, f"1 to {most}")
        for flag in ("word_dropout", "deletion", "swap", "span", "label_smoothing", "dropout"):
            value = getattr(self, flag)
            expect(flag.replace("_", "-"), value, value is None or 0 <= value < 1, "a share from 0 to below 1")
        expect("threshold", self.threshold, 0 < self.threshold < 1, "a probability between 0 and 1")

    def encode(self, columns: Columns, mode: Mode) -> Batch:
        import torch

        batch = {name: torch.from_numpy(array) for name, array in self.reader.encode(columns).items()}
        return batch if mode == "predict" else {**batch, "label": torch.from_numpy(self._answers(columns["label"]))}

    def _answers(self, labels: Any) -> Any:
        """Class numbers (B,) int64, or which labels hold (B, K) float32."""
        from lamina.decode.classes import Classes
        from lamina.decode.labels import Labels

        return Labels(self.classes).hot(labels) if self.many else Classes(self.classes).codes(labels)

    def model(self) -> nn.Module:
        from lamina.models.text_networks import Scores, network

        made = network(self.network, self.size, len(self.classes), self.architecture or {})
        return Scores(made) if self.many else made

    def augment(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Changes the tokens, smooths the labels, and adds the weight of each text's class."""
        from lamina.modalities.augment import one_hot
        from lamina.modalities.augment_text import changed

        forgotten = (0.0 if self.pretrained or self.vectors else 0.1) if self.word_dropout is None else self.word_dropout
        made = {**batch, "tokens": changed(batch["tokens"], generator, forgotten, self.deletion, self.swap, self.span)}
        label = batch["label"].float() if self.many else one_hot(batch["label"], len(self.classes), self.label_smoothing)
        if self.weights:
            weight_K = label.new_tensor(self.weights)
            made["weight"] = weight_K.expand_as(label) if self.many else weight_K[batch["label"]]
        return {**made, "label": label}

    def loss(self, output: Output, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross entropy; where texts have several labels, the mean over the labels of the binary one."""
        import torch.nn.functional as F

        from lamina.nn.losses import cross_entropy

        assert isinstance(output, dict)
        if not self.many:
            return cross_entropy(output["logits"], batch["label"], batch.get("weight"))
        total_BK = F.binary_cross_entropy_with_logits(output["scores"], batch["label"], reduction="none")
        if "weight" in batch:
            total_BK = total_BK * batch["weight"]
        return total_BK.mean(1), total_BK.new_ones(len(total_BK))

    def target(self, forward: Forward, batch: Batch, which: int = 0) -> Batch:
        """The `which`-th most probable class; where texts have several labels, those that hold."""
        output = forward(batch["tokens"])
        assert isinstance(output, dict)
        if self.many:
            return {"label": (output["scores"].sigmoid() >= self.threshold).float()}
        return {"label": output["logits"].argsort(1, descending=True)[:, which]}

    def serving(self) -> Serving:
        from lamina.decode.classes import ClassAnswers
        from lamina.decode.labels import LabelAnswers

        return Serving(self.reader, LabelAnswers(self.classes, self.threshold) if self.many else ClassAnswers(self.classes))

    def metrics(self, examples: Columns, predictions: Columns) -> dict[str, float]:
        from lamina.decode.labels import figures

        return figures(self._answers(examples["label"]), predictions, self.classes, self.many, self.threshold)

    def details(self, examples: Columns, predictions: Columns) -> dict[str, Any]:
        """Figures of each class, and for one of K the confusion."""
        from lamina.decode.labels import tables

        return tables(self._answers(examples["label"]), predictions, self.classes, self.many, self.threshold)

    def stream(self, model: nn.Module, columns: Columns, size: int, seed: int, progress: Callable[[], float]) -> Stream:
        """Batches of texts of like length, encoded once."""
        from lamina.train.stream import token_stream

        return token_stream(self.reader.ids(columns[self.asks[0]]), {"label": self._answers(columns["label"])}, size, seed)

    def recipe(self, data: Data) -> Recipe:
        """AdamW under a cosine: a few epochs, and some 800 steps at least; a pretrained encoder three, at a low rate."""
        from lamina.data.columns import length
        from lamina.train.recipe import Recipe

        count = max(1, length(data.train))
        common: dict[str, Any] = {"optimizer": "adamw", "warmup": 0.1, "clip": 1.0}
        if self.network == "pretrained":
            return Recipe(lr=5e-5, weight_decay=0.01, epochs=max(3.0, round(300 * 32 / count)), batch_size=32, **common)
        size = 32 if count < 4000 else 64
        lr, epochs = {"bag": (1e-3, 8.0), "transformer": (1e-3, 8.0)}.get(self.network, (2e-3, 5.0))
        if self.vectors is not None and self.network in ("rnn", "lstm", "gru"):
            lr, epochs = 4e-3, 6.0  # known words need no forgetting, and their network may learn fast
        epochs = min(40.0, max(epochs if count < 50_000 else 3.0, round(800 * size / count)))
        return Recipe(lr=lr, weight_decay=0.05, epochs=epochs, batch_size=size, **common)
