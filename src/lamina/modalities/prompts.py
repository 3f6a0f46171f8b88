"""Running text as tokens of bytes: characters, bytes, or byte pairs. Needs numpy only, so that an exported folder reads prompts.

A piece is the bytes of a token, each byte written as the character of its number, as JSON can hold it. Ids 0 to 3 are padding,
unknown, the beginning and the end; pieces follow. Every row begins with <bos>, which stands for whatever came before.

Legend: B rows, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from lamina.errors import LaminaError

PAD, UNK, BOS, EOS, FIRST = 0, 1, 2, 3, 4
BYTES = tuple(chr(value) for value in range(256))


@dataclass(frozen=True)
class Pieces:
    """A vocabulary of bytes and the way from text to it and back."""

    kind: str
    """`characters`, `bytes`, `bpe`, or `hub` for those of a pretrained model."""
    pieces: tuple[str, ...]
    tokenizer: str = ""
    """The tokenizer.json of a pretrained model."""

    def ids(self, text: str) -> np.ndarray:
        """Token ids (T,) int64, without beginning and end."""
        raw = text.encode(errors="replace")
        if self.kind == "bytes":
            return np.frombuffer(raw, np.uint8).astype(np.int64) + FIRST
        if self.kind == "characters":
            points = np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), np.uint32)
            known, ids = characters(self.pieces)
            place = np.minimum(np.searchsorted(known, points), len(known) - 1)
            return np.where(known[place] == points, ids[place], UNK).astype(np.int64)
        if self.kind == "hub":
            from lamina.modalities.hub_pieces import ids

            return ids(self.tokenizer, text)
        from lamina.modalities.byte_pairs import encoder

        return encoder(self.pieces)(text)

    def spans(self, text: str) -> np.ndarray:
        """Where each token of `ids` starts and ends in `text` (T, 2), in characters. Part of a character stands for it all."""
        if self.kind == "characters":
            return np.arange(len(text))[:, None] + np.arange(2)
        if self.kind == "hub":
            from lamina.modalities.hub_pieces import spans

            return spans(self.tokenizer, text)
        ends = np.cumsum(self.sizes(self.ids(text)))
        of_byte = np.repeat(np.arange(len(text)), [len(c.encode(errors="replace")) for c in text])
        starts = np.concatenate([[0], ends[:-1]]) if len(ends) else ends
        return np.stack([of_byte[starts], of_byte[ends - 1] + 1], 1) if len(ends) else np.empty((0, 2), np.int64)

    def sizes(self, ids: np.ndarray) -> np.ndarray:
        """How many bytes each token stands for (T,); an unknown one counts as one."""
        lengths = np.asarray([0, 1, 0, 0, *map(len, self.pieces)], np.int64)
        return lengths[ids]


@lru_cache(maxsize=8)
def characters(pieces: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Code points in ascending order, and the ids of their tokens."""
    points = np.asarray([ord(piece.encode("latin-1").decode("utf-8")) for piece in pieces], np.uint32)
    order = np.argsort(points)
    return points[order], order + FIRST


def learned_pieces(kind: str, texts: Sequence[str], size: int) -> Pieces:
    """The vocabulary of `texts`. Raises LaminaError for a kind that there is not."""
    if kind == "bytes":
        return Pieces(kind, BYTES)
    if kind == "characters":
        found = sorted({character for text in texts for character in set(text)})
        return Pieces(kind, tuple(character.encode(errors="replace").decode("latin-1") for character in found))
    if kind == "bpe":
        from lamina.modalities.byte_pairs import learned

        return Pieces(kind, learned(texts, size))
    raise LaminaError(f"--tokenizer: expected characters, bytes or bpe; got {kind!r}")


@dataclass(frozen=True)
class PromptReader:
    """From prompts to the input of a language model: the last `context` tokens, padding on the left."""

    kind: str
    vocabulary: tuple[str, ...]
    """The pieces."""
    context: int
    tokenizer: str = ""
    frame: tuple[str, str] = ("", "")
    """What a chat has before and after what a person says."""
    column: str = "text"

    @property
    def asks(self) -> tuple[str, ...]:
        return (self.column,)

    def gather(self, sources: Sequence[Any]) -> dict[str, Any]:
        from lamina.modalities.text import gather_inputs

        return gather_inputs(sources, self.asks)

    def encode(self, columns: dict[str, Any]) -> dict[str, np.ndarray]:
        """{"tokens": (B, T) int64}. Raises LaminaError for a cell that is no text."""
        words, (before, after) = Pieces(self.kind, self.vocabulary, self.tokenizer), self.frame
        rows = []
        for number, text in enumerate(columns[self.column], 1):
            if not isinstance(text, str):
                raise LaminaError(f"row {number}, column {self.column!r}: expected a text; got {type(text).__name__}")
            rows.append(np.concatenate([[BOS], words.ids(before + text + after)[-(self.context - 1) :]]))
        return {"tokens": on_the_left(rows)}

    def pieces(self, columns: dict[str, Any]) -> list[list[tuple[str, int, int]]]:
        """What each token stands for in the raw text: its text, start and end in characters. A frame stands for nothing in it."""
        words, (before, after) = Pieces(self.kind, self.vocabulary, self.tokenizer), self.frame
        made = []
        for text in columns[self.column]:
            found = words.spans(before + text + after)[-(self.context - 1) :]
            found = np.clip(found - len(before), 0, len(text)).tolist()
            made.append([("<bos>", 0, 0), *((text[start:end], start, end) for start, end in found)])
        return made


def on_the_left(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Rows of ids as one array (B, T) int64, padding on the left."""
    width = max([1, *map(len, rows)])
    padded_BT = np.full((len(rows), width), PAD, np.int64)
    for place, row in enumerate(rows):
        padded_BT[place, width - len(row) :] = row
    return padded_BT
