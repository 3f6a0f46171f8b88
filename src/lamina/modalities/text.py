"""Texts: sentences and documents -> token ids (B, T), what each token stands for, and the texts that a person asks about.

Needs numpy and `tokenizers` only, so that an exported folder can carry it.

B texts, T tokens.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.errors import LaminaError
from lamina.modalities.vocabulary import sound

if TYPE_CHECKING:
    from lamina.task import Arrays, Columns, Piece

MOST_CHARACTERS = 1_000_000
"""A longer text is refused by name: it is rarely one."""
HEAD = 0.25
"""Share of the tokens of a cut text that come from its beginning, the rest from its end (Sun et al. 2019, section 5.3.1)."""
TABLES = (".csv", ".tsv", ".parquet", ".pq", ".jsonl", ".ndjson", ".json")
NAMES = ("text", "sentence", "review", "content", "body", "message", "comment", "document", "tweet", "utterance", "question",
         "description", "headline", "title")  # fmt: skip
"""What columns of texts are called, in order of preference."""


@dataclass(frozen=True)
class TextReader:
    """From texts to the tokens of a model: normalized, cut to `most` tokens (head and tail), padded on the right with 0."""

    tokenizer: str
    """A tokenizer.json."""
    most: int
    column: str = "text"
    pad: int = 0
    """The tokenizer's own number for padding. It changes places with 0, which is padding everywhere in Lamina."""
    name: str = "tokens"
    """Of the model's input."""

    @property
    def asks(self) -> tuple[str, ...]:
        return (self.column,)

    def gather(self, sources: Sequence[Any]) -> Columns:
        return gather_inputs(sources, self.asks)

    def encode(self, columns: Columns) -> Arrays:
        """{"tokens": (B, T) int64}. Raises LaminaError for a cell that is no text."""
        return {self.name: padded(self.ids(columns[self.column]))}

    def ids(self, texts: Sequence[Any]) -> list[np.ndarray]:
        """The tokens of each text (T,) int64, cut."""
        tokenizer = opened(self.tokenizer)
        found = []
        for start in range(0, len(texts), 1000):
            some = [checked(text, start + n, self.column) for n, text in enumerate(texts[start : start + 1000])]
            for encoding in tokenizer.encode_batch_fast(some):
                ids = np.asarray(encoding.ids, np.int64)
                found.append(self.swapped(ids[self.kept(len(ids))]))
        return found

    def lengths(self, texts: Sequence[Any]) -> list[int]:
        """Tokens of each text before it is cut."""
        tokenizer = opened(self.tokenizer)
        some = [checked(text, n, self.column) for n, text in enumerate(texts)]
        return [len(encoding) for encoding in tokenizer.encode_batch_fast(some)]

    def kept(self, count: int) -> np.ndarray:
        """Which of `count` tokens remain."""
        if count <= self.most:
            return np.arange(count)
        head = max(1, int(HEAD * self.most))
        return np.r_[:head, count - (self.most - head) : count]

    def swapped(self, ids: np.ndarray) -> np.ndarray:
        if not self.pad:
            return ids
        return np.where(ids == 0, self.pad, np.where(ids == self.pad, 0, ids))

    def pieces(self, columns: Columns) -> list[list[Piece]]:
        """What each token stands for in the raw text: its text, start and end in characters."""
        tokenizer = opened(self.tokenizer)
        made = []
        for row, text in enumerate(columns[self.column]):
            encoding = tokenizer.encode(checked(text, row, self.column))
            rows = self.kept(len(encoding.ids)).tolist()
            tokens, offsets, special = encoding.tokens, encoding.offsets, encoding.special_tokens_mask
            places = [(0, 0) if special[i] and i == 0 else (len(text), len(text)) if special[i] else offsets[i] for i in rows]
            places = places if text.isascii() else with_marks(text, places)
            made.append(
                [
                    (tokens[i] if start >= end else text[start:end], int(start), int(end))
                    for i, (start, end) in zip(rows, places, strict=True)
                ]
            )
        return made


def with_marks(text: str, places: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Places that reach over the accents behind them, which composing took into the letter."""
    made = []
    for (start, end), after in zip(places, [*(place[0] for place in places[1:]), len(text)], strict=True):
        while start < end < min(after, len(text)) and unicodedata.combining(text[end]):
            end += 1
        made.append((start, end))
    return made


@lru_cache(maxsize=8)
def opened(tokenizer: str) -> Any:
    """The tokenizer that a tokenizer.json describes."""
    try:
        from tokenizers import Tokenizer
    except ImportError as error:  # as beside an exported model
        raise LaminaError("expected the library that reads texts: pip install tokenizers") from error
    return Tokenizer.from_str(tokenizer)


def vocabulary_of(tokenizer: str) -> dict[str, int]:
    """The number of each token."""
    return opened(tokenizer).get_vocab(with_added_tokens=True)


def padded(rows: Sequence[np.ndarray], multiple: int = 1) -> np.ndarray:
    """Rows of ids as one array (B, T) int64, as wide as the longest or the next `multiple`, padding on the right."""
    width = max([1, *map(len, rows)])
    padded_BT = np.zeros((len(rows), -(-width // multiple) * multiple), np.int64)
    for place, row in enumerate(rows):
        padded_BT[place, : len(row)] = row
    return padded_BT


def checked(text: Any, row: int, column: str) -> str:
    """A cell as a text that can be encoded. Raises LaminaError where it is none."""
    if not isinstance(text, str):
        raise LaminaError(f"row {row + 1}, column {column!r}: expected a text; got {type(text).__name__}")
    if wrong := unusable(text):
        raise LaminaError(f"row {row + 1}, column {column!r}: {wrong}")
    return sound(text)


def unusable(text: str) -> str | None:
    """Why nobody should be asked about this text; None where they may."""
    if len(text) > MOST_CHARACTERS:
        return f"expected a text of at most {MOST_CHARACTERS:,} characters; got {len(text):,}: cut it into several"
    return None


def gather_inputs(sources: Sequence[Any], asks: Sequence[str]) -> dict[str, Any]:
    """What `lamina predict` points at, as the columns `asks`, a column `source` and, where texts cannot be read, a column
    `unread` that says why, None for the others.

    A source is a text as it stands; a .txt file or `-` for standard input, a text a line; any other file of text (a mail, a
    page), one text; a folder, one text a file; a table (CSV, TSV, Parquet, JSON lines), a text a row; a row as a dict, or a
    data frame. A word that names a file or has a file's ending is taken for one.
    Raises LaminaError where a file or a column is absent, or a source as a whole cannot be read.
    """
    if not sources:
        raise LaminaError(f"expected texts to answer, or files of them ({asks[0]})")
    if len(asks) != 1:
        from lamina.modalities.rows import gather_inputs as gather_rows

        return gather_rows(sources, asks)
    found: list[tuple[Any, str, str | None]] = []
    for source in sources:
        found += _texts_of(source, asks[0], len(found))
    texts, names, wrong = ([row[i] for row in found] for i in range(3))
    unread = [why or wrong_text(text) for text, why in zip(texts, wrong, strict=True)]
    return {asks[0]: texts, "source": names} | ({"unread": unread} if any(unread) else {})


def arriving_lines(column: str) -> Iterator[dict[str, Any]]:
    """Standard input as columns, a text a line: each time all lines that are there, without waiting for more.

    Raises LaminaError where there is none.
    """
    rest, count = b"", 0
    while chunk := sys.stdin.buffer.read1(2**16):  # type: ignore[attr-defined]
        *lines, rest = (rest + chunk).split(b"\n")
        if lines:
            yield _lines_as_columns(lines, column, count)
            count += len(lines)
    if rest:
        yield _lines_as_columns([rest], column, count)
    elif not count:
        raise LaminaError("standard input is empty: expected a text a line")


def _lines_as_columns(lines: list[bytes], column: str, before: int) -> dict[str, Any]:
    texts, wrong = zip(*(decoded(line.removesuffix(b"\r").removeprefix(b"\xef\xbb\xbf")) for line in lines), strict=True)
    unread = [why or wrong_text(text) for text, why in zip(texts, wrong, strict=True)]
    names = [f"standard input:{before + n}" for n in range(1, len(lines) + 1)]
    return {column: list(texts), "source": names} | ({"unread": unread} if any(unread) else {})


def wrong_text(text: Any) -> str | None:
    """Why an input cannot be answered."""
    if not isinstance(text, str):
        return f"expected a text; got {type(text).__name__}"
    if not text.strip():
        return "expected a text; it is empty"
    return "expected text; found a NUL character" if "\0" in text else unusable(text)


def _texts_of(source: Any, column: str, before: int) -> Iterator[tuple[Any, str, str | None]]:
    """(text, its name, why it cannot be read) of one source; `before` texts of others are already counted."""
    if isinstance(source, str) and source == "-":
        content = sys.stdin.buffer.read()
        if not content.strip():
            raise LaminaError("standard input is empty: expected a text a line")
        yield from _lines(content, "standard input")
    elif isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if not _names_a_file(source):
            yield str(source), f"text {before + 1}", None
        elif path.is_dir():
            files = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
            if not files:
                raise LaminaError(f"{path}: expected files of text; the folder holds none")
            for file in files:
                yield _whole(file)
        elif not path.exists():
            raise LaminaError(f"{path}: no such file")
        elif path.suffix.lower() in TABLES:
            yield from _table(source, column)
        elif path.suffix.lower() == ".txt":
            yield from _lines(path.read_bytes(), str(path))
        else:
            yield _whole(path)
    else:
        yield from ((text, f"row {before + n}", why) for n, (text, _, why) in enumerate(_table(source, column), 1))


def _names_a_file(source: Any) -> bool:
    """Whether a word on the command line is a path: it exists, or it looks like one and nothing like a text."""
    if not isinstance(source, str):
        return True
    if len(source) > 4096 or "\n" in source or "\0" in source:
        return False
    path = Path(source)
    try:
        if path.exists():
            return True
    except OSError:  # a name too long for a file
        return False
    if any(c.isspace() for c in source):
        return False
    return path.suffix.lower() in (*TABLES, ".txt") or (os.sep in source and path.parent.is_dir())


def _lines(content: bytes, file: str) -> Iterator[tuple[Any, str, str | None]]:
    """A text a line; empty lines at the end are none."""
    lines = content.removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n").split(b"\n")
    for number, line in enumerate(lines, 1):
        text, why = decoded(line.removesuffix(b"\r"))
        yield text, f"{file}:{number}", why


def _whole(path: Path) -> tuple[Any, str, str | None]:
    text, why = decoded(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    return text, str(path), why


def decoded(content: bytes) -> tuple[str, str | None]:
    """The text, and why it is none."""
    try:
        return content.decode(), None
    except UnicodeDecodeError as error:
        return "", f"expected UTF-8 text; found byte 0x{content[error.start]:02x}, which is not"


def _columns_of(source: Any) -> list[Any]:
    from lamina.data import table_files

    if isinstance(source, Mapping):
        return list(source)
    if isinstance(source, list) and source and all(isinstance(row, Mapping) for row in source):
        return list(dict.fromkeys(name for row in source for name in row))
    path = Path(source) if isinstance(source, (str, os.PathLike)) else None
    return list((table_files.from_object(source, "rows") if path is None else table_files.read_file(path)).columns)


def _table(source: Any, column: str) -> Iterator[tuple[Any, str, str | None]]:
    """The texts of a table: in the column that is asked for, or else the first that is called as texts are, or the only one."""
    from lamina.modalities.rows import gather_inputs as gather_rows

    names = _columns_of(source)
    chosen = column if column in names else next((n for n in NAMES if n in names), names[0] if len(names) == 1 else None)
    if chosen is None:
        where = source if isinstance(source, (str, os.PathLike)) else "rows"
        raise LaminaError(f"{where}: expected a column {column!r}; found {', '.join(map(str, names[:20]))}")
    read = gather_rows([source], (chosen,))
    yield from zip(read[chosen], read["source"], read.get("unread", [None] * len(read["source"])), strict=True)
