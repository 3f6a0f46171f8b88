"""Translation: a sentence of one language in, the same in another out.

Data: a folder of `train.en`, `train.de`, `valid.*`, `test.*` with `--source en --target de`, two columns of a table, a saved
`datasets` folder, (sources, targets). Without data: the names of numbers, English into German, made by Lamina itself.

Both languages share one vocabulary of byte pairs, learned from the training part. What training does not know (an emoji, a name
in another script) is marked, and copied. Sentences are written by beam search; BLEU and chrF are sacrebleu's.

B pairs, S tokens of a source, T tokens of a translation, V words of the vocabulary.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from typing_extensions import Doc

from lamina.errors import LaminaError
from lamina.task import Batch, Columns, Forward, Input, Mode, Output, Piece, Serving, Stream, Task, answering, learned

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from lamina.data.source import Data, Source
    from lamina.decode.translations import Translations
    from lamina.modalities.sentences import Vocabulary
    from lamina.train.recipe import Recipe

LEAST_SEEN = 3
"""Training sentences that a character must stand in to be known; a rarer one is copied."""
LOGITS_AT_ONCE = 2**27
"""Logits that are held at once when translations are judged: 512 MiB."""
PIECES = 1.5
"""Tokens of the vocabulary for each square root of a character of training text, 4,300 for 8 million (Heaps 1978)."""
TRANSLATIONS = 16  # of each token, in a network's dictionary
FEW, MANY = 10_000, 300_000
"""Pairs below which the network is small and has no dictionary, and from which it is large."""


@dataclass(frozen=True)
class Translation(Task):
    """A sentence in, its translation out."""

    source_name: Annotated[str | None, Doc("what is translated: the ending of its files (en), or its column")] = None
    target_name: Annotated[str | None, Doc("what it is translated into: the ending of its files (de), or its column")] = None
    model_name: Annotated[
        Literal["auto", "transformer", "lstm"], Doc("the network; auto: transformer; lstm: with attention (Luong et al. 2015)")
    ] = "auto"
    vocabulary: Annotated[int | None, Doc("byte pairs of both languages at most (default: 512 to 16,000, by the data)")] = None
    context: Annotated[int, Doc("tokens of a sentence at most")] = 256
    width: Annotated[int | None, Doc("features of a token (default: 128 to 512, by the data)")] = None
    depth: Annotated[int | None, Doc("layers of the encoder (default: by the data); the Transformer's decoder has half")] = None
    heads: Annotated[int, Doc("attention heads, for transformer")] = 4
    dropout: Annotated[float | None, Doc("share of features dropped in training (default: 0.2 to 0.1, by the data)")] = None
    label_smoothing: Annotated[float, Doc("probability given to other words")] = 0.1
    bpe_dropout: Annotated[float | None, Doc("share of byte pairs left out at random (default: 0.1 or 0, by the data)")] = None
    copies: Annotated[float, Doc("share of training pairs with a made-up word on both sides, to learn copying from")] = 0.1

    beams: Annotated[int, Doc("translations that are followed at once; 1: the most probable token each time")] = answering(
        5, brief=1
    )
    length_penalty: Annotated[float, Doc("0 favours short ones, 1 the best mean of a token, more long ones")] = answering(1.5)

    network: str = learned("")
    translations: int = learned(0)
    tokens: tuple[str, ...] = learned(())
    """Of the vocabulary."""
    alphabet: str = learned("")
    familiar: tuple[str, ...] = learned(())
    """Words of the source that are no names."""
    words: str = learned("")
    """sacrebleu's tokenization of the target language."""
    short: bool = learned(False)
    """Most translations have fewer than four words."""

    name: ClassVar[str] = "translation"
    about: ClassVar[str] = "a sentence -> the same in another language"
    formats: ClassVar[tuple[str, ...]] = (
        "train.en, train.de, ...", "CSV/TSV", "Parquet", "JSON lines", "datasets", "sentences in memory",
    )  # fmt: skip

    @property
    def headline(self) -> tuple[str, Literal["max", "min"]]:
        return "bleu", "max"

    @property
    def codec(self) -> Vocabulary:
        from lamina.modalities.sentences import Vocabulary

        return Vocabulary(self.tokens, self.alphabet, self.familiar)

    @property
    def inputs(self) -> tuple[Input, ...]:
        most = self.codec.size - 1
        return (Input("source", ("B", "S"), "int64", "text", 0, most), Input("target", ("B", "T"), "int64", "side", 0, most))

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
        return {"S": (1, self.context), "T": (1, self.context)}

    def read(self, source: Source) -> Data:
        from lamina.data.number_names import number_names
        from lamina.data.parallel import read_parallel

        return read_parallel(source, self.source_name, self.target_name, number_names)

    def prepare(self, data: Data) -> Translation:
        from lamina.data.columns import length
        from lamina.decode.corpus_scores import mostly_short, tokenization
        from lamina.modalities.byte_pairs import learned as learned_pieces
        from lamina.modalities.sentences import familiar_words

        count = length(data.train)
        if not count:
            raise LaminaError("data: expected at least one training example; found none")
        self.check_settings()
        texts, translations = list(data.train["text"]), list(data.train["translation"])
        size = self.vocabulary or max(512, min(16_000, int(PIECES * sum(map(len, texts + translations)) ** 0.5)))
        seen = Counter(character for text in texts for character in set(text))
        names = data.about.get("languages") or [self.source_name, self.target_name]
        network = "transformer" if self.model_name == "auto" else self.model_name
        taught = self._size(count, network) | {
            "vocabulary": size,
            "tokens": learned_pieces([f" {text}" for text in texts + translations], size),
            "alphabet": "".join(sorted(character for character, times in seen.items() if times >= min(LEAST_SEEN, count))),
            "familiar": familiar_words(texts, translations, LEAST_SEEN),
            "words": tokenization(translations),
            "short": mostly_short(translations, tokenization(translations)),
            "network": network,
            "translations": TRANSLATIONS if count >= FEW else 0,
            "source_name": self.source_name or names[0],
            "target_name": self.target_name or names[1],
        }
        if taught["network"] == "transformer" and taught["width"] % self.heads:
            raise LaminaError(f"--width: expected a multiple of the {self.heads} heads; got {taught['width']}")
        return dataclasses.replace(self, **taught)

    def _size(self, count: int, network: str) -> dict[str, Any]:
        """Width, depth and dropout for so many pairs: small networks where there are few (Sennrich and Zhang 2019, Araabi and
        Monz 2020), since what is computed is better spent on reading them often. A dictionary knows whole pieces alone."""
        sizes = {FEW: (128, 2, 0.2), MANY: (192, 3, 0.15)}
        width, depth, dropout = next((size for most, size in sizes.items() if count < most), (512, 6, 0.1))
        return {
            "bpe_dropout": (0.1 if count < FEW else 0.0) if self.bpe_dropout is None else self.bpe_dropout,
            "width": self.width or width,
            "depth": self.depth or ((depth + 1) // 2 if network == "lstm" else depth),
            "dropout": dropout if self.dropout is None else self.dropout,
        }

    def check_settings(self) -> None:
        """Raises LaminaError naming the first setting whose value makes no sense."""
        from lamina.train.options import expect

        limits = (("vocabulary", 257, 2**20), ("context", 8, 2**16), ("width", 8, 2**14), ("depth", 1, 100), ("heads", 1, 2**10))
        for flag, least, most in limits:
            expect(flag, value := getattr(self, flag), value is None or least <= value <= most, f"{least} to {most}")
        for flag in ("dropout", "label_smoothing", "bpe_dropout", "copies"):
            value = getattr(self, flag)
            expect(flag.replace("_", "-"), value, value is None or 0 <= value < 1, "a share from 0 to below 1")
        self.decoder.check()

    def with_state(self, state: Mapping[str, Any]) -> Translation:
        lists = {name: tuple(state[name]) for name in ("tokens", "familiar")}  # JSON has lists alone
        return dataclasses.replace(self, **{**state, **lists})

    def encode(self, columns: Columns, mode: Mode) -> Batch:
        """`source` (B, S) ends with <eos>, `target` (B, T) begins with <bos>, `label` (B, T) is what follows at each place.
        What is longer than `context` is cut, but for a client, who is told."""
        import torch

        if mode == "predict":
            arrays = self.serving().reader.encode(columns)
            return {name: torch.from_numpy(array) for name, array in arrays.items()}
        codec, pairs = self.codec, list(zip(columns["text"], columns["translation"], strict=True))
        return self.batch_of(
            [codec.source(text)[: self.context] for text, _ in pairs],
            [codec.target(translation, text)[: self.context] for text, translation in pairs],
        )

    def batch_of(self, sources: list[list[int]], targets: list[list[int]]) -> Batch:
        """Of token ids with their ends."""
        import torch

        from lamina.modalities.sentences import BOS, on_the_right

        arrays = {
            "source": on_the_right(sources),
            "target": on_the_right([[BOS, *ids[:-1]] for ids in targets]),
            "label": on_the_right(targets),
        }
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def model(self) -> nn.Module:
        assert self.width is not None and self.depth is not None and self.dropout is not None
        if self.network == "lstm":
            from lamina.models.recurrent_translator import RecurrentTranslator

            wide = {"width": self.width, "hidden": self.width, "depth": self.depth, "dropout": self.dropout}
            return RecurrentTranslator(self.codec.size, "lstm", **wide, translations=self.translations)
        from lamina.models.transformer import Shape
        from lamina.models.transformer_translator import TransformerTranslator

        encoder = Shape(
            self.width, self.depth, self.heads, (4 if self.width >= 512 else 2) * self.width, self.context,
            positions="rotary", normed_heads=True, feed_forward="relu", dropout=self.dropout,
        )  # fmt: skip
        # Few layers that write cost little quality where enough read (Kasai et al. 2021), and write faster.
        decoder = dataclasses.replace(encoder, depth=(self.depth + 1) // 2)
        return TransformerTranslator(self.codec.size, encoder, decoder, translations=self.translations)

    def init(self, model: nn.Module, data: Data) -> None:
        """The dictionary is counted, not learned, where there are enough pairs to count."""
        from lamina.models.lexicon import MOST, start

        if self.translations:
            codec, pairs = self.codec, list(zip(data.train["text"], data.train["translation"], strict=True))[:MOST]
            sources, targets = [codec.source(text) for text, _ in pairs], [codec.target(said, text) for text, said in pairs]
            start(model.dictionary, sources, targets)  # type: ignore[arg-type]

    def augment(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Adds how much of the probability goes to other words."""
        smoothing_B = batch["label"].new_full((len(batch["label"]),), self.label_smoothing, dtype=batch["label"].float().dtype)
        return {**batch, "smoothing": smoothing_B}

    def loss(self, output: Output, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross entropy of the next token, in nats: the sum over the tokens of a translation and its end, and how many they are.
        Where the batch says so it is smoothed (Szegedy et al. 2016, section 7)."""
        from torch.nn.functional import cross_entropy

        assert isinstance(output, dict)
        logits_BTV, label_BT = output["token_logits"], batch["label"]
        smoothing = float(batch["smoothing"][0]) if "smoothing" in batch else 0.0  # one for all
        loss_BT = cross_entropy(
            logits_BTV.flatten(0, 1), label_BT.flatten(), ignore_index=0, reduction="none", label_smoothing=smoothing
        ).view(label_BT.shape)
        return loss_BT.sum(1), (label_BT != 0).sum(1).to(loss_BT.dtype)

    def target(self, forward: Forward, batch: Batch, which: int = 0) -> Batch:
        """The model's own translation: `target` and `label`. `which` 1, 2, ... keeps the label of that word of it alone, so that
        what is explained is the word; beyond the last word, and at 0, it is all of it."""
        import torch

        from lamina.modalities.sentences import EOS
        from lamina.task import asking

        decoder, source_BS = self.decoder, batch["source"]
        found = decoder.search(asking(forward, self.inputs, batch), source_BS.cpu().numpy())
        said = self.batch_of(source_BS.tolist(), [[*tokens, EOS] for tokens, _ in found])
        if which > 0:
            for row, (tokens, _) in enumerate(found):
                words = decoder.units(tokens, decoder.copied(source_BS[row].tolist()))
                if which <= len(words):
                    only = torch.zeros_like(said["label"][row])
                    only[words[which - 1][1]] = said["label"][row, words[which - 1][1]]
                    said["label"][row] = only
        return {name: said[name].to(source_BS.device) for name in ("target", "label")}

    @property
    def decoder(self) -> Translations:
        from lamina.decode.translations import Translations

        return Translations(self.tokens, self.context, self.beams, self.length_penalty)

    def serving(self) -> Serving:
        from lamina.modalities.sentences import SentenceReader

        return Serving(SentenceReader(self.tokens, self.alphabet, self.familiar, self.context), self.decoder)

    def spoken(self, batch: Batch) -> list[tuple[str, list[Piece]]]:
        """The translation that is frozen in `batch`, and where each of its tokens stands in it."""
        decoder, found = self.decoder, []
        for source, target in zip(batch["source"].tolist(), batch["target"].tolist(), strict=True):
            tokens = [token for token in target[1:] if token != 0]
            found.append(decoder.pieces_of(tokens, source))
        return found

    def metrics(self, examples: Columns, predictions: Columns) -> dict[str, float]:
        """BLEU (Papineni et al. 2002) and chrF (Popović 2015) of the whole, 0 to 100, as sacrebleu has them (Post 2018)."""
        from lamina.decode.corpus_scores import scores

        return scores(predictions["text"], examples["translation"], self.words, self.short)

    def evaluate(self, forward: Forward, columns: Columns, batch_size: int = 250) -> tuple[dict[str, float], Columns]:
        """Sentences of like length together, and few enough at once for the logits of all their tokens."""
        import numpy as np

        from lamina.data.columns import take

        order = np.argsort([len(text) for text in columns["text"]], kind="stable")
        longest = min(self.context, max(map(len, columns["text"]), default=0) + 2)
        most = max(1, min(batch_size, LOGITS_AT_ONCE // (longest * self.codec.size)))
        metrics, said = super().evaluate(forward, take(columns, order), most)
        return metrics, take(said, np.argsort(order))

    def details(self, examples: Columns, predictions: Columns) -> dict[str, Any]:
        """What the figures are called elsewhere, and the scores by the length of the source."""
        from lamina.decode.corpus_scores import by_length, signatures

        return {
            "signature": [{"metric": metric, "signature": text} for metric, text in signatures(self.words, self.short).items()],
            "score_by_length": by_length(examples["text"], predictions["text"], examples["translation"], self.words, self.short),
        }

    def recipe(self, data: Data) -> Recipe:
        """Muon for the Transformer's matrices, AdamW for all else and for the LSTM, with the second moments of Vaswani et al.
        2017 (section 5.3); averaged weights."""
        from lamina.data.columns import length
        from lamina.train.recipe import Recipe

        count = max(length(data.train), 1)
        size = 32 if count < FEW else 64 if count < MANY else 256
        how: dict[str, Any] = {"optimizer": "adamw", "lr": 2e-3, "weight_decay": 1e-4}
        if self.network == "transformer":
            how = {"optimizer": "muon", "lr": 0.04, "momentum": 0.95, "weight_decay": 0.01}
        return Recipe(
            batch_size=size, epochs=int(min(60, max(4, (4000 if count < FEW else 6000) * size / count))), schedule="cosine",
            warmup=0.08, clip=1.0, ema=0.998, evaluations=10, **how,
        )  # fmt: skip

    def groups(self, model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
        """With Muon, embeddings and norms learn by AdamW at a tenth of its rate: 0.004."""
        from lamina.train.optimizers import default_groups

        groups = default_groups(model, recipe)
        if recipe.optimizer == "muon":
            return [*groups[:-1], {**groups[-1], "lr_scale": 0.1, "beta2": 0.98}]
        return [{**group, "beta2": 0.98} for group in groups]

    def stream(self, model: nn.Module, columns: Columns, size: int, seed: int, progress: Callable[[], float]) -> Stream:
        """Pairs of like length together, cut and changed anew in every epoch."""
        from lamina.data.pair_batches import PairBatches

        return PairBatches(self.codec, columns, self.batch_of, size, seed, self.context, self.bpe_dropout or 0.0, self.copies)
