"""Sentences to be translated, as tokens. Needs numpy only, so that an exported folder reads them.

Both languages share one vocabulary of byte pairs (Sennrich et al. 2016), so that every text can be written, and names and
numbers are the same tokens on both sides. A space is put before each text, and taken away again: a word is the same tokens at
the beginning of a sentence as inside.

What training did not know is copied: a stretch of characters that hardly occur there stands in the source between the marker
<copy i> and <copied>, and is <copy i> alone in the translation, where it becomes the i-th stretch again. The characters stay
in the source as bytes, so nothing needs to be kept beside the tokens. A word of known characters that training hardly saw stands
between <name i> and <copied> in its pieces: whether it is a name, and <name i> in the translation, or is translated, is learned.
(Luong et al. 2015, "Addressing the rare word problem", have such markers.)

Ids: 0 padding, 1 unknown, 2 the beginning, 3 the end, then the pieces, <copy 1> to <copy 4>, <copied>, <name 1> to <name 8>.

Legend: B rows, T tokens.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from lamina.errors import LaminaError

PAD, UNK, BOS, EOS, FIRST = 0, 1, 2, 3, 4
COPIES, NAMES = 4, 8
"""Stretches of one sentence that are copied, and rare words that may be; further ones are written in pieces, as far as the model
can."""
WORD = re.compile(r"[^\W_]+(?:[-_.:+'/]+[^\W_]+)*")
"""What may be a name: letters and digits, and signs between them."""
UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003134f]")
"""Scripts that write no spaces: there an unknown character is copied alone, not all that it touches."""
Cut = Callable[[str], "Sequence[int]"]
Span = tuple[int, int]


@dataclass(frozen=True)
class Vocabulary:
    """The pieces, and the characters that training knows (as one string)."""

    pieces: tuple[str, ...]
    """The bytes of every token from id 4 on, each byte as the character of its number."""
    alphabet: str
    familiar: tuple[str, ...] = ()
    """Words of sources that are no names. None: no word is marked as one."""

    @property
    def size(self) -> int:
        return FIRST + len(self.pieces) + COPIES + 1 + NAMES

    @property
    def copy(self) -> int:
        """The id of <copy 1>."""
        return FIRST + len(self.pieces)

    def cut(self, text: str) -> list[int]:
        """Token ids of a stretch of known text, in the fewest merges."""
        return self._encode(text).tolist()

    @cached_property
    def _encode(self) -> Callable[[str], np.ndarray]:
        from lamina.modalities.byte_pairs import encoder  # asking its cache hashes every piece: not for every text

        return encoder(self.pieces)

    @cached_property
    def _familiar(self) -> frozenset[str]:
        return frozenset(self.familiar)

    def stretches(self, text: str) -> list[tuple[int, int, int]]:
        """What is or may be copied, in its order: (start, end, the id of its marker)."""
        unknown = unknown_stretches(text, characters(self.alphabet))[:COPIES]
        found = [(start, end, self.copy + number) for number, (start, end) in enumerate(unknown)]
        if self.familiar:
            apart = [m.span() for m in WORD.finditer(text) if len(m[0]) > 1 and m[0] not in self._familiar]
            names = [span for span in apart if all(span[1] <= start or end <= span[0] for start, end in unknown)][:NAMES]
            found += [(start, end, self.copy + COPIES + 1 + number) for number, (start, end) in enumerate(names)]
        return sorted(found)

    def source(self, text: str, cut: Cut | None = None) -> list[int]:
        """Token ids of a sentence and its end. White space at both ends is left out."""
        return [token for _, _, tokens in self._stretched(text, cut or self.cut) for token in tokens]

    def places(self, text: str) -> list[Span]:
        """Where each token of `source` stands in the text, in characters; a marker and the end at one place."""
        lead = len(text) - len(text.lstrip())  # the space that is given stands before it
        parts = self._stretched(text, self.cut)
        spans = [span for stretch, offset, tokens in parts for span in self._spans(stretch, offset, tokens)]
        return [(max(start, lead), max(end, lead)) for start, end in spans]

    def _stretched(self, text: str, cut: Cut) -> Iterator[tuple[str, int, Sequence[int]]]:
        """(stretch, where it starts in the text, its token ids), one after another; the stretch of a marker is empty."""
        lead, inner = len(text) - len(text.lstrip()), text.strip()
        at = 0
        for start, end, marker in self.stretches(inner):
            yield from self._known(inner, at, start, lead, cut)
            yield "", lead + start, [marker]
            if marker < self.copy + COPIES:
                raw = inner[start:end].encode(errors="replace").decode("latin-1")
                yield inner[start:end], lead + start, [self._byte(byte) for byte in raw]
            else:
                yield inner[start:end], lead + start, cut(inner[start:end])
            yield "", lead + end, [self.copy + COPIES]
            at = end
        if inner:  # an empty sentence is its end alone
            yield from self._known(inner, at, len(inner), lead, cut)
        yield "", len(text), [EOS]

    def _known(self, text: str, start: int, end: int, lead: int, cut: Cut) -> Iterator[tuple[str, int, Sequence[int]]]:
        """What lies between two stretches; the first begins with the space that every text is given."""
        known, offset = (f" {text[:end]}", lead - 1) if start == 0 else (text[start:end], lead + start)
        if known:
            yield known, offset, cut(known)

    def target(self, translation: str, text: str, cut: Cut | None = None) -> list[int]:
        """Token ids of a translation and its end; what the source `text` marks is its marker here, names as whole words alone."""
        cut = cut or self.cut
        text = text.strip()
        marked = {text[start:end]: marker for start, end, marker in reversed(self.stretches(text))}
        ids: list[int] = []
        said, at = f" {translation.strip()}", 0
        for match in self._of(marked).finditer(said) if marked else ():
            ids += [*(cut(said[at : match.start()]) if at < match.start() else ()), marked[match[0]]]
            at = match.end()
        return [*ids, *cut(said[at:]), EOS]

    def _of(self, marked: Mapping[str, int]) -> re.Pattern[str]:
        """The longest of what is marked, wherever it stands."""
        longest = sorted(marked, key=len, reverse=True)
        last = self.copy + COPIES
        return re.compile("|".join(re.escape(s) if marked[s] < last else rf"(?<!\w){re.escape(s)}(?!\w)" for s in longest))

    def _byte(self, byte: str) -> int:
        return bytes_of(self.pieces)[ord(byte)]

    def _spans(self, stretch: str, offset: int, tokens: Sequence[int]) -> list[Span]:
        """Where tokens stand: the characters that their bytes belong to. A marker stands for nothing, at one place."""
        if not stretch:
            return [(offset, offset)] * len(tokens)
        owner = [place for place, character in enumerate(stretch) for _ in character.encode(errors="replace")]
        spans, at = [], 0
        for token in tokens:
            size = len(self.pieces[token - FIRST])
            first, last = owner[at], owner[at + size - 1]
            spans.append((offset + first, offset + last + 1))
            at += size
        return spans


@lru_cache(maxsize=4)
def bytes_of(pieces: tuple[str, ...]) -> dict[int, int]:
    """The id of every single byte."""
    return {ord(piece): place + FIRST for place, piece in enumerate(pieces) if len(piece) == 1}


@lru_cache(maxsize=4)
def characters(alphabet: str) -> frozenset[str]:
    return frozenset(alphabet)


def unknown_stretches(text: str, known: frozenset[str]) -> list[Span]:
    """Where characters stand that are not `known`, and the rest of the words that they stand in; white space is always known.
    Two such words with one space between them are one stretch."""
    strange = {place for place, c in enumerate(text) if c not in known and not c.isspace()}
    if not strange:
        return []
    for word in re.finditer(r"\w+", text):
        inside = range(word.start(), word.end())
        if any(place in strange and not UNSPACED.match(text[place]) for place in inside):
            strange.update(inside)
    spans: list[list[int]] = []
    for place in sorted(strange):
        gap = text[spans[-1][1] : place] if spans else None
        if gap in ("", " ") or (gap and all(unicodedata.combining(c) for c in gap)):
            spans[-1][1] = place + 1
        else:
            spans.append([place, place + 1])
    return [(start, end) for start, end in spans]


def familiar_words(texts: Sequence[str], translations: Sequence[str], least: int, share: float = 0.1) -> tuple[str, ...]:
    """Words that stand in `least` sentences of the source or more. None where fewer than `share` of the others stand in the
    translation too: rare words are no names there."""
    words = [dict.fromkeys(WORD.findall(text)) for text in texts]
    times = Counter(word for each in words for word in each)
    rare = [(word, said) for each, said in zip(words, translations, strict=True) for word in each if times[word] < least]
    kept = sum(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", said) is not None for word, said in rare if word in said)
    return tuple(sorted(word for word, n in times.items() if n >= least)) if rare and kept >= share * len(rare) else ()


@dataclass(frozen=True)
class SentenceReader:
    """From sentences to the inputs of a translator: `source`, padding on its right, and `target`, which only begins."""

    tokens: tuple[str, ...]
    """The pieces of the vocabulary."""
    alphabet: str
    familiar: tuple[str, ...]
    context: int
    """Tokens of a sentence at most."""
    column: str = "text"

    @property
    def asks(self) -> tuple[str, ...]:
        return (self.column,)

    def gather(self, sources: Sequence[Any]) -> dict[str, Any]:
        from lamina.modalities.text import gather_inputs

        return gather_inputs(sources, self.asks)

    def encode(self, columns: dict[str, Any]) -> dict[str, np.ndarray]:
        """{"source": (B, S), "target": (B, 1)} int64. Raises LaminaError for a cell that is no text, or is too long."""
        codec, rows = Vocabulary(self.tokens, self.alphabet, self.familiar), []
        for number, text in enumerate(columns[self.column], 1):
            if not isinstance(text, str):
                raise LaminaError(f"row {number}, column {self.column!r}: expected a sentence; got {type(text).__name__}")
            ids = codec.source(text)
            if len(ids) > self.context:
                raise LaminaError(
                    f"row {number}, column {self.column!r}: expected at most {self.context} tokens; got {len(ids)}: "
                    "translate it sentence by sentence"
                )
            rows.append(ids)
        return {"source": on_the_right(rows), "target": np.full((len(rows), 1), BOS, np.int64)}

    def pieces(self, columns: dict[str, Any]) -> list[list[tuple[str, int, int]]]:
        """What each token of `source` stands for: its text, start and end."""
        codec = Vocabulary(self.tokens, self.alphabet, self.familiar)
        return [
            [(text[start:end], start, end) for start, end in codec.places(text)[: self.context]] for text in columns[self.column]
        ]


def on_the_right(rows: Sequence[Sequence[int]]) -> np.ndarray:
    """Rows of ids as one array (B, T) int64, padding on the right."""
    width = max([1, *map(len, rows)])
    padded_BT = np.full((len(rows), width), PAD, np.int64)
    for place, row in enumerate(rows):
        padded_BT[place, : len(row)] = row
    return padded_BT
