"""Words: the units of a text that people read. Tokens are merged to words by where they stand in the raw text.

A token goes on with the word before it unless white space or punctuation lies between them, or the script writes no spaces
(Han, kana, Thai, Lao, Khmer, Burmese): there every token is a word. An apostrophe between letters and a point between digits
are inside a word (`don't`, `3.5`), and so are marks that sit on a letter.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # an exported folder carries this file, and not the contract
    from lamina.task import Piece

Span = tuple[int, int]
"""Where a word starts and ends in the raw text, in characters."""

UNSPACED = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x3400, 0x9FFF), (0xF900, 0xFAFF),
            (0x20000, 0x3134F))  # fmt: skip
"""Code points of scripts that write no spaces between words."""
APOSTROPHES = "'’ʼ＇"
POINTS = ".,٫"


@dataclass(frozen=True)
class Words:
    """The words of one text, and which of them each of its tokens belongs to."""

    spans: tuple[Span, ...]
    of_piece: tuple[int, ...]
    """The number of the word, by token; -1 for one that stands for nothing in the text."""


def words_of(text: str, pieces: Sequence[Piece]) -> Words:
    """The pieces of a text, in their order, merged to words. White space alone goes with the word before it, if there is one."""
    spans: list[Span] = []
    of_piece = []
    for _, start, end in pieces:
        start, end = max(0, start), min(end, len(text))
        if start >= end:
            of_piece.append(-1)
            continue
        inner_start, inner_end = stripped(text, start, end)
        if inner_start == inner_end:
            of_piece.append(len(spans) - 1)
        elif spans and goes_on(text, spans[-1], inner_start):
            spans[-1] = (spans[-1][0], max(spans[-1][1], inner_end))
            of_piece.append(len(spans) - 1)
        else:
            spans.append((inner_start, inner_end))
            of_piece.append(len(spans) - 1)
    return Words(tuple(spans), tuple(of_piece))


def stripped(text: str, start: int, end: int) -> Span:
    """The stretch without white space at its ends."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def goes_on(text: str, word: Span, start: int) -> bool:
    """Whether what starts at `start` goes on with a word that ends before it."""
    end = word[1]
    if start < end:  # bytes of one character, or a token that reaches back
        return True
    if start > end:  # something lies between: white space, or what the tokenizer dropped
        return False
    before, after = text[end - 1], text[start]
    if is_mark(after) or "\u200d" in (before, after):
        return True
    if unspaced(before) or unspaced(after):
        return False
    if before.isalnum() or is_mark(before):
        if after.isalnum():
            return True
        further = text[start + 1] if start + 1 < len(text) else " "
        return joins(before, after, further)
    return after.isalnum() and end >= 2 and joins(text[end - 2], before, after)


def joins(before: str, sign: str, after: str) -> bool:
    """Whether a sign between two characters is inside a word."""
    if sign in APOSTROPHES:
        return before.isalpha() and after.isalpha()
    return sign in POINTS and before.isdigit() and after.isdigit()


def is_mark(char: str) -> bool:
    """An accent or a vowel sign that sits on the letter before it."""
    return unicodedata.category(char).startswith("M")


def unspaced(char: str) -> bool:
    return any(low <= ord(char) <= high for low, high in UNSPACED)


def split_words(text: str) -> list[Span]:
    """The words of a text that no tokenizer has cut: as if every character were a token."""
    return list(words_of(text, [(c, i, i + 1) for i, c in enumerate(text)]).spans)


def readable(text: str) -> str:
    """The text with characters that no terminal and no page should obey (escapes, overrides of direction) made visible."""
    return "".join(shown(c) for c in text)


def shown(char: str) -> str:
    """A character, or a sign in its place where it would command rather than say."""
    if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cs"):
        return "\ufffd" if "\u202a" <= char <= "\u202e" or "\u2066" <= char <= "\u2069" else char
    code = ord(char)
    return chr(0x2400 + code) if code < 0x20 else "\ufffd"


def cut(text: str, most: int) -> str:
    """At most `most` characters, on one line, an ellipsis where something is left out."""
    line = " ".join(readable(text).split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"
