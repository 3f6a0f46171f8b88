"""Translations by beam search: the decoder of a model that reads one sentence and writes another. Needs only numpy.

What the source marks as copied is written where the model puts its marker. A marker that the model forgot is put behind the
token that looks at it most, so that nothing unknown is lost.

Legend: B rows, S tokens of the source, T tokens of the translation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from lamina.decode.beam import beam_search
from lamina.decode.steps import BOS, EOS, PAD, Arrays, Steps, steps_of
from lamina.errors import LaminaError

FIRST = 4
COPIES, NAMES = 4, 8
"""Markers after the pieces: <copy 1> to <copy 4>, then <copied>, then <name 1> to <name 8>."""
EXTRA = 10
"""A translation is at most twice as long as its source and so many tokens more."""
AT_ONCE = 2**26
"""Logits of a whole call."""
FOLLOWED = 320
"""Translations that are followed at once: more are no faster, and the memory of their sources is copied when some are done."""


@dataclass(frozen=True)
class Translations:
    """From a translator to {"text", "score", "alignment"}."""

    pieces: tuple[str, ...]
    """The bytes of every token from id 4 on, each byte as the character of its number."""
    context: int
    """Tokens of a translation at most."""
    beams: int = 5
    length_penalty: float = 1.0

    def check(self) -> None:
        """Raises LaminaError naming the first setting whose value makes no sense."""
        if self.beams < 1:
            raise LaminaError(f"--beams: expected 1 or more; got {self.beams}")
        if not 0 <= self.length_penalty < float("inf"):
            raise LaminaError(f"--length-penalty: expected 0 or more; got {self.length_penalty}")

    def answers(self, ask: Callable[[Arrays], Mapping[str, np.ndarray]] | Steps, arrays: Arrays) -> list[dict[str, Any]]:
        """{"text", "score", "alignment"} a row: the score is the mean log probability of a token where the length penalty is 1,
        the alignment pairs each word of the translation with the word of the source that it looks at most."""
        self.check()
        source_BS = arrays["source"]
        answers: list[dict[str, Any]] = [{} for _ in source_BS]
        for rows in self.groups(source_BS):
            for row, answer in zip(rows.tolist(), self._answers(ask, trimmed(source_BS[rows])), strict=True):
                answers[row] = answer
        return answers

    def _answers(self, ask: Any, source_BS: np.ndarray) -> list[dict[str, Any]]:
        found = self._search(ask, source_BS)
        attention = attention_of(ask, source_BS, [tokens for tokens, _ in found])
        answers = []
        for row, (tokens, score) in enumerate(found):
            source = [token for token in source_BS[row].tolist() if token != PAD]
            looks_TS = None if attention is None else attention[row][:, source_BS[row] != PAD]
            tokens = self.with_copies(tokens, source, looks_TS)
            text = self.text(tokens, source)
            aligned = [] if looks_TS is None or len(looks_TS) != len(tokens) + 1 else self.aligned(tokens, source, looks_TS)
            answers.append({"text": text, "score": score, "alignment": aligned})
        return answers

    @property
    def continues(self) -> bool:
        return False

    def stream(self, ask: Callable[[Arrays], Mapping[str, np.ndarray]] | Steps, arrays: Arrays) -> Iterator[tuple[int, str]]:
        """(row, its translation), whole: until the last token, no beam is sure."""
        yield from enumerate(answer["text"] for answer in self.answers(ask, arrays))

    def groups(self, source_BS: np.ndarray) -> list[np.ndarray]:
        """Rows of like length: what stands beside a long sentence is as wide as it."""
        order, most = np.argsort(np.count_nonzero(source_BS != PAD, axis=1), kind="stable"), max(1, FOLLOWED // self.beams)
        return [order[start : start + most] for start in range(0, len(order), most)]

    def search(self, ask: Any, source_BS: np.ndarray) -> list[tuple[list[int], float]]:
        """The best translation of each row, without its end, and its score. An empty sentence has an empty translation."""
        found: list[tuple[list[int], float]] = [([], 0.0)] * len(source_BS)
        for rows in self.groups(source_BS):
            for row, one in zip(rows.tolist(), self._search(ask, trimmed(source_BS[rows])), strict=True):
                found[row] = one
        return found

    def _search(self, ask: Any, source_BS: np.ndarray) -> list[tuple[list[int], float]]:
        size_B = np.count_nonzero((source_BS != PAD) & (source_BS != EOS), axis=1)
        most_B = np.where(size_B == 0, 0, np.minimum(2 * size_B + EXTRA, self.context - 1))
        begun = {"source": source_BS, "target": np.full((len(source_BS), 1), BOS, np.int64)}
        found = beam_search(steps_of(ask, "target"), begun, self.beams, most_B, self.length_penalty)
        return [
            (list(best[0].tokens), float(best[0].score)) if size else ([], 0.0) for best, size in zip(found, size_B, strict=True)
        ]

    @property
    def copy(self) -> int:
        return FIRST + len(self.pieces)

    def bytes_of(self, tokens: Sequence[int]) -> str:
        """The bytes of pieces, each as the character of its number; other tokens have none."""
        return "".join(self.pieces[token - FIRST] for token in tokens if FIRST <= token < self.copy)

    def marks(self, token: int) -> bool:
        """Whether a token is a marker that opens a stretch."""
        return self.copy <= token <= self.copy + COPIES + NAMES and token != self.copy + COPIES

    def copied(self, source: Sequence[int]) -> dict[int, str]:
        """The bytes of each stretch that the source marks, by its marker."""
        found: dict[int, str] = {}
        start = None
        for place, token in enumerate(source):
            if self.marks(token):
                start = place
            elif token == self.copy + COPIES and start is not None:
                found[source[start]] = self.bytes_of(source[start:place])
                start = None
        return found

    def text(self, tokens: Sequence[int], source: Sequence[int]) -> str:
        """The text of a translation: bytes joined, markers replaced by what they stand for, without white space at its ends."""
        stretches = self.copied(source)
        raw = "".join(stretches[token] if token in stretches else self.bytes_of([token]) for token in tokens)
        return raw.encode("latin-1").decode("utf-8", errors="replace").strip()

    def pieces_of(self, tokens: Sequence[int], source: Sequence[int]) -> tuple[str, list[tuple[str, int, int]]]:
        """The text of a translation, and what each of its tokens and its end stand for in it: text, start and end."""
        stretches = self.copied(source)
        raws = [stretches[token] if token in stretches else self.bytes_of([token]) for token in tokens]
        text = "".join(raws).encode("latin-1").decode("utf-8", errors="replace")
        lost = len(text) - len(text.lstrip())
        kept = text.strip()
        places = [0]
        for count in range(1, len(raws) + 1):
            so_far = "".join(raws[:count]).encode("latin-1").decode("utf-8", errors="ignore")
            places.append(min(max(len(so_far) - lost, places[-1]), len(kept)))
        pieces = [(kept[start:end], start, end) for start, end in pairwise(places)]
        return kept, [*pieces, ("", len(kept), len(kept))]

    def with_copies(self, tokens: list[int], source: Sequence[int], looks_TS: np.ndarray | None) -> list[int]:
        """The tokens, with every marker of the source that they lack behind the token that looks at it most, or at the end."""
        tokens = list(tokens)
        for marker in self.copied(source):
            if marker in tokens or marker > self.copy + COPIES:  # a name need not be copied
                continue
            place = len(tokens)
            if looks_TS is not None and len(looks_TS) == len(tokens) + 1 and len(tokens):
                place = int(looks_TS[:-1, list(source).index(marker)].argmax()) + 1
                while place < len(tokens) and is_letter((self.bytes_of([tokens[place]]) or " ")[0]):
                    place += 1  # no word is torn
            space = [FIRST + self.pieces.index(" ")]
            tokens[place:place] = [*space, marker]
            looks_TS = None  # it no longer fits
        return tokens

    def units(self, tokens: Sequence[int], stretches: Mapping[int, str] | None = None) -> list[tuple[str, list[int]]]:
        """Words, numbers and signs, and the places of their tokens. In a source (without `stretches`) a marker opens what is
        copied; in a translation it stands for its stretch."""
        found: list[tuple[str, list[int]]] = []
        opened = apart = False
        for place, token in enumerate(tokens):
            if stretches is None and self.marks(token):
                found.append(("", [place]))
                opened = True
                continue
            raw = stretches[token] if stretches is not None and token in stretches else self.bytes_of([token])
            last = found[-1][0] if found else ""
            if opened or (last and raw and not apart and is_letter(last[-1]) and is_letter(raw[0])):
                found[-1] = (last + raw, [*found[-1][1], place])
                opened = opened and token != self.copy + COPIES
            elif raw.strip(" "):
                found.append((raw.lstrip(" "), [place]))
            apart = raw.endswith(" ")
        return [(raw.encode("latin-1").decode("utf-8", errors="replace"), places) for raw, places in found]

    def aligned(self, tokens: Sequence[int], source: Sequence[int], looks_TS: np.ndarray) -> list[list[str]]:
        """[word of the source, word of the translation] for each of the latter."""
        stretches = self.copied(source)
        words, theirs = self.units(source), self.units(tokens, stretches)
        if not words:
            return []
        pairs = []
        for text, places in theirs:
            weight_S = looks_TS[places].mean(0)
            best = max(range(len(words)), key=lambda i: float(weight_S[words[i][1]].sum()))
            pairs.append([words[best][0], text])
        return pairs


def trimmed(source_BS: np.ndarray) -> np.ndarray:
    """Without the columns at the end that are padding in every row; one is left at least."""
    used_S = np.flatnonzero((source_BS != PAD).any(0))
    return source_BS[:, : int(used_S[-1]) + 1 if len(used_S) else 1]


def is_letter(byte: str) -> bool:
    """Whether a byte, written as the character of its number, is of a word: a letter or a digit, or no ASCII."""
    return (byte.isascii() and byte.isalnum()) or ord(byte) > 127


def attention_of(ask: Any, source_BS: np.ndarray, translations: Sequence[Sequence[int]]) -> list[np.ndarray] | None:
    """How much each token of a translation and its end look at the tokens of the source: (T + 1, S) a row, by one whole call.
    None where the model does not tell."""
    if not len(source_BS):
        return None
    begun = np.full((len(source_BS), 1 + max(map(len, translations))), PAD, np.int64)
    begun[:, 0] = BOS
    for row, tokens in enumerate(translations):
        begun[row, 1 : 1 + len(tokens)] = tokens
    rows = max(1, AT_ONCE // (begun.shape[1] * 8192))  # logits are the most of it
    kept: list[np.ndarray] = []
    for start in range(0, len(begun), rows):
        said = ask({"source": source_BS[start : start + rows], "target": begun[start : start + rows]})
        if "attention" not in said:
            return None
        kept += list(said["attention"])
    return [looks[: len(tokens) + 1] for looks, tokens in zip(kept, translations, strict=True)]
