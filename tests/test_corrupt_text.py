"""Twelve corruptions of texts: nested in severity, by content, blind to what they do not concern; and texts no model should know."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.errors import LaminaError
from lamina.modalities.corrupt_text import HOMOGLYPHS, KINDS, NEAR, OCR, STRENGTHS, corrupt
from lamina.modalities.strange_text import shuffled_words, strange_texts
from lamina.modalities.words import split_words

TEXTS = [
    "The quick brown fox, however, jumps over the lazy dog; it's 3.5 metres long!",
    "Où est le café « Déjà vu » près de l'hôtel? Très bien, merci beaucoup.",
    "A film that is as delightful as it is dreadful: superb music, tedious plot.",
] * 4


def distance(one: str, other: str) -> int:
    """Levenshtein's."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        row, before = [i], row
        for j, b in enumerate(other, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (a != b)))
    return row[-1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_stronger_severity_changes_more(kind: str) -> None:
    moved = []
    for severity in range(1, 6):
        made = corrupt(TEXTS, kind, severity)
        assert made is not None and len(made) == len(TEXTS)
        moved.append(sum(distance(a, b) for a, b in zip(TEXTS[:3], made[:3], strict=True)))
    assert moved == sorted(moved) and moved[4] > moved[0] >= 0 and moved[4] > 0


@pytest.mark.parametrize("kind", KINDS)
def test_draws_belong_to_the_text(kind: str) -> None:
    made, turned = corrupt(TEXTS, kind, 4), corrupt(TEXTS[::-1], kind, 4)
    assert made is not None and turned == made[::-1] and made[:3] == made[3:6]
    assert corrupt(TEXTS, kind, 4) == made
    if STRENGTHS[kind][3] < 0.75:
        assert any(corrupt(TEXTS, kind, 4, seed) != made for seed in range(1, 4))


def test_a_slip_goes_to_a_neighbouring_key() -> None:
    assert set("adwezx") == set(NEAR["s"])
    assert "p" not in NEAR["q"] and all(a in NEAR[b] for a in NEAR for b in NEAR[a])
    (made,) = corrupt(["the lazy dog " * 50], "keyboard_typos", 5) or [""]
    pairs = [(a, b) for a, b in zip("the lazy dog " * 50, made, strict=True) if a != b]
    assert pairs and all(b in NEAR[a] for a, b in pairs) and abs(len(pairs) / 500 - 0.25) < 0.08


def test_letters_go_come_and_swap() -> None:
    text = "abcdefghij " * 60
    swapped, dropped, inserted = (
        (corrupt([text], k, 5) or [""])[0] for k in ("swapped_letters", "dropped_letters", "inserted_letters")
    )
    assert sorted(swapped) == sorted(text) and swapped != text
    assert 0.15 < 1 - len(dropped) / len(text) < 0.35 and 0.15 < len(inserted) / len(text) - 1 < 0.35
    assert dropped.count(" ") == inserted.count(" ") == text.count(" ")


def test_words_go_come_and_shout() -> None:
    (dropped,), (twice,), (loud,) = (
        corrupt(["one two, three four. " * 30], k, 5) or [""] for k in ("dropped_words", "repeated_words", "casing")
    )
    assert set(dropped.replace(",", "").replace(".", "").split()) <= {"one", "two", "three", "four"}
    assert 0.45 < len(dropped.split()) / 120 < 0.75 and len(twice.split()) > 150 and loud.isupper()
    assert corrupt(["word"], "dropped_words", 5) is None, "one word stays"
    assert (corrupt(["LOUD calm"], "casing", 5) or [""])[0] == "loud CALM"


def test_signs_accents_and_alike_letters() -> None:
    assert (corrupt(["a, b. «c»!"], "dropped_punctuation", 5) or [""])[0] == "a b c"
    assert (
        (corrupt(["café"], "dropped_accents", 5) or [""])[0]
        == "cafe"
        == (corrupt(["cafe\u0301"], "dropped_accents", 5) or [""])[0]
    )
    assert (corrupt(["Straße Ø"], "dropped_accents", 5)) is None, "a letter of its own is no accent"
    for kind in ("dropped_accents", "dropped_punctuation"):
        assert corrupt(["plain words"], kind, 3) is None
    assert all(ord(b) > 127 and unicodedata.name(a).split()[1] == unicodedata.name(b).split()[1] for a, b in HOMOGLYPHS.items())
    assert (
        corrupt(["日本語"], "keyboard_typos", 5) is None
        and corrupt([""], "casing", 5) is None
        and corrupt([], "casing", 1) is None
    )
    (read,) = corrupt(["modern corner"], "ocr_confusions", 5) or [""]
    assert read != "modern corner" and all(a != b for a, b in OCR.items())
    (spaced,) = corrupt(["several words in here " * 20], "white_space", 5) or [""]
    assert spaced.replace(" ", "") == ("several words in here " * 20).replace(" ", "") and spaced.count(" ") != 80


def test_unknown_kinds_and_severities_are_named() -> None:
    with pytest.raises(LaminaError, match="kind: expected one of keyboard_typos"):
        corrupt(TEXTS, "synonyms", 1)
    with pytest.raises(LaminaError, match="severity: expected a whole number from 1 to 5; got 6"):
        corrupt(TEXTS, "casing", 6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=40), min_size=1, max_size=4), st.sampled_from(KINDS), st.integers(1, 5))
def test_any_text_can_be_corrupted(texts: list[str], kind: str, severity: int) -> None:
    made = corrupt(texts, kind, severity)
    assert made is None or (len(made) == len(texts) and all(isinstance(text, str) for text in made))


def test_strange_texts_are_as_many_and_as_long() -> None:
    made = dict(strange_texts(TEXTS, 0))
    assert list(made) == ["shuffled words", "made-up words", "random letters", "program code", "descriptions of data sets"]
    for name, texts in made.items():
        assert len(texts) == len(TEXTS) and all(text.strip() for text in texts), name
        assert 0.4 < np.mean([len(a) / len(b) for a, b in zip(texts, TEXTS, strict=True)]) < 2.5, name
    assert sorted(made["shuffled words"][0]) == sorted(TEXTS[0]) and made["shuffled words"][0] != TEXTS[0]
    known = {TEXTS[i][a:b].casefold() for i in range(3) for a, b in split_words(TEXTS[i])}
    words = [word for text in made["made-up words"] for word in text.split()]
    assert np.mean([word in known for word in words]) < 0.1
    assert dict(strange_texts(TEXTS, 0)) == made and dict(strange_texts(TEXTS, 1)) != made
    assert "shuffled words" not in dict(strange_texts(["one", ""], 0))
    assert shuffled_words("a, b!", np.random.default_rng(0)) in ("a, b!", "b, a!")
