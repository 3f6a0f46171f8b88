"""Texts that a model should not know, made from texts that it should: word salad, words that do not exist, code.

Shuffled words keep every word and lose the sense; made-up words keep how the language is spelled (a Markov chain of letters, by
the two before); random letters keep only the alphabet. Code and the descriptions of data sets are real texts of another kind,
which Python and scikit-learn bring along.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from lamina.modalities.words import split_words

MOST_READ = 200_000
"""Characters that the spelling is learned from."""
LONGEST_WORD = 14


def strange_texts(texts: Sequence[str], seed: int) -> Iterator[tuple[str, list[str]]]:
    """(name, as many texts as there are) of each kind; what would leave every text as it was is left out."""
    rng = np.random.default_rng(seed)
    shuffled = [shuffled_words(text, rng) for text in texts]
    if shuffled != list(texts):
        yield "shuffled words", shuffled
    lengths = [max(1, len(split_words(text))) for text in texts]
    yield "made-up words", made_up(texts, lengths, rng)
    letters = sorted({char for text in texts for char in text if char.isalpha()}) or list("abcdefghijklmnopqrstuvwxyz")
    yield "random letters", [spelled(rng.choice(letters, (count, LONGEST_WORD)), rng) for count in lengths]
    yield "program code", excerpts(code(), [len(text) for text in texts], rng)
    yield "descriptions of data sets", excerpts(descriptions(), [len(text) for text in texts], rng)


def shuffled_words(text: str, rng: np.random.Generator) -> str:
    """The words in another order, the gaps and signs between them where they were."""
    spans = [s for s in split_words(text) if text[s[0]].isalnum()]
    order = rng.permutation(len(spans))
    made, end = "", 0
    for (start, stop), other in zip(spans, order, strict=True):
        made += text[end:start] + text[slice(*spans[other])]
        end = stop
    return made + text[end:]


def spelled(letters_NL: np.ndarray, rng: np.random.Generator) -> str:
    """Words of two letters or more from rows of letters."""
    sizes = rng.integers(2, 9, len(letters_NL))
    return " ".join("".join(row[:size]) for row, size in zip(letters_NL, sizes, strict=True))


def made_up(texts: Sequence[str], lengths: Sequence[int], rng: np.random.Generator) -> list[str]:
    """Texts of so many words spelled like those of `texts`."""
    after: dict[str, list[str]] = defaultdict(list)
    words = [text[a:b].casefold() for text in texts for a, b in split_words(text[:MOST_READ])]
    for known_word in words[: MOST_READ // 5]:
        spelling = f"  {known_word} "
        for i in range(len(spelling) - 2):
            after[spelling[i : i + 2]].append(spelling[i + 2])
    known = set(words)

    def word() -> str:
        made = "  "
        while len(made) < LONGEST_WORD + 2:
            ways = after.get(made[-2:], [" "])
            made += ways[int(rng.integers(len(ways)))]
            if made[-1] == " ":
                break
        return made.strip()

    def new_word() -> str:
        for _ in range(8):
            made = word()
            if made and made not in known:
                return made
        return f"{word()}{word()}"

    return [" ".join(new_word() for _ in range(count)) for count in lengths]


def excerpts(source: str, lengths: Sequence[int], rng: np.random.Generator) -> list[str]:
    """Stretches of about so many characters, from places drawn by chance, that begin where a word does."""
    found = []
    for length in lengths:
        start = int(rng.integers(max(1, len(source) - length)))
        gap = source.find(" ", start)
        start = gap + 1 if 0 <= gap < len(source) - length else start
        found.append(source[start : start + max(length, 20)].strip() or source[:20])
    return found


def code() -> str:
    """Source text of modules that come with Python."""
    import inspect
    import json.decoder
    import textwrap

    return "\n".join(inspect.getsource(module) for module in (textwrap, json.decoder))


def descriptions() -> str:
    """What scikit-learn tells of the data sets that it brings along."""
    from sklearn import datasets

    told = (datasets.load_iris, datasets.load_wine, datasets.load_breast_cancer, datasets.load_diabetes)
    return "\n".join(str(load()["DESCR"]) for load in told)  # type: ignore[index]
