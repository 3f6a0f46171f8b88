"""READ FIRST. The whole contract between an application and everything that Lamina does with it.

An application is one file in `tasks/` (or anywhere, named by its path) holding one frozen dataclass that
derives from `Task`. Its fields are its hyperparameters; its methods say how raw examples become tensors, tensors
become a loss, and outputs become answers. Every verb (train, evaluate, predict, explain, stress, export, ...) is
written once against this class and names no task.

Shapes: B examples in a batch, K classes, D features, C channels or columns, H and W pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:  # `lamina --help` reads the fields of tasks, and must not pay for importing torch
    import numpy as np
    import torch
    from torch import Tensor, nn

    from lamina.data.source import Data, Source
    from lamina.train.recipe import Recipe

Columns: TypeAlias = "dict[str, Sequence[Any]]"
"""Raw examples as people and files hold them: equal-length columns of pictures, strings, numbers."""

Batch: TypeAlias = "dict[str, Tensor]"
"""Encoded examples: every value has leading dimension B."""

Output: TypeAlias = "Tensor | dict[str, Tensor]"
"""What a model says, every value with leading dimension B. Reserved keys: `logits` (B, K), `features` (B, D),
`attention` (B, T, S): how much each place of what is said looks at each place of inputs[0].

Models of tokens say `token_logits` (B, T, V): what comes after each token."""

Forward: TypeAlias = "Callable[..., Output]"
"""Anything that maps inputs to an Output: an nn.Module, compiled, quantized, exported, or an ONNX session."""

Arrays: TypeAlias = "dict[str, np.ndarray]"
"""A Batch or an Output without torch."""

State: TypeAlias = "dict[str, Tensor]"
"""What a generating model has read so far, every value with leading dimension B: rows are reordered with `index_select`."""

Mode: TypeAlias = Literal["train", "evaluate", "predict"]
Modality: TypeAlias = Literal["image", "audio", "text", "table", "observation", "side"]

Piece: TypeAlias = "tuple[str, int, int]"
"""A token as people see it: its text, and where it starts and ends in the raw text, in characters. A token that stands for
nothing in the text (the beginning, the end) starts and ends at one place."""


@dataclass(frozen=True)
class Input:
    """One positional argument of `model.forward`.

    dims are those of the batch tensor: `("B", 3, 32, 32)` or `("B", "T")`; a string names a size that may vary.
    dtype is torch's name for it (`"uint8"`, `"float32"`, `"int64"`).
    low and high bound the values in raw units (one number, or one per column for a table); None where unbounded.
    Normalization lives inside the model, so that attacks, explanations and clients all speak raw units.
    Text is token ids ("B", "T"), int64, 0 to V - 1: 0 is padding, on the left or on the right, and 1 a token that is unknown.
    """

    name: str
    dims: tuple[str | int, ...]
    dtype: str
    modality: Modality
    low: float | tuple[float, ...] | None = None
    high: float | tuple[float, ...] | None = None
    names: tuple[str, ...] = ()
    """Of the numbers of a row, for people, where they are not the columns that are asked for."""


class Generates(Protocol):
    """A Forward that also generates. Cached and uncached agree token by token, and a batch agrees with each of its rows.

    Token ids are int64; 0 is padding, left or right of a row's tokens, and changes nothing; 2, `<bos>`, begins a document.
    """

    def begin(self, *inputs: Tensor) -> tuple[Tensor, State]:
        """The logits of what comes after each row (B, V), and the state to go on from."""
        ...

    def step(self, token_B: Tensor, state: State) -> tuple[Tensor, State]:
        """The logits after one more token a row (B, V), and the state then. `state` is used up: it may be written into."""
        ...


class Reader(Protocol):
    """What a client sends, made arrays: a frozen dataclass of plain fields in `modalities/`."""

    @property
    def asks(self) -> tuple[str, ...]: ...
    def gather(self, sources: Sequence[Any]) -> Columns:
        """Files, folders, `-` for standard input, as the columns `asks` and `source`."""
        ...

    def encode(self, columns: Columns) -> Arrays:
        """The inputs of the model by name."""
        ...


@runtime_checkable
class Pieces(Protocol):
    """A reader of text, which knows what each token stands for."""

    def pieces(self, columns: Columns) -> list[list[Piece]]:
        """As `Task.pieces`."""
        ...


class Decoder(Protocol):
    """What a model says, made answers: a frozen dataclass of plain fields in `decode/`."""

    def answers(self, ask: Callable[[Arrays], Arrays], arrays: Arrays) -> list[dict[str, Any]]:
        """One JSON-able answer per example. May ask many times.

        `ask` is an `Asking`: where the model keeps what it has read, it has `begin`, `step` and `rows` too (`decode/steps.py`).
        """
        ...


@runtime_checkable
class Streaming(Protocol):
    """A decoder that tells its answers as they are written."""

    @property
    def continues(self) -> bool:
        """Whether an answer goes on with the input, which is then shown before it."""
        ...

    def stream(self, ask: Callable[[Arrays], Arrays], arrays: Arrays) -> Iterator[tuple[int, str]]:
        """(example, piece of text) as they come; the pieces of an example add up to the text of its answer."""
        ...


@runtime_checkable
class Writes(Protocol):
    """A Forward that writes token by token and keeps what it has read: a state of tensors that all lead with B."""

    def begin(self, *inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits (B, V) of the token that follows the inputs, padding on their left, and the state."""
        ...

    def step(self, token_B: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits (B, V) of the token after `token_B` (int64), and the state."""
        ...


@runtime_checkable
class WritesAsGraphs(Protocol):
    """A model whose `begin` and `step` would not export, and that says the same in a form that does."""

    def begin_graph(self, *inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]: ...
    def step_graph(self, token_B: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]: ...


@runtime_checkable
class Wraps(Protocol):
    """A Forward around another one, which says the same."""

    @property
    def inner(self) -> Forward: ...


@dataclass(frozen=True)
class Serving:
    """How inputs are answered without torch. The modules of both need numpy and Pillow only, and one another, so that an
    exported folder carries them, with their fields as JSON."""

    reader: Reader
    decoder: Decoder


class Stream(Protocol):
    """Training batches in order, resumable to the bit: an iterator whose whole state is JSON-able or tensors."""

    safe: bool
    """A checkpoint may fall here."""

    def __iter__(self) -> Iterator[Batch]: ...
    def __next__(self) -> Batch: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...
    def after_step(self) -> None: ...
    def figures(self) -> dict[str, float]:
        """What is worth logging beside the loss, such as the return of the episodes played so far."""
        ...

    def where(self) -> str:
        """The last batch in words, for messages."""
        ...


@dataclass(frozen=True)
class Task:
    """A frozen dataclass of hyperparameters, and what they mean. Override a default only where it is wrong."""

    name: ClassVar[str] = ""
    """The name that the field's model hubs use, as in `image-classification`."""
    about: ClassVar[str] = ""
    """One line for `lamina tasks`: what goes in and what comes out."""
    formats: ClassVar[tuple[str, ...]] = ()
    """The layouts that `read` understands, one short phrase each."""
    coupled: ClassVar[bool] = False
    """True where a row's loss depends on the other rows of its batch (contrastive learning)."""

    acts: ClassVar[bool] = False
    """True where an answer changes what is seen next: `metrics` judge episodes, which `evaluate` plays from each example to their
    end, and not the single answers of `predict`."""
    steady: ClassVar[bool] = False
    """True where forward and loss compute the same things whatever the values are, with nothing random: on a CPU a training step
    is captured as one graph, which is worth much where networks are small."""

    # Declared. Properties, because many depend on hyperparameters, or on what `prepare` learned.

    @property
    def headline(self) -> tuple[str, Literal["max", "min"]]:
        """The metric to choose models by, and the direction that is better."""
        return "loss", "min"

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The model's arguments; inputs[0] is what the world controls: explained, attacked, corrupted."""
        raise NotImplementedError

    @property
    def asks(self) -> tuple[str, ...]:
        """The raw columns that a client sends to be answered."""
        raise NotImplementedError

    @property
    def labels(self) -> tuple[str, ...]:
        """Batch keys that the loss needs beyond the inputs."""
        raise NotImplementedError

    @property
    def exact(self) -> bool:
        """True where outputs must not be rounded, whatever is faster: `--precision auto` is float32."""
        return False

    @property
    def embed(self) -> str | None:
        """The submodule whose output stands for an input that has no gradient of its own (codes, token ids)."""
        return None

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """Least and greatest size of each varying dimension, for export and for checks."""
        return {}

    # Required.

    def read(self, source: Source) -> Data:
        """Raw examples in four parts: train, valid, calibration, test."""
        raise NotImplementedError

    def prepare(self, data: Data) -> Task:
        """A copy that knows what the training data teaches before any weight does: class names, column statistics."""
        raise NotImplementedError

    def encode(self, columns: Columns, mode: Mode) -> Batch:
        """The only path from raw to tensors. In mode `predict`, `columns` holds only `asks`."""
        raise NotImplementedError

    def model(self) -> nn.Module:
        """A module whose forward takes `batch[i.name] for i in inputs`. Reads no file, and runs on `meta`."""
        raise NotImplementedError

    def loss(self, output: Output, batch: Batch) -> tuple[Tensor, Tensor] | dict[str, tuple[Tensor, Tensor]]:
        """(summed loss (B,), item count (B,)) of each example, or {term: such a pair}. No mode, no randomness."""
        raise NotImplementedError

    def target(self, forward: Forward, batch: Batch, which: int = 0) -> Batch:
        """What the model itself says, in label form: frozen before it is explained or attacked."""
        raise NotImplementedError

    def predict(self, forward: Forward, batch: Batch) -> list[dict[str, Any]]:
        """One JSON-able answer per example. May call forward many times. Default: the decoder of `serving`."""
        serving = self.serving()
        if serving is None:
            raise NotImplementedError
        return serving.decoder.answers(asking(forward, self.inputs, batch), arrays_of(batch, self.inputs))

    def metrics(self, examples: Columns, predictions: Columns) -> dict[str, float]:
        """Figures over examples and their predictions (as columns of equal length), the headline first."""
        raise NotImplementedError

    # Defaults.

    def serving(self) -> Serving | None:
        """What `encode` and `predict` are made of, where they need no torch; an exported folder answers with it."""
        return None

    def pieces(self, columns: Columns) -> list[list[Piece]] | None:
        """Text: what every token of inputs[0] that is not padding stands for in the raw text of `asks[0]`, in their order.

        As `encode` would cut it, in mode `predict`. Default: what the reader of `serving` tells; None where nobody can tell.
        """
        serving = self.serving()
        return serving.reader.pieces(columns) if serving is not None and isinstance(serving.reader, Pieces) else None

    def spoken(self, batch: Batch) -> list[tuple[str, list[Piece]]] | None:
        """Answers that are texts: for each row of a batch that `target` has frozen, the text, and what each place of the reserved
        output `attention` (B, T, S) stands for in it. Explanations draw the attention as an alignment by it. None: no texts."""
        return None

    def portrayed(self, forward: Forward, columns: Columns, folder: Path) -> dict[str, Path]:
        """Pictures of how a model answers these examples, where no verb can draw them: {title: file in `folder`}. An agent is
        filmed."""
        return {}

    def details(self, examples: Columns, predictions: Columns) -> dict[str, Any]:
        """JSON-able tables beyond the metrics, such as figures per class: {title: [row, ...]}."""
        return {}

    def score(self, output: Output, batch: Batch) -> Tensor:
        """How strongly the output says the labels (B,): what explanations differentiate."""
        terms = self.loss(output, batch)
        pairs = list(terms.values()) if isinstance(terms, dict) else [terms]
        return -sum(total / count.clamp(min=1) for total, count in pairs)  # type: ignore[return-value]

    def augment(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Training only, on the device that trains, over the whole batch."""
        return batch

    def outputs(self, forward: Forward, batch: Batch) -> Output:
        """The output to be trained on: one call, or several for multi-crop."""
        return forward(*[batch[i.name] for i in self.inputs])

    def init(self, model: nn.Module, data: Data) -> None:
        """Weights that are computed or loaded once, before training starts."""

    def recipe(self, data: Data) -> Recipe:
        """The optimizer, rates, batch size and length that fit this data."""
        from lamina.train.recipe import Recipe

        return Recipe()

    def epoch(self, data: Data) -> int:
        """Examples of an epoch. Default: those that are given; an agent makes its own."""
        from lamina.data.columns import length

        return length(data.train)

    def groups(self, model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
        """Parameter groups for the optimizers. Default: no weight decay on biases, norms and embeddings."""
        from lamina.train.optimizers import default_groups

        return default_groups(model, recipe)

    def stream(self, model: nn.Module, columns: Columns, size: int, seed: int, progress: Callable[[], float]) -> Stream:
        """Training batches of `size` examples. `progress()` in 0..1 drives what anneals."""
        from lamina.train.stream import ShuffledStream

        return ShuffledStream(self, columns, size, seed)

    def evaluate(self, forward: Forward, columns: Columns, batch_size: int = 250) -> tuple[dict[str, float], Columns]:
        """Metrics, `loss` (summed loss over count) among them, and the predictions they were computed from."""
        from lamina.answer import answer

        return answer(self, forward, columns, batch_size)

    # What `prepare` learned travels as JSON with the run.

    def state(self) -> dict[str, Any]:
        """What `prepare` taught, as JSON: kept in the run's `processor/`. Default: the fields marked as learned."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.metadata.get("learned")}

    def with_state(self, state: Mapping[str, Any]) -> Task:
        """The inverse of `state`."""
        return dataclasses.replace(self, **state)

    def briefly(self) -> Task:
        """A copy whose answers are as short as its fields marked by `answering` allow."""
        return dataclasses.replace(
            self, **{f.name: f.metadata["brief"] for f in dataclasses.fields(self) if "brief" in f.metadata}
        )

    def hyperparameters(self) -> dict[str, Any]:
        """The fields that a person may set."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if not f.metadata.get("learned")}

    def save_processor(self, folder: Path) -> None:
        """Write what `prepare` learned into `folder`, as plain files: JSON, and fields that are files of their own."""
        from lamina.files import write_bytes, write_json

        state, files = self.state(), files_of(self)
        write_json(folder / "state.json", {name: value for name, value in state.items() if name not in files})
        for name, file in files.items():
            write_bytes(folder / file, state[name].encode())

    def load_processor(self, folder: Path) -> Task:
        """The inverse of `save_processor`."""
        from lamina.files import read_json

        kept = {name: (folder / file).read_text(encoding="utf-8") for name, file in files_of(self).items()}
        return self.with_state({**read_json(folder / "state.json"), **kept})


def arrays_of(batch: Batch, inputs: Sequence[Input]) -> Arrays:
    """The inputs of a batch as arrays."""
    return {spec.name: batch[spec.name].detach().cpu().numpy() for spec in inputs}


def asking(forward: Forward, inputs: Sequence[Input], batch: Batch) -> Asking:
    """`forward` as a function of arrays, on the device of `batch`; floating-point outputs in float32.

    Where `forward`, or what it wraps, writes token by token, the function has `begin`, `step` and `rows`.
    """
    device, written = batch[inputs[0].name].device, forward
    while isinstance(written, Wraps):
        written = written.inner
    names = [spec.name for spec in inputs]
    return AskingSteps(forward, names, device, written) if isinstance(written, Writes) else Asking(forward, names, device)


class Asking:
    """A Forward as a function of arrays."""

    def __init__(self, forward: Forward, names: Sequence[str], device: torch.device) -> None:
        self.forward, self.names, self.device = forward, names, device

    def __call__(self, arrays: Arrays) -> Arrays:
        said = self.forward(*self.tensors(arrays))
        named = said if isinstance(said, dict) else {"output": said}
        return {key: array_of(value) for key, value in named.items()}

    def tensors(self, arrays: Arrays) -> list[Tensor]:
        import torch

        return [torch.from_numpy(arrays[name]).to(self.device) for name in self.names]


class AskingSteps(Asking):
    """One that writes: `decode/steps.py` says what the three methods mean. The state stays in tensors, on their device."""

    def __init__(self, forward: Forward, names: Sequence[str], device: torch.device, written: Writes) -> None:
        super().__init__(forward, names, device)
        self.written = written

    def begin(self, arrays: Arrays) -> tuple[np.ndarray, Any]:
        import torch

        with torch.inference_mode():
            logits_BV, state = self.written.begin(*self.tensors(arrays))
        return array_of(logits_BV), state

    def step(self, token_B: np.ndarray, state: Any) -> tuple[np.ndarray, Any]:
        import torch

        with torch.inference_mode():
            logits_BV, state = self.written.step(torch.from_numpy(token_B).to(self.device), state)
        return array_of(logits_BV), state

    def rows(self, state: Any, index_N: np.ndarray) -> Any:
        """Where there are as many rows as before, those that change are written into `state`: most stay where they are."""
        import torch

        index = torch.from_numpy(index_N)
        with torch.inference_mode():
            if all(len(value) == len(index) for value in state.values()):
                changed = (index != torch.arange(len(index))).nonzero().squeeze(1)
                for value in state.values():
                    value.index_copy_(0, changed.to(value.device), value[index[changed].to(value.device)])
                return state
            return {name: value.index_select(0, index.to(value.device)) for name, value in state.items()}


def array_of(value: Tensor) -> np.ndarray:
    """A tensor as an array, floating-point numbers in float32."""
    kept = value.detach().cpu()
    return (kept.float() if kept.is_floating_point() else kept).numpy()


def learned(default: Any, file: str | None = None) -> Any:
    """A field that `prepare` fills in: never a flag, always saved with the run. `file`: a text that is a file of its own, such as
    tokenizer.json, for other tools to read."""
    return dataclasses.field(default=default, metadata={"learned": True, "file": file})


def files_of(task: Task) -> dict[str, str]:
    """The learned fields that are files of their own, and what these are called."""
    return {f.name: f.metadata["file"] for f in dataclasses.fields(task) if f.metadata.get("file")}


def answering(default: Any, brief: Any = None) -> Any:
    """A field that says how answers are made and changes no weight: set in training, and anew wherever a run is asked.

    brief: the value where a verb asks about many examples for its own ends and short answers do (`Task.briefly`).
    """
    return dataclasses.field(default=default, metadata={"answering": True} | ({} if brief is None else {"brief": brief}))
