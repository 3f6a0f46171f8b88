"""Text generation: a language model of running text, which goes on with a prompt.

Data: a text file, a folder of files, or a column of a table (`--text`). Without data: what Python's `help()` says about its
language. One text is split by position (nine tenths train, as nanoGPT has it), many documents by content. The tokenizer is
learned from the training part.

Examples are passages of one document, of as many tokens as the model sees; <bos> stands before each for whatever came before it.
The headline is bits per byte, which does not depend on the tokenizer: the loss of all tokens over the bytes of their text.

B passages, T tokens, V words of the vocabulary.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from typing_extensions import Doc

from lamina.errors import LaminaError
from lamina.task import Batch, Columns, Forward, Input, Mode, Output, Serving, Stream, Task, answering, learned

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lamina.data.documents import Documents
    from lamina.data.source import Data, Source
    from lamina.modalities.prompts import Pieces
    from lamina.train.recipe import Recipe

LOGITS_AT_ONCE = 2**25
"""Logits that are held at once when text is judged: 128 MiB."""
SIZES = ((400_000, 128, 4, 0.2), (4_000_000, 192, 6, 0.15), (2**62, 384, 6, 0.0))
"""(tokens of training text, width, depth, dropout): the first whose tokens are more. What is read often is learned by heart."""
FEW = 4_000_000  # characters of one text, below which they are its tokens


@dataclass(frozen=True)
class TextGeneration(Task):
    """Running text in, a model that goes on with a prompt."""

    model_name: Annotated[Literal["auto", "decoder", "lstm", "gru", "rnn"], Doc("the network; auto: decoder, a Transformer")] = (
        "auto"
    )
    tokenizer: Annotated[
        Literal["auto", "characters", "bytes", "bpe"],
        Doc("what a token is; auto: characters of one text below 4 MB of few characters, else bpe (byte pairs)"),
    ] = "auto"
    vocabulary: Annotated[int, Doc("tokens that bpe learns at most")] = 4096
    context: Annotated[int, Doc("tokens that the model sees")] = 256
    width: Annotated[int | None, Doc("features of a token (default: 128 to 384, by the text; twice that if recurrent)")] = None
    depth: Annotated[int | None, Doc("layers (default: 4 or 6, by the text; 2 if recurrent)")] = None
    heads: Annotated[int | None, Doc("attention heads, for decoder (default: one for every 32 features)")] = None
    dropout: Annotated[float | None, Doc("share of features dropped in training (default: 0.2 to 0, by the text)")] = None
    pretrained: Annotated[str | None, Doc("go on with a model of transformers: a folder, or a name on the hub")] = None
    lora: Annotated[int, Doc("above 0: only changes of this rank to the linear layers are learned (LoRA)")] = 0
    lora_alpha: Annotated[float, Doc("how strongly those changes count: alpha / rank times")] = 16.0

    chat: Annotated[bool, Doc("put prompts into the chat template of the pretrained model")] = answering(False)
    new_tokens: Annotated[int, Doc("tokens to write at most")] = answering(200, brief=8)
    temperature: Annotated[float, Doc("below 1: safer, above: wilder; 0: always the most probable token")] = answering(0.8)
    top_k: Annotated[int | None, Doc("draw among this many tokens")] = answering(None)
    top_p: Annotated[float, Doc("draw among the fewest tokens that hold this share of the probability")] = answering(1.0)
    min_p: Annotated[float, Doc("draw among tokens at least this share as probable as the most probable")] = answering(0.0)
    repetition_penalty: Annotated[float, Doc("above 1: what was written before is less likely")] = answering(1.0)
    stop: Annotated[tuple[str, ...], Doc("texts at which to stop")] = answering(())
    beams: Annotated[int, Doc("above 1: beam search of this width in place of drawing")] = answering(1)
    length_penalty: Annotated[float, Doc("above 0: beam search likes longer texts")] = answering(1.0)
    draw_seed: Annotated[int, Doc("another number, another text")] = answering(0)

    network: str = learned("")
    kind: str = learned("")
    token_texts: tuple[str, ...] = learned(())
    tokenizer_json: str = learned("")
    frame: tuple[str, str] = learned(("", ""))
    settings: str = learned("")  # those of a pretrained model, as JSON
    embedding: str = learned("embed")

    name: ClassVar[str] = "text-generation"
    about: ClassVar[str] = "a prompt -> the text that goes on with it"
    formats: ClassVar[tuple[str, ...]] = (
        "a text file", "a folder of text files", "train, valid and test files", "CSV/TSV", "Parquet", "JSON lines", "texts",
    )  # fmt: skip

    @property
    def headline(self) -> tuple[str, Literal["max", "min"]]:
        return "bits_per_byte", "min"

    @property
    def inputs(self) -> tuple[Input, ...]:
        return (Input("tokens", ("B", "T"), "int64", "text", 0, len(self.token_texts) + 3),)

    @property
    def asks(self) -> tuple[str, ...]:
        return ("text",)

    @property
    def labels(self) -> tuple[str, ...]:
        return ("label",)

    @property
    def embed(self) -> str:
        return self.embedding

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        return {"T": (1, self.context)}

    @property
    def words(self) -> Pieces:
        from lamina.modalities.prompts import Pieces

        return Pieces(self.kind, self.token_texts, self.tokenizer_json)

    def read(self, source: Source) -> Data:
        """Passages. Of a task that is not prepared yet the tokenizer is learned here: it says how long a passage may be."""
        from lamina.data.documents import python_topics, read_documents
        from lamina.data.passages import passages
        from lamina.data.source import PARTS, Data

        self.check_settings()
        found = read_documents(source, python_topics, source.text or "text")
        words = self.words if self.token_texts else self.learned_words([d.text for d in found.parts["train"]])
        parts = {part: passages(found.parts[part], words.ids, self.context - 1) for part in PARTS}
        about = {**found.about, **self._kept(found, parts)}
        return Data(**parts, fingerprint=found.fingerprint, findings=found.findings, about=about)

    def _kept(self, found: Documents, parts: dict[str, Columns]) -> dict[str, Any]:
        return {"bytes": {part: int(sum(columns["bytes"])) for part, columns in parts.items()}}

    def with_state(self, state: Mapping[str, Any]) -> TextGeneration:
        return dataclasses.replace(self, **{**state, "token_texts": tuple(state["token_texts"]), "frame": tuple(state["frame"])})

    def learned_words(self, texts: list[str]) -> Pieces:
        from lamina.modalities.prompts import Pieces, learned_pieces

        if self.pretrained:
            from lamina.modalities.hub_pieces import json_of, opened, pieces_of

            theirs = opened(self.pretrained)
            return Pieces("hub", pieces_of(theirs), json_of(theirs))
        kind = self.tokenizer
        if kind == "auto":
            few = len(texts) < 20 and sum(map(len, texts)) < FEW
            kind = "characters" if few and len(set().union(*map(set, texts))) <= 256 else "bpe"
        few = 512 + sum(map(len, texts)) // 300  # a token must be read often to be learned
        return learned_pieces(kind, texts, min(self.vocabulary, few))

    def check_settings(self) -> None:
        """Raises LaminaError naming the first setting whose value makes no sense."""
        from lamina.train.options import expect

        for flag, least, most in (("context", 8, 2**20), ("vocabulary", 257, 2**20), ("width", 8, 65536), ("depth", 1, 1000)):
            value = getattr(self, flag)
            expect(flag, value, value is None or least <= value <= most, f"{least} to {most}")
        expect("dropout", self.dropout, self.dropout is None or 0 <= self.dropout < 1, "a share from 0 to below 1")
        self._answers().check()

    def prepare(self, data: Data) -> TextGeneration:
        from lamina.data.columns import length
        from lamina.data.passages import texts_of

        if length(data.train) == 0:
            raise LaminaError("data: expected at least one training example; found none")
        words = self.words if self.token_texts else self.learned_words(texts_of(data.train))
        if self.pretrained:
            return self._of_pretrained(words)
        network = "decoder" if self.model_name == "auto" else self.model_name
        tokens = sum(map(len, data.train["text"])) // (1 if words.kind == "characters" else 4)
        taught: dict[str, Any] = {"network": network, "kind": words.kind, "token_texts": words.pieces}
        taught |= self._size(network, tokens)  # written down, so that a run still loads after the defaults have changed
        if network == "decoder" and taught["width"] % taught["heads"]:
            raise LaminaError(f"--width: expected a multiple of the {taught['heads']} heads; got {taught['width']}")
        return dataclasses.replace(self, **taught)

    def _of_pretrained(self, words: Pieces) -> TextGeneration:
        """What is known of the pretrained model without its weights. Its vocabulary may be larger than its tokenizer's."""
        import torch

        from lamina.modalities.hub_pieces import chat_frame, opened
        from lamina.models.pretrained_lm import settings_of

        assert self.pretrained
        settings = settings_of(self.pretrained)
        with torch.device("meta"):
            embedding = pretrained_network(settings).embedding
        pieces = words.pieces + ("",) * (int(settings["vocab_size"]) - len(words.pieces))
        frame = chat_frame(opened(self.pretrained))
        taught: dict[str, Any] = {
            "network": "pretrained",
            "kind": "hub",
            "token_texts": pieces,
            "tokenizer_json": words.tokenizer,
        }
        return dataclasses.replace(self, **taught, settings=json.dumps(settings, default=str), embedding=embedding, frame=frame)

    def init(self, model: nn.Module, data: Data) -> None:
        if self.pretrained:
            model.load(self.pretrained)  # type: ignore[operator]

    def _size(self, network: str, tokens: int) -> dict[str, Any]:
        """The size of the network for so many tokens of text."""
        _, width, depth, dropout = next(size for size in SIZES if tokens < size[0])
        decoder = network == "decoder"
        width = self.width or width * (1 if decoder else 2)
        return {
            "width": width,
            "depth": self.depth or (depth if decoder else 2),
            "heads": self.heads or max(1, width // 32),
            "dropout": dropout if self.dropout is None else self.dropout,
        }

    def encode(self, columns: Columns, mode: Mode) -> Batch:
        import numpy as np
        import torch

        from lamina.modalities.prompts import EOS, on_the_left

        arrays = self.serving().reader.encode(columns)
        if mode != "predict":
            ends = columns["ends"] if "ends" in columns else [False] * len(columns["text"])
            rows = [row[row != 0][1:] for row in arrays["tokens"]]
            arrays["label"] = on_the_left([np.append(row, EOS if end else 0) for row, end in zip(rows, ends, strict=True)])
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def model(self) -> nn.Module:
        from lamina.nn.lora import adapt, linear_names

        made = self._network()
        if self.lora:
            adapt(made, linear_names(made), self.lora, self.lora_alpha)
        return made

    def _network(self) -> nn.Module:
        if self.settings:
            return pretrained_network(json.loads(self.settings))
        vocabulary, width, depth, dropout = len(self.token_texts) + 4, self.width or 0, self.depth or 0, self.dropout or 0.0
        if self.network != "decoder":
            from lamina.models.recurrent import RecurrentDecoder

            return RecurrentDecoder(vocabulary, self.network, width, width, depth, dropout, tied=False, restarts=False)  # type: ignore[arg-type]
        from lamina.models.transformer_decoder import Decoder, llama

        shape = llama(width, depth, self.heads or 1, self.context, dropout=dropout)
        return Decoder(vocabulary, shape, tied=False, restarts=False)  # a window holds one document

    def loss(self, output: Output, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross entropy of the next token, in nats: the sum over the tokens of a passage, and how many they are."""
        from torch.nn.functional import cross_entropy

        assert isinstance(output, dict)
        label_BT = batch["label"]
        loss_BT = cross_entropy(output["token_logits"].flatten(0, 1), label_BT.flatten(), ignore_index=0, reduction="none")
        return loss_BT.view(label_BT.shape).sum(1), (label_BT != 0).sum(1).to(loss_BT.dtype)

    def target(self, forward: Forward, batch: Batch, which: int = 0) -> Batch:
        """The `which`-th most probable token after the last one, alone: what a model says of a prompt is what comes next."""
        import torch

        output = forward(batch["tokens"])
        assert isinstance(output, dict)
        label_BT = torch.zeros_like(batch["tokens"])
        label_BT[:, -1] = output["token_logits"][:, -1].argsort(1, descending=True)[:, which].to(label_BT.device)
        return {"label": label_BT}

    def _answers(self) -> Any:
        from lamina.decode.text_answers import TextAnswers

        said = {
            f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.metadata.get("answering") and f.name != "chat"
        }
        return TextAnswers(self.token_texts, self.context, **said)

    def serving(self) -> Serving:
        from lamina.modalities.prompts import PromptReader

        frame = self.frame if self.chat else ("", "")
        reader = PromptReader(self.kind, self.token_texts, self.context, self.tokenizer_json, frame)
        return Serving(reader, self._answers())

    def metrics(self, examples: Columns, predictions: Columns) -> dict[str, float]:
        """Bits per byte, and the perplexity of a token."""
        import numpy as np

        total, count = float(np.sum(predictions["loss_total"])), float(np.sum(predictions["loss_count"]))
        size = float(np.sum(examples["bytes"]))
        per_token = total / max(count, 1)
        return {"bits_per_byte": total / np.log(2) / max(size, 1), "perplexity": float(np.exp(min(per_token, 700.0)))}

    def evaluate(self, forward: Forward, columns: Columns, batch_size: int = 250) -> tuple[dict[str, float], Columns]:
        """From the losses alone: nothing needs to be written."""
        import numpy as np
        import torch

        from lamina.data.columns import length, take

        size = max(1, min(batch_size, LOGITS_AT_ONCE // (self.context * (len(self.token_texts) + 4))))
        totals, counts = [], []
        with torch.inference_mode():
            for start in range(0, length(columns), size):
                batch = self.encode(take(columns, np.arange(start, min(start + size, length(columns)))), "evaluate")
                total_B, count_B = self.loss(forward(batch["tokens"]), batch)
                totals.append(total_B.double().cpu().numpy())
                counts.append(count_B.double().cpu().numpy())
        if not totals:
            return {}, {}
        said: Columns = {"loss_total": np.concatenate(totals), "loss_count": np.concatenate(counts)}  # type: ignore[dict-item]
        loss = float(np.sum(said["loss_total"]) / max(float(np.sum(said["loss_count"])), 1.0))
        return {**self.metrics(columns, said), "loss": loss}, said

    def recipe(self, data: Data) -> Recipe:
        """Muon for the matrices of a decoder and AdamW for the rest, falling to nothing; AdamW for recurrent networks."""
        from lamina.data.columns import length
        from lamina.train.recipe import Recipe

        count = max(length(data.train), 1)
        size = 32 if count > 400 else 16
        epochs = int(min(60, max(2, 8000 * size / count)))
        common: dict[str, Any] = {"batch_size": size, "epochs": epochs, "clip": 1.0, "warmup": 0.03, "schedule": "linear"}
        if self.pretrained:
            few = {**common, "batch_size": 8, "epochs": 3}
            return Recipe(optimizer="adamw", lr=5e-4 if self.lora else 5e-5, weight_decay=0.01, **few)
        if self.network == "decoder":
            return Recipe(optimizer="muon", lr=0.02, momentum=0.95, weight_decay=0.1, **common)
        return Recipe(optimizer="adamw", lr=2e-3, weight_decay=0.05, **common)

    def groups(self, model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
        """With Muon, embeddings, norms and the last layer learn by AdamW at 0.15 of its rate: 0.003, as usual."""
        from lamina.train.optimizers import default_groups

        groups = default_groups(model, recipe)
        if recipe.optimizer == "muon":
            groups[-1] |= {"lr_scale": 0.15, "beta2": 0.95}
        return groups

    def stream(self, model: nn.Module, columns: Columns, size: int, seed: int, progress: Callable[[], float]) -> Stream:
        from lamina.data.passages import Windows, joined

        return Windows(joined(columns, self.words.ids), size, self.context, seed)


def pretrained_network(settings: dict[str, Any]) -> Any:
    """The network of a checkpoint: our own where it says the same."""
    from lamina.models.gpt2 import GPT2, fits
    from lamina.models.pretrained_lm import PretrainedLM

    return GPT2(settings) if fits(settings) else PretrainedLM(settings)
