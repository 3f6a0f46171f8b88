"""Documents as passages: the examples that a language model is judged on, and the stream of windows that it learns from.

A passage is a stretch of one document of at most `context` tokens, <bos> before it; every token of a document stands in exactly
one, so that losses over passages add up to the loss of the text. Training joins them again and cuts windows elsewhere in every
epoch. A window holds tokens of one document only: nothing leaks from one into another, and no mask is needed for that.

Legend: B windows, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np

from lamina.data.documents import Document
from lamina.data.epochs import Epochs
from lamina.errors import LaminaError
from lamina.task import Batch, Columns

BOS, EOS = 2, 3
SORTED = 32
"""Batches among which windows of like length are brought together."""


def passages(documents: Sequence[Document], ids: Callable[[str], np.ndarray], most: int) -> Columns:
    """Columns `text`, `document` (the name), `start` (in characters), `ends` (whether the document ends here) and `bytes`.

    ids: from a text to its tokens. most: tokens of a passage at most.
    """
    rows: list[tuple[str, str, int, bool]] = []
    for document in documents:
        places = cuts(document.text, ids, most)
        for start, stop in pairwise(places):
            rows.append((document.text[start:stop], document.name, start, document.whole and stop == len(document.text)))
    texts, names, starts, ends = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [], [])
    return {
        "text": texts,
        "document": names,
        "start": np.asarray(starts, np.int64),  # type: ignore[dict-item]
        "ends": np.asarray(ends, bool),  # type: ignore[dict-item]
        "bytes": np.asarray([len(text.encode(errors="replace")) for text in texts], np.int64),  # type: ignore[dict-item]
    }


def cuts(text: str, ids: Callable[[str], np.ndarray], most: int) -> list[int]:
    """Where passages begin, and the end of the text: the longest stretches of at most `most` tokens, cut at white space where
    there is some in their later half, so that no word is torn."""
    places = [0]
    while places[-1] < len(text):
        start = places[-1]
        size = most
        stretch = text[start : start + size]
        while len(ids(stretch)) < most and start + len(stretch) < len(text):  # tokens of several characters
            size = int(size * max(1.2, min(4.0, most / max(len(ids(stretch)), 1))))
            stretch = text[start : start + size]
        if start + len(stretch) == len(text) and len(ids(stretch)) <= most:
            places.append(len(text))
            break
        low, high = 1, len(stretch)
        while low < high:  # the longest that fits
            middle = (low + high + 1) // 2
            low, high = (middle, high) if len(ids(stretch[:middle])) <= most else (low, middle - 1)
        if len(ids(stretch[:low])) >= low:  # a token a character, or more: anywhere is as good
            places.append(start + low)
            continue
        space = max(stretch.rfind(" ", low // 2, low), stretch.rfind("\n", low // 2, low))
        places.append(start + (space if space > 0 else low))
    return places


def joined(columns: Columns, encode: Callable[[str], np.ndarray]) -> list[np.ndarray]:
    """The tokens of every document, passages put together again, with the end where it is one."""
    documents: list[list[np.ndarray]] = []
    after: tuple[str, int] | None = None
    for text, name, start, ends in zip(*(columns[key] for key in ("text", "document", "start", "ends")), strict=True):
        if after != (name, int(start)):
            documents.append([])
        documents[-1].append(encode(text))
        after = (name, int(start) + len(text))
        if ends:
            documents[-1].append(np.asarray([EOS], np.int64))
            after = None
    return [np.concatenate(parts) for parts in documents]


class Windows(Epochs):
    """Batches of windows: `tokens` (B, T) that begin with <bos>, and `label` (B, T), the token that comes next.

    In every epoch each document is cut at another offset, so that every token is learned once, and the windows are shuffled.
    Windows of one batch are of like length, and padded on the right with 0. The state is two numbers.
    """

    def __init__(self, documents: Sequence[np.ndarray], size: int, context: int, seed: int) -> None:
        self.documents = [d for d in documents if len(d)]
        if not self.documents:
            raise LaminaError("data: expected at least one training example; found none")
        self.size, self.context, self.seed = size, context, seed
        self._cut: tuple[int, list[np.ndarray]] | None = None
        self.last: np.ndarray = np.empty((0, 3), np.int64)

    def batches(self) -> list[np.ndarray]:
        """The batches of this epoch: (document, start, stop) of each window (B, 3), made once."""
        if self._cut is None or self._cut[0] != self.epoch:
            self._cut = self.epoch, self._batches(np.random.default_rng((self.seed, self.epoch)))
        return self._cut[1]

    def _batches(self, generator: np.random.Generator) -> list[np.ndarray]:
        windows = []
        for number, document in enumerate(self.documents):
            if len(document) <= self.context:
                windows.append([[number, 0, len(document)]])
                continue
            places = np.arange(int(generator.integers(self.context)), len(document), self.context)
            edges = np.unique(np.concatenate([[0], places, [len(document)]]))
            windows.append(np.stack([np.full(len(edges) - 1, number), edges[:-1], edges[1:]], 1))
        every = np.concatenate(windows).astype(np.int64)
        every = every[generator.permutation(len(every))]
        size = min(self.size, len(every))
        group = size * SORTED
        made = []
        for start in range(0, len(every), group):
            some = every[start : start + group]
            some = some[np.argsort(some[:, 1] - some[:, 2], kind="stable")]  # the longest first
            made += [some[i : i + size] for i in range(0, len(some), size)]
        short = [batch for batch in made if len(batch) < size]
        if short:  # what is left over of every group, together
            rest = np.concatenate(short)
            whole = [rest[i : i + size] for i in range(0, len(rest) - size + 1, size)]
            made = [batch for batch in made if len(batch) == size] + whole
        return [made[i] for i in generator.permutation(len(made))]

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        import torch

        if self.position >= len(self.batches()):
            self.epoch, self.position = self.epoch + 1, 0
        self.last = self.batches()[self.position]
        self.position += 1
        width = int((self.last[:, 2] - self.last[:, 1]).max())
        tokens_BT, label_BT = np.zeros((2, len(self.last), width), np.int64)
        for row, (number, start, stop) in enumerate(self.last.tolist()):
            window = self.documents[number][start:stop]
            label_BT[row, : len(window)] = window
            tokens_BT[row, 0], tokens_BT[row, 1 : len(window)] = BOS, window[:-1]
        return {"tokens": torch.from_numpy(tokens_BT), "label": torch.from_numpy(label_BT)}

    def where(self) -> str:
        """The last batch in words, for messages."""
        told = [f"{number + 1} from token {start}" for number, start, _ in self.last[:3].tolist()]
        more = f" and {len(self.last) - 3} more" if len(self.last) > 3 else ""
        return f"epoch {self.epoch + 1}, documents {', '.join(told)}{more}"


def texts_of(columns: Columns) -> list[str]:
    """The documents, passages put together again."""
    texts: list[str] = []
    after: tuple[str, int] | None = None
    for text, name, start in zip(*(columns[key] for key in ("text", "document", "start")), strict=True):
        if after == (name, int(start)):
            texts[-1] += text
        else:
            texts.append(text)
        after = (name, int(start) + len(text))
    return texts
