"""Corruptions of texts: what goes wrong between what was meant and what arrives. Every corrupted text is a real one.

Typing (slips to a neighbouring key, letters swapped, left out or doubled by another), casing, words left out or written twice,
punctuation and accents that get lost, what optical character recognition confuses, white space lost or put in, and letters of
other alphabets that look the same. Keyboard slips, swaps, left-out and put-in letters are the four of Pruthi et al. 2019
(arXiv:1905.11268, section 2); the confusions of recognition are those that Kukich 1992 and later surveys name. Synonyms are left
out: none of the libraries that Lamina stands on brings a list of them.

The draws belong to the text and the kind: the same text is corrupted alike wherever it stands, and what a weaker severity hits,
a stronger one hits as well. Nothing is changed inside what is no letter, word or sign of the kind.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Sequence

import numpy as np

from lamina.errors import LaminaError
from lamina.modalities.words import Span, split_words

Strengths = tuple[float, float, float, float, float]

STRENGTHS: dict[str, Strengths] = {
    "keyboard_typos": (0.02, 0.05, 0.1, 0.15, 0.25),  # share of letters
    "swapped_letters": (0.04, 0.1, 0.2, 0.3, 0.5),  # share of pairs, of which there are half as many as letters
    "dropped_letters": (0.02, 0.05, 0.1, 0.15, 0.25),
    "inserted_letters": (0.02, 0.05, 0.1, 0.15, 0.25),
    "casing": (0.1, 0.25, 0.5, 0.75, 1.0),  # share of words that change case
    "dropped_words": (0.05, 0.1, 0.2, 0.3, 0.4),  # share of words
    "repeated_words": (0.05, 0.1, 0.2, 0.3, 0.4),
    "dropped_punctuation": (0.2, 0.4, 0.6, 0.8, 1.0),  # share of signs
    "dropped_accents": (0.2, 0.4, 0.6, 0.8, 1.0),  # share of letters that carry one
    "ocr_confusions": (0.02, 0.05, 0.1, 0.2, 0.35),  # share of what recognition confuses
    "white_space": (0.02, 0.05, 0.1, 0.2, 0.3),  # share of gaps closed, and of words split
    "homoglyphs": (0.02, 0.05, 0.1, 0.2, 0.4),  # share of letters that have one
}
KINDS = tuple(STRENGTHS)

ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
"""The letters of the keyboard that most of the world types on; each row stands half a key to the right of the one above."""

OCR = {
    "0": "O", "O": "0", "o": "0", "1": "l", "l": "1", "I": "l", "5": "S", "S": "5", "8": "B", "B": "8", "2": "Z", "Z": "2",
    "g": "9", "q": "9", "6": "b", "e": "c", "c": "e", "a": "o", "n": "ri", "m": "rn", "d": "cl", "w": "vv", "h": "b", "u": "ii",
    "rn": "m", "cl": "d", "vv": "w", "ri": "n", "t": "f", "f": "t", "i": "1", ",": ".",
}  # fmt: skip
"""What recognition reads in the place of what is printed; pairs of letters first."""

HOMOGLYPHS = {
    "a": "\u0430", "c": "\u0441", "e": "\u0435", "i": "\u0456", "j": "\u0458", "o": "\u043e", "p": "\u0440", "s": "\u0455",
    "x": "\u0445", "y": "\u0443", "A": "\u0410", "B": "\u0412", "C": "\u0421", "E": "\u0415", "H": "\u041d", "I": "\u0406",
    "J": "\u0408", "K": "\u041a", "M": "\u041c", "N": "\u039d", "O": "\u041e", "P": "\u0420", "S": "\u0405", "T": "\u0422",
    "X": "\u0425", "Y": "\u03a5", "Z": "\u0396", "v": "\u03bd",
}  # fmt: skip
"""Cyrillic and Greek letters that look like Latin ones."""


def corrupt(texts: Sequence[str], kind: str, severity: int, seed: int = 0) -> list[str] | None:
    """The texts, corrupted; None where no text holds anything that the kind could change, such as an accent.

    Raises LaminaError for an unknown kind or severity.
    """
    if kind not in STRENGTHS:
        raise LaminaError(f"kind: expected one of {', '.join(KINDS)}; got {kind!r}")
    if severity not in range(1, 6):
        raise LaminaError(f"severity: expected a whole number from 1 to 5; got {severity}")
    share, change = STRENGTHS[kind][severity - 1], CHANGES[kind]
    made = [change(text, share, draws(text, kind, seed)) for text in texts]
    if made == list(texts) and (STRENGTHS[kind][-1] == share or not changeable(texts, kind, seed)):
        return None
    return made


def changeable(texts: Sequence[str], kind: str, seed: int) -> bool:
    """Whether the kind changes any of the texts at its strongest."""
    return any(CHANGES[kind](text, STRENGTHS[kind][-1], draws(text, kind, seed)) != text for text in texts)


def draws(text: str, kind: str, seed: int) -> np.random.Generator:
    """The numbers that belong to this text."""
    digest = hashlib.blake2b(f"{seed}\0{kind}\0{text}".encode(errors="surrogatepass"), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))


def neighbours() -> dict[str, str]:
    """The keys next to each letter: in its row, and half a key away in the rows beside it."""
    place = {letter: (row, column + 0.5 * row) for row, letters in enumerate(ROWS) for column, letter in enumerate(letters)}
    return {
        letter: "".join(o for o, (r, x) in place.items() if o != letter and abs(r - row) <= 1 and abs(x - column) <= 1)
        for letter, (row, column) in place.items()
    }


NEAR = neighbours()


def keyboard_typos(text: str, share: float, rng: np.random.Generator) -> str:
    """A letter becomes one of the keys beside it; letters of other alphabets stay."""
    hit, which = rng.random(len(text)), rng.random(len(text))

    def typed(i: int, char: str) -> str:
        near = NEAR.get(char.lower(), "")
        if not near or hit[i] >= share:
            return char
        other = near[int(which[i] * len(near))]
        return other.upper() if char.isupper() else other

    return "".join(typed(i, char) for i, char in enumerate(text))


def swapped_letters(text: str, share: float, rng: np.random.Generator) -> str:
    """Two letters beside each other change places; no letter moves twice."""
    hit, made = rng.random(len(text)), list(text)
    for i in range(int(rng.integers(2)), len(made) - 1, 2):
        if made[i].isalpha() and made[i + 1].isalpha() and hit[i] < share:
            made[i], made[i + 1] = made[i + 1], made[i]
    return "".join(made)


def dropped_letters(text: str, share: float, rng: np.random.Generator) -> str:
    hit = rng.random(len(text))
    return "".join(char for i, char in enumerate(text) if not (char.isalpha() and hit[i] < share))


def inserted_letters(text: str, share: float, rng: np.random.Generator) -> str:
    """After a letter comes the one beside it on the keyboard, or where there is none the letter again."""
    hit, which = rng.random(len(text)), rng.random(len(text))

    def after(i: int, char: str) -> str:
        if not char.isalpha() or hit[i] >= share:
            return char
        near = NEAR.get(char.lower(), char)
        return char + near[int(which[i] * len(near))]

    return "".join(after(i, char) for i, char in enumerate(text))


def casing(text: str, share: float, rng: np.random.Generator) -> str:
    """Words in capitals; those that are in capitals already, in small letters."""
    spans = split_words(text)
    hit = rng.random(len(spans))

    def cased(word: str, i: int) -> str:
        if hit[i] >= share:
            return word
        return word.lower() if len(word) > 1 and word.isupper() else word.upper()

    return rewritten(text, spans, cased)


def dropped_words(text: str, share: float, rng: np.random.Generator) -> str:
    """Words left out, with the gap before them; one word at least stays."""
    spans = [s for s in split_words(text) if any(c.isalnum() for c in text[s[0] : s[1]])]
    hit = rng.random(len(spans))
    gone = {i for i in range(len(spans)) if hit[i] < share}
    if len(gone) == len(spans):
        gone -= {int(hit.argmax())} if len(spans) else set()
    made, end = "", 0
    for i, (start, stop) in enumerate(spans):
        before = text[end:start]
        made += (before.rstrip() if before.strip() else "") if i in gone else before + text[start:stop]
        end = stop
    return (made + text[end:]).lstrip() if gone else text


def repeated_words(text: str, share: float, rng: np.random.Generator) -> str:
    spans = split_words(text)
    hit = rng.random(len(spans))

    def twice(word: str, i: int) -> str:
        return f"{word} {word}" if hit[i] < share and word[0].isalnum() else word

    return rewritten(text, spans, twice)


def dropped_punctuation(text: str, share: float, rng: np.random.Generator) -> str:
    hit = rng.random(len(text))
    return "".join(c for i, c in enumerate(text) if not (unicodedata.category(c)[0] == "P" and hit[i] < share))


def dropped_accents(text: str, share: float, rng: np.random.Generator) -> str:
    """é becomes e: marks above and below letters, where the letter stands without them too."""
    hit = rng.random(len(text))

    def bare(i: int, char: str) -> str:
        if hit[i] >= share or char.isascii():
            return char
        if unicodedata.category(char) == "Mn" and i and text[i - 1].isascii():
            return ""
        parts = unicodedata.normalize("NFD", char)
        marks = parts[1:] and all(unicodedata.category(c) == "Mn" for c in parts[1:])
        return parts[0] if marks and parts[0].isascii() else char

    return "".join(bare(i, char) for i, char in enumerate(text))


def ocr_confusions(text: str, share: float, rng: np.random.Generator) -> str:
    hit, made, i = rng.random(len(text)), "", 0
    while i < len(text):
        size = 2 if text[i : i + 2] in OCR else 1
        unit = text[i : i + size]
        made += OCR[unit] if unit in OCR and hit[i] < share else unit
        i += size
    return made


def white_space(text: str, share: float, rng: np.random.Generator) -> str:
    """Spaces that are lost, and spaces inside words."""
    hit = rng.random(len(text))
    made = ""
    for i, char in enumerate(text):
        inside = char.isalnum() and i + 1 < len(text) and text[i + 1].isalnum()
        if char == " " and hit[i] < share:
            continue
        made += char + (" " if inside and hit[i] < share / 4 else "")  # a word has some four such places
    return made


def homoglyphs(text: str, share: float, rng: np.random.Generator) -> str:
    hit = rng.random(len(text))
    return "".join(HOMOGLYPHS.get(char, char) if hit[i] < share else char for i, char in enumerate(text))


def rewritten(text: str, spans: Sequence[Span], word: Callable[[str, int], str]) -> str:
    """The text with each word replaced by `word(word, its number)`, and all between them as it was."""
    made, end = "", 0
    for i, (start, stop) in enumerate(spans):
        made += text[end:start] + word(text[start:stop], i)
        end = stop
    return made + text[end:]


CHANGES: dict[str, Callable[[str, float, np.random.Generator], str]] = {
    "keyboard_typos": keyboard_typos,
    "swapped_letters": swapped_letters,
    "dropped_letters": dropped_letters,
    "inserted_letters": inserted_letters,
    "casing": casing,
    "dropped_words": dropped_words,
    "repeated_words": repeated_words,
    "dropped_punctuation": dropped_punctuation,
    "dropped_accents": dropped_accents,
    "ocr_confusions": ocr_confusions,
    "white_space": white_space,
    "homoglyphs": homoglyphs,
}
