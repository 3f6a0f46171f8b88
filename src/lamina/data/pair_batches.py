"""Training batches of sentence pairs: of like length, cut anew in every epoch, with what is unknown made up.

Batches hold about as many tokens each (Vaswani et al. 2017, section 5.1); pairs are cut before they are brought together, since
cuts at random and made-up words change their length. Words are cut into pieces with merges left out at
random (BPE-dropout: Provilkov et al. 2020), so that a few sentences teach more. Some pairs get a word that no alphabet of
theirs has, on both sides: that is how a model learns to copy.

Legend: B pairs, T tokens.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from lamina.data.epochs import Epochs
from lamina.errors import LaminaError
from lamina.task import Batch, Columns

SORTED = 24
"""Batches among which pairs of like length are brought together."""
CUTS = 6
"""Ways of cutting a word that are kept."""
RANGES = ((0x0400, 0x044F), (0x0391, 0x03C9), (0x05D0, 0x05EA), (0x0627, 0x064A), (0x0905, 0x0939), (0x3041, 0x3096),
          (0x4E00, 0x4FFF), (0xAC00, 0xACFF), (0x1F300, 0x1F64F), (0x00C0, 0x017F), (0x2190, 0x22FF))  # fmt: skip
"""Where made-up words come from: alphabets, signs and pictures."""


class Codec(Protocol):
    """What the stream needs of `modalities/sentences.Vocabulary`."""

    @property
    def alphabet(self) -> str: ...
    @property
    def pieces(self) -> tuple[str, ...]: ...
    def source(self, text: str, cut: Any = None) -> list[int]: ...
    def target(self, translation: str, text: str, cut: Any = None) -> list[int]: ...


@dataclass(frozen=True)
class Pool:
    """Pairs that are brought into batches together."""

    of: tuple[int, int]
    """The epoch, and its number there."""
    start: int
    """Pairs of the epoch that come before."""
    rows: np.ndarray
    pairs: list[tuple[list[int], list[int]]]
    batches: list[np.ndarray]
    """Places among the pairs."""

    def batch_at(self, position: int) -> np.ndarray:
        """The batch that begins after `position` pairs of the epoch."""
        begins = self.start + np.cumsum([0, *(len(batch) for batch in self.batches)])
        return self.batches[int(np.searchsorted(begins, position, side="right")) - 1]


class PairBatches(Epochs):
    """About `size` pairs a batch, every pair once an epoch: `position` counts them. What a batch holds depends on (seed, epoch,
    position) alone. `encode` makes the batch: from token ids of sources and targets (with their ends)."""

    def __init__(
        self, codec: Codec, columns: Columns, encode: Callable[[list[list[int]], list[list[int]]], Batch], size: int, seed: int,
        context: int, dropout: float = 0.1, copies: float = 0.1,
    ) -> None:  # fmt: skip
        self.codec, self.encode, self.seed, self.context = codec, encode, seed, context
        self.texts, self.translations = list(columns["text"]), list(columns["translation"])
        self.dropout, self.copies = dropout, copies
        sizes = [max(len(codec.source(a)), len(codec.target(b, a))) for a, b in zip(self.texts, self.translations, strict=True)]
        self.kept = np.flatnonzero(np.asarray(sizes, np.int64) <= context)
        if not len(self.kept):
            raise LaminaError(f"data: expected pairs of at most {context} tokens to train on; found none (--context)")
        kept = np.asarray(sizes, np.int64)[self.kept]
        self.size = min(size, len(kept))
        self.budget = max(int(self.size * kept.mean()), int(kept.max()))
        self.known = frozenset(codec.alphabet)
        self.rank = {piece: place for place, piece in enumerate(codec.pieces)}
        self.cuts: dict[tuple[str, int], list[int]] = {}
        self._pool: Pool | None = None
        self.rows = np.empty(0, np.int64)

    def pool(self) -> Pool:
        """The pairs around `position`, cut and in batches."""
        number = self.position // (SORTED * self.size)
        if self._pool is None or self._pool.of != (self.epoch, number):
            start = number * SORTED * self.size
            rows = np.random.default_rng((self.seed, self.epoch)).permutation(self.kept)[start : start + SORTED * self.size]
            rng = np.random.default_rng((self.seed, self.epoch, number))
            pairs = [self.tokens(row, rng) for row in rows.tolist()]
            sizes = np.asarray([max(map(len, pair)) for pair in pairs], np.int64)
            batches = cut_by_budget(np.argsort(sizes, kind="stable"), sizes, self.budget)
            batches = [batches[i] for i in rng.permutation(len(batches))]
            self._pool = Pool((self.epoch, number), start, rows, pairs, batches)
        return self._pool

    def tokens(self, row: int, rng: np.random.Generator) -> tuple[list[int], list[int]]:
        """Source and target of a pair, cut at random, some with a made-up word."""
        text, translation = self.texts[row], self.translations[row]
        if self.copies and rng.random() < self.copies:
            text, translation = with_unknown(text, translation, self.known, rng)
        source = self.codec.source(text, lambda t: self.cut(t, rng))
        return source[: self.context], self.codec.target(translation, text, lambda t: self.cut(t, rng))[: self.context]

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        if self.position >= len(self.kept):
            self.epoch, self.position = self.epoch + 1, 0
        pool = self.pool()
        chosen = pool.batch_at(self.position)
        self.position += len(chosen)
        self.rows = pool.rows[chosen]
        return self.encode([pool.pairs[i][0] for i in chosen], [pool.pairs[i][1] for i in chosen])

    def cut(self, text: str, rng: np.random.Generator) -> list[int]:
        """Token ids of a text, each word cut in one of the ways that are kept of it."""
        if not self.dropout:
            return self.codec.cut(text)  # type: ignore[attr-defined]
        from lamina.modalities.byte_pairs import WORDS

        found: list[int] = []
        for word in re.findall(WORDS, text):
            way = word, int(rng.integers(CUTS))
            if way not in self.cuts:
                own = random.Random(f"{self.seed} {way[1]} {word}")  # of the word alone: a resumed run cuts it alike
                self.cuts[way] = dropped(word, self.rank, self.dropout, own)
            found += self.cuts[way]
        return found

    def where(self) -> str:
        """The last batch in words, for messages."""
        more = "" if len(self.rows) <= 4 else f" and {len(self.rows) - 4} more"
        return f"epoch {self.epoch + 1}, pairs {', '.join(map(str, self.rows[:4].tolist()))}{more}"


def cut_by_budget(rows: np.ndarray, sizes: np.ndarray, budget: int) -> list[np.ndarray]:
    """Rows in the order of their size, cut where the next would make a batch wider than `budget` tokens."""
    batches: list[np.ndarray] = []
    start = 0
    for stop in range(1, len(rows) + 1):
        if stop == len(rows) or sizes[rows[stop]] * (stop + 1 - start) > budget:
            batches.append(rows[start:stop])
            start = stop
    return batches


def dropped(word: str, rank: Mapping[str, int], share: float, rng: random.Random) -> list[int]:
    """The ids of a word, every merge left out with probability `share` each time that it could be made (Provilkov et al. 2020,
    algorithm 1)."""
    from lamina.modalities.byte_pairs import FIRST

    parts = list(word.encode(errors="replace").decode("latin-1"))
    none = len(rank)
    while len(parts) > 1:
        merges = [rank.get(a + b, none) for a, b in pairwise(parts)]
        able = [(r, place) for place, r in enumerate(merges) if r < none and rng.random() >= share]
        if not able:
            break
        _, place = min(able)
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return [rank[part] + FIRST for part in parts]


def with_unknown(text: str, translation: str, known: frozenset[str], rng: np.random.Generator) -> tuple[str, str]:
    """The pair with a made-up word on both sides: in place of a word that both have, or else at the end or the beginning."""
    word = made_up(known, rng)
    shared = [w for w in shared_words(text, translation) if w in text and w in translation]
    if shared and rng.random() < 0.7:
        old = shared[int(rng.integers(len(shared)))]
        whole = re.compile(rf"(?<!\w){re.escape(old)}(?!\w)")
        return whole.sub(lambda _: word, text, count=1), whole.sub(lambda _: word, translation, count=1)
    if rng.random() < 0.25:
        return f"{word} {text}", f"{word} {translation}"
    sides = []
    inside = rng.random() < 0.5
    for side in (text, translation):
        body = side.rstrip(".!?。！？") if inside else side
        sides.append(f"{body} {word}{side[len(body) :]}")
    return sides[0], sides[1]


def shared_words(text: str, translation: str) -> list[str]:
    """Words, names and numbers that stand exactly once on either side."""
    one, other = (re.findall(r"\w+", side) for side in (text, translation))
    return [word for word in dict.fromkeys(one) if one.count(word) == 1 == other.count(word)]


def made_up(known: frozenset[str], rng: np.random.Generator) -> str:
    """One to six characters of one range, none of them known."""
    for _ in range(50):
        low, high = RANGES[int(rng.integers(len(RANGES)))]
        word = "".join(chr(int(rng.integers(low, high + 1))) for _ in range(int(rng.integers(1, 7))))
        if not any(character in known or character.isspace() for character in word):
            return word
    return "\U0001f600"
