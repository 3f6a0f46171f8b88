"""The text modality: tokenizers learned from texts, what each token stands for, and what a person may point at."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.errors import LaminaError
from lamina.modalities import augment_text
from lamina.modalities.text import MOST_CHARACTERS, TextReader, gather_inputs, opened, padded
from lamina.modalities.vocabulary import KINDS, SPECIALS, fitting_kind, learned, sound, taken, tokenizer_for

TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "the dog doesn't care, does the dog?",
    "ein Würfel für 3.50 €",
    "a fox, a dog; a fox",
    "quick quick quick",
] * 3


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, str]:
    return {kind: learned(kind, TEXTS, 300, lower=True) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_come_first_and_the_order_of_texts_does_not_matter(kind, tokenizers):
    tokenizer = opened(tokenizers[kind])
    assert [tokenizer.token_to_id(token) for token in SPECIALS] == [0, 1, 2, 3]
    again = learned(kind, TEXTS[::-1], 300, lower=True)
    if kind == "unigram":  # scores on the edge of rounding may fall either way
        assert opened(again).get_vocab().keys() == tokenizer.get_vocab().keys()
    else:
        assert again == tokenizers[kind]
    assert tokenizer.get_vocab_size() <= 300 and sorted(tokenizer.get_vocab().values()) == list(range(tokenizer.get_vocab_size()))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30, deadline=None)
@given(text=st.text(max_size=60))
def test_any_text_is_read_and_every_token_has_its_place(kind, tokenizers, text):
    reader = TextReader(tokenizers[kind], 40)
    (ids,), (pieces,) = reader.ids([text]), reader.pieces({"text": [text]})
    assert len(ids) == len(pieces) <= 40 and ids[0] == 2 and ids[-1] == 3 and (ids > 0).all()
    assert pieces[0][1:] == (0, 0) and pieces[-1][1:] == (len(text), len(text))
    for shown, start, end in pieces[1:-1]:
        assert 0 <= start <= end <= len(text) and (start == end or shown == text[start:end])


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_known_is_covered_by_its_pieces(kind, tokenizers):
    text = "the lazy dog, quick"
    covered = {i for _, start, end in TextReader(tokenizers[kind], 99).pieces({"text": [text]})[0] for i in range(start, end)}
    assert {i for i, c in enumerate(text) if not c.isspace()} <= covered


def test_bytes_and_characters_lose_nothing():
    for kind in ("bytes", "characters"):
        reader = TextReader(learned(kind, ["añb🙂"], 300, lower=False), 99)
        (ids,) = reader.ids(["añb🙂"])
        assert len(ids) == 2 + (len("añb🙂".encode()) if kind == "bytes" else 4) and 1 not in ids


def test_normalization_composes_accents_and_drops_controls_but_places_are_those_of_the_raw_text():
    reader = TextReader(learned("words", ["caf\u00e9 bar"] * 2, 100, lower=True), 99)
    assert reader.ids(["CAFE\u0301\x07bar"])[0].tolist() == reader.ids(["caf\u00e9 bar"])[0].tolist()
    assert [p[1:] for p in reader.pieces({"text": ["CAFE\u0301\x07bar"]})[0][1:-1]] == [(0, 5), (6, 9)]


def test_words_seen_once_are_unknown():
    reader = TextReader(learned("words", ["one two two"], 100, lower=True), 99)
    assert reader.ids(["two one three"])[0].tolist() == [2, 4, 1, 1, 3]


def test_long_texts_keep_head_and_tail():
    reader = TextReader(learned("characters", ["abcdefghij" * 2], 100, lower=True), 8)
    text = "abcdefghijabcdefghij"
    (whole,) = TextReader(reader.tokenizer, 99).ids([text])
    (cut,) = reader.ids([text])
    assert cut.tolist() == [*whole[:2], *whole[-6:]] and reader.lengths([text]) == [22]
    assert [p[1] for p in reader.pieces({"text": [text]})[0]] == [0, 0, 15, 16, 17, 18, 19, 20]


def test_padding_that_is_not_zero_changes_places_with_zero():
    reader = TextReader(learned("words", ["one two"] * 2, 100, lower=True), 99, pad=4)
    plain = TextReader(reader.tokenizer, 99)
    swap = {0: 4, 4: 0}
    assert reader.ids(["one two"])[0].tolist() == [swap.get(i, i) for i in plain.ids(["one two"])[0].tolist()]


def test_a_batch_is_its_rows_padded():
    reader = TextReader(learned("words", TEXTS, 300, lower=True), 99)
    batch = reader.encode({"text": TEXTS[:4]})["tokens"]
    for row, text in zip(batch, TEXTS, strict=False):
        alone = reader.encode({"text": [text]})["tokens"][0]
        assert row[: len(alone)].tolist() == alone.tolist() and not row[len(alone) :].any()
    assert reader.encode({"text": [""]})["tokens"].tolist() == [[2, 3]]
    assert padded([np.array([1, 2, 3])], 8).shape == (1, 8) and padded([]).shape == (0, 1)


def test_tokenizer_files(tmp_path):
    file = tmp_path / "tokenizer.json"
    file.write_text(learned("words", TEXTS, 100, lower=True), encoding="utf-8")
    assert json.loads(tokenizer_for(str(file), [], 0, False)) == json.loads(file.read_text(encoding="utf-8"))
    with pytest.raises(LaminaError, match=r"expected a tokenizer\.json; there is no file"):
        tokenizer_for(str(tmp_path / "no.json"), [], 0, False)
    with pytest.raises(LaminaError, match=r"bad\.json: expected a tokenizer\.json"):
        taken("{}", "bad.json")
    with pytest.raises(LaminaError, match="--tokenizer: expected one of bpe"):
        learned("sentencepiece", TEXTS, 100, True)


def test_scripts_without_spaces_get_pieces():
    assert fitting_kind(TEXTS) == "words" and fitting_kind(["私は学生です"] * 3) == "bpe" and fitting_kind([]) == "words"


def test_halves_of_characters_are_replaced_in_their_places():
    assert sound("a\ud800b") == "a\ufffdb" and sound("añ") == "añ"


@pytest.mark.parametrize(
    "cell, said",
    [(None, "expected a text; got NoneType"), (3.5, "got float"), ("x" * (MOST_CHARACTERS + 1), "at most 1,000,000 characters")],
)
def test_what_is_no_text_is_named(cell, said):
    reader = TextReader(learned("bytes", [], 300, True), 9, column="body")
    with pytest.raises(LaminaError, match="row 2, column 'body'") as told:
        reader.encode({"body": ["fine", cell]})
    assert said in str(told.value)


# What a person points at.


def test_a_sentence_stands_for_itself(tmp_path):
    got = gather_inputs(["a fine film", "and/or", "3.5", "what? a/b c"], ("text",))
    assert got["text"] == ["a fine film", "and/or", "3.5", "what? a/b c"] and got["source"][0] == "text 1" and "unread" not in got
    with pytest.raises(LaminaError, match=r"nowhere\.txt: no such file"):
        gather_inputs([str(tmp_path / "nowhere.txt")], ("text",))
    with pytest.raises(LaminaError, match="no such file"):
        gather_inputs([str(tmp_path / "nowhere")], ("text",))


def test_a_text_file_is_a_text_a_line_and_others_are_one_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo words\n\nfour\n\n")
    (tmp_path / "mail").write_text("Subject: hello\n\nbody", encoding="utf-8")
    got = gather_inputs([str(tmp_path / "a.txt"), tmp_path / "mail"], ("text",))
    assert got["text"] == ["one", "two words", "", "four", "Subject: hello\n\nbody"]
    assert [s.rsplit("/", 1)[1] for s in got["source"]] == ["a.txt:1", "a.txt:2", "a.txt:3", "a.txt:4", "mail"]
    assert got["unread"] == [None, None, "expected a text; it is empty", None, None]


def test_a_folder_is_a_text_a_file(tmp_path):
    for name, text in (("b.txt", "two\nlines"), ("a.txt", "one")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert gather_inputs([tmp_path], ("text",))["text"] == ["one", "two\nlines"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(LaminaError, match="the folder holds none"):
        gather_inputs([tmp_path / "empty"], ("text",))


def test_bad_bytes_nul_and_a_huge_line_cost_only_themselves(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"fine\n\xff\xfe bad\nnul \0 here\n" + b"x" * (MOST_CHARACTERS + 1) + b"\nfine")
    got = gather_inputs([tmp_path / "a.txt"], ("text",))
    assert [bool(why) for why in got["unread"]] == [False, True, True, True, False]
    assert "byte 0xff" in got["unread"][1] and "NUL" in got["unread"][2] and "1,000,000" in got["unread"][3]


def test_standard_input_line_by_line(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("eins\nzwei ü\n".encode())))
    got = gather_inputs(["-"], ("text",))
    assert got == {"text": ["eins", "zwei ü"], "source": ["standard input:1", "standard input:2"]}
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b" \n")))
    with pytest.raises(LaminaError, match="standard input is empty"):
        gather_inputs(["-"], ("text",))


@pytest.mark.parametrize("column", ["text", "sentence", "only"])
def test_tables_give_the_column_of_texts(tmp_path: Path, column):
    (tmp_path / "t.csv").write_text(f"{column}\nfirst text\nsecond\n", encoding="utf-8")
    (tmp_path / "t.jsonl").write_text(
        json.dumps({column: "first text"}) + "\n" + json.dumps({column: "second"}), encoding="utf-8"
    )
    for file in ("t.csv", "t.jsonl"):
        assert gather_inputs([tmp_path / file], ("text",))["text"] == ["first text", "second"]
    assert gather_inputs([{column: "first text"}], ("text",))["text"] == ["first text"]


def test_a_table_without_texts_is_named(tmp_path):
    (tmp_path / "t.csv").write_text("size,colour\n1,red\n", encoding="utf-8")
    with pytest.raises(LaminaError, match=r"t\.csv: expected a column 'text'; found size, colour"):
        gather_inputs([tmp_path / "t.csv"], ("text",))


# Augmentation.

TOKENS = torch.tensor([[2, 10, 11, 12, 13, 14, 3, 0, 0], [0, 0, 0, 0, 2, 15, 16, 17, 3], [2, 3, 0, 0, 0, 0, 0, 0, 0]])


@pytest.mark.parametrize("change", ["word_dropout", "deletion", "swap", "span"])
def test_augmentation_keeps_beginning_end_and_padding(change):
    changed = 0
    for seed in range(20):
        x_BT = getattr(augment_text, change)(TOKENS, 0.5, torch.Generator().manual_seed(seed))
        again = getattr(augment_text, change)(TOKENS, 0.5, torch.Generator().manual_seed(seed))
        assert torch.equal(x_BT, again)
        changed += not torch.equal(x_BT, TOKENS)
        for before, after in zip(TOKENS, x_BT, strict=True):
            old, new = before[before != 0].tolist(), after[after != 0].tolist()
            assert new[0] == 2 and new[-1] == 3 and set(new) <= {*old, 1}
            if change == "swap":
                assert sorted(old) == sorted(new)
            elif change != "deletion":
                assert len(old) == len(new)
    assert changed >= 15
    assert torch.equal(getattr(augment_text, change)(TOKENS, 0.0, torch.Generator().manual_seed(0)).sort(1)[0], TOKENS.sort(1)[0])


def test_word_dropout_drops_its_share():
    x_BT = torch.full((200, 102), 7)
    dropped = augment_text.word_dropout(x_BT, 0.3, torch.Generator().manual_seed(0))
    assert float((dropped == 1).float().mean()) == pytest.approx(0.3, abs=0.02)
    kept = augment_text.deletion(x_BT, 0.3, torch.Generator().manual_seed(0))
    assert float((kept != 0).float().mean()) == pytest.approx(0.7, abs=0.02)
