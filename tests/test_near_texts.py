"""Near copies of texts: beside the exact similarity of all pairs, planted copies found, and nobody accused wrongly."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.data.near_texts import SIMILAR, bands, jaccard, levelled, near_copies, same_texts, shingles
from text_task import sentences

RNG = np.random.default_rng(0)
WORDS = ["".join(RNG.choice(list("abcdefghijklmnopqrstuvwxyz"), RNG.integers(3, 9))) for _ in range(400)]


def prose(count: int, seed: int, words: int = 30) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, words)) for _ in range(count)]


def test_levelled() -> None:
    assert levelled("  The CAFE\u0301, is\tcold! ") == levelled("the café is cold") == "the café is cold"
    assert levelled("!!! :-)") == "!!! :-)" and levelled("") == "" and levelled("ﬁne") == "fine"
    assert levelled("מָה") == "מָה"


def test_similarity_is_that_of_sets_of_strings() -> None:
    one, other = "the quick brown fox jumps over", "the quick brown dog jumps over"
    sets = [{text[i : i + 5] for i in range(len(text) - 4)} for text in (one, other)]
    assert jaccard(shingles(one), shingles(other)) == len(sets[0] & sets[1]) / len(sets[0] | sets[1])
    assert len(shingles("abc")) == 1 and len(shingles("")) == 1 and jaccard(shingles("a"), shingles("a")) == 1


def test_planted_copies_are_found_and_no_others() -> None:
    train, fresh = prose(400, 1), prose(100, 2)
    rng = np.random.default_rng(3)
    copied = []
    for row in range(60):
        words = train[row].split()
        words[int(rng.integers(len(words)))] = "changed"
        copied.append(f"{' '.join(words).title()}!")
    found = near_copies(train, [*copied, *fresh])
    exact = [jaccard(shingles(levelled(a)), shingles(levelled(b))) for a, b in zip(copied, train, strict=False)]
    assert min(exact) > SIMILAR and found[:60].tolist() == list(range(60))
    assert (found[60:] == -1).all()


def test_bands_meet_as_often_as_computed() -> None:
    met, total = 0, 0
    rng = np.random.default_rng(4)
    for text in prose(150, 5):
        words = text.split()
        for i in rng.choice(30, 2, replace=False):
            words[i] = "else"
        one, other = shingles(text), shingles(" ".join(words))
        if jaccard(one, other) >= SIMILAR:
            total += 1
            met += bool(set(bands(one)) & set(bands(other)))
    assert total > 20 and met == total


def test_short_and_templated_texts() -> None:
    assert near_copies(["good", "bad"], ["good", "god", ""]).tolist() == [0, -1, -1]
    assert near_copies([], ["a"]).tolist() == [-1] and near_copies(["a"], []).tolist() == []
    assert (near_copies(sentences(200, 1)["text"], sentences(80, 2)["text"]) == -1).mean() > 0.9  # type: ignore[arg-type]
    many = [f"Package {i} of the series, and nothing else to say about what it holds inside" for i in range(500)]
    assert (near_copies(many, many[:20]) >= 0).all()


def test_the_same_texts_in_groups() -> None:
    assert same_texts(["A b.", "c", "a  B", "C!", "d"]) == [[0, 2], [1, 3]] and same_texts([]) == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=30), max_size=6))
def test_a_text_is_a_copy_of_itself(texts: list[str]) -> None:
    found = near_copies(texts, texts)
    assert all(
        levelled(texts[row]) == levelled(text)
        for row, text in zip(found, texts, strict=True)
        if row >= 0 and len(set(texts)) == 1
    )
    assert (found >= 0).all()
