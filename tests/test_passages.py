"""Documents and passages: nothing lost, nothing twice, nothing across a boundary; what is wrong is named."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.data.documents import Document, python_topics, read_documents
from lamina.data.passages import Windows, joined, passages, texts_of
from lamina.data.source import PARTS, Source
from lamina.decode.text_answers import text_of
from lamina.errors import LaminaError
from lamina.modalities.prompts import BOS, EOS, FIRST, Pieces, PromptReader, learned_pieces, on_the_left

BYTE = Pieces("bytes", learned_pieces("bytes", [], 0).pieces)


def written(tmp_path: Path, name: str, content: str | bytes) -> str:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def read(data: object, **fields: object):
    return read_documents(Source(data=data, **fields), python_topics)  # type: ignore[arg-type]


@given(st.lists(st.text(min_size=1, max_size=60), max_size=5), st.integers(3, 20))
@settings(max_examples=60, deadline=None)
def test_passages_hold_every_character_once_and_fit(texts, most):
    documents = [Document(str(i), text) for i, text in enumerate(texts)]
    made = passages(documents, BYTE.ids, most)
    assert "".join(made["text"]) == "".join(texts) and texts_of(made) == texts
    assert all(1 <= len(BYTE.ids(text)) <= max(most, 4) for text in made["text"])
    assert sum(made["ends"]) == len(texts) and sum(made["bytes"]) == sum(len(t.encode(errors="replace")) for t in texts)


def test_passages_of_words_are_cut_between_words():
    (text,) = ["the quick brown fox jumps over the lazy dog and runs away into the deep dark wood " * 3]
    words = learned_pieces("bpe", [text], 300)
    made = passages([Document("a", text)], words.ids, 12)
    assert len(made["text"]) > 2 and all(len(words.ids(t)) <= 12 for t in made["text"])
    assert all(text.startswith(" ") for text in made["text"][1:])
    assert np.concatenate([words.ids(t) for t in made["text"]]).tolist() == words.ids(text).tolist()


@given(st.lists(st.integers(1, 50), min_size=1, max_size=6), st.integers(1, 7), st.integers(2, 12))
@settings(max_examples=60, deadline=None)
def test_windows_hold_one_document_and_every_token_about_once(lengths, size, context):
    documents = [np.full(n, FIRST + i, np.int64) for i, n in enumerate(lengths)]
    stream = Windows(documents, size, context, 0)
    seen = np.zeros(len(lengths), int)
    for _ in range(len(stream.batches())):
        batch = next(stream)
        tokens_BT, label_BT = batch["tokens"].numpy(), batch["label"].numpy()
        assert tokens_BT.shape == label_BT.shape and tokens_BT.shape[1] <= context
        assert (tokens_BT[:, 0] == BOS).all() and ((tokens_BT == 0) == (label_BT == 0)).all()
        for tokens, label in zip(tokens_BT, label_BT, strict=True):
            inside = label[label != 0]
            assert len(set(inside)) == 1 and tokens[1 : len(inside)].tolist() == inside[:-1].tolist()
            seen[inside[0] - FIRST] += len(inside)
    assert (seen <= lengths).all() and sum(lengths) - seen.sum() < size * context


def test_windows_go_on_where_they_stopped_and_differ_by_epoch():
    documents = [np.arange(4, 104), np.arange(4, 40)]
    one, other = Windows(documents, 3, 10, 1), Windows(documents, 3, 10, 1)
    for _ in range(5):
        next(one)
    other.load_state_dict(one.state_dict())
    for _ in range(20):
        a, b = next(one), next(other)
        assert all(bool((a[name] == b[name]).all()) for name in a)
    assert one.epoch > 0 and "epoch" in one.where()
    with pytest.raises(LaminaError, match="training example"):
        Windows([], 3, 10, 1)


def test_passages_join_to_documents_with_their_ends():
    made = passages([Document("a", "hello world"), Document("b", "bye", whole=False)], BYTE.ids, 4)
    first, second = joined(made, BYTE.ids)
    assert text_of(BYTE.pieces, first) == "hello world" and first[-1] == EOS and EOS not in second


def test_one_text_is_split_by_position_as_nanogpt_splits_it(tmp_path):
    text = "".join(f"line {i}\n" for i in range(1000))
    found = read(written(tmp_path, "a.txt", text))
    parts = ["".join(d.text for d in found.parts[part]) for part in PARTS]
    assert "".join(parts) == text and len(parts[0]) == int(0.9 * len(text)) and not parts[2]
    assert [d.whole for part in PARTS for d in found.parts[part]] == [False, False, True]
    nanogpt = read(written(tmp_path, "a.txt", text), valid=0.1, test=0.0)
    assert nanogpt.parts["train"][0].text == parts[0] and nanogpt.parts["valid"][0].text == text[len(parts[0]) :]
    with pytest.raises(LaminaError, match="leave nothing"):
        read(written(tmp_path, "a.txt", text), valid=0.6, test=0.5)


def test_many_documents_are_split_whole_and_copies_stay_together(tmp_path):
    for i in range(60):
        written(tmp_path, f"d/{i:02d}.txt", f"text number {i // 2}")
    found = read(str(tmp_path / "d"))
    parts = [{d.text for d in found.parts[part]} for part in PARTS]
    assert sum(map(len, parts)) == 30 and all(parts[i] for i in (0, 1, 3))
    assert found.fingerprint == read(str(tmp_path / "d")).fingerprint != read(str(tmp_path / "d"), split_seed=1).fingerprint


def test_parts_that_the_data_bring_are_kept(tmp_path):
    for part in ("train", "valid", "test"):
        written(tmp_path, f"d/{part}.txt", f"the {part} text")
    found = read(str(tmp_path / "d"))
    assert {part: [d.text for d in found.parts[part]] for part in PARTS} == {
        "train": ["the train text"], "valid": ["the valid text"], "calibration": [], "test": ["the test text"],
    }  # fmt: skip


def test_tables_and_memory(tmp_path):
    table = written(tmp_path, "a.csv", "text,n\n" + "".join(f"row {i},{i}\n" for i in range(30)))
    assert sum(len(part) for part in read(table).parts.values()) == 30
    with pytest.raises(LaminaError, match=r"column 'body'.*--text"):
        read_documents(Source(data=table), python_topics, "body")
    assert read(["one text"]).parts["train"][0].text.startswith("one")
    assert len(read(None).parts["train"]) > 20


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"good\xff\xfe bad", "is not UTF-8: byte 0xff at 4"), (b"a\0b", "1 NUL characters"), (b" \n", "found none")],
)
def test_what_is_no_text_is_named(tmp_path, content, code):
    path = written(tmp_path, "d/a.txt", content)
    with pytest.raises(LaminaError, match=code):
        read(path)
    written(tmp_path, "d/b.txt", "this is text, and some more of it")
    found = read(str(tmp_path / "d"), bad_data="quarantine")
    assert found.parts["train"][0].name == "b.txt"
    with pytest.raises(LaminaError, match="there is none"):
        read(str(tmp_path / "nowhere"))


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=80))
@settings(max_examples=150, deadline=None)
def test_every_text_comes_back(text):
    words = learned_pieces("bpe", ["the cat sat on the mat, the cat sat ähnlich"], 300)
    for pieces in (BYTE, words, learned_pieces("characters", [text], 0)):
        if pieces.pieces:
            ids = pieces.ids(text)
            assert text_of(pieces.pieces, ids.tolist()) == text
            assert pieces.sizes(ids).sum() == len(text.encode()) and (ids >= FIRST).all()


def test_byte_pairs_are_those_of_the_library_that_learned_them():
    from tokenizers import Regex, Tokenizer
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel, Split
    from tokenizers.pre_tokenizers import Sequence as InTurn
    from tokenizers.trainers import BpeTrainer

    from lamina.modalities.byte_pairs import WORDS, shown_bytes

    texts = [d.text for d in python_topics()[:6]]
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = InTurn([Split(Regex(WORDS), "isolated"), ByteLevel(add_prefix_space=False, use_regex=False)])  # type: ignore[assignment]
    trainer = BpeTrainer(vocab_size=500, initial_alphabet=ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    ours, shown = learned_pieces("bpe", texts, 500), shown_bytes()
    for text in (texts[0], "straße  kostet 12345€\n\n\tNaïve_x = {'a': 1}"):
        theirs = ["".join(shown[c] for c in token) for token in tokenizer.encode(text).tokens]
        assert [ours.pieces[i - FIRST] for i in ours.ids(text)] == theirs


def test_prompts_are_padded_on_the_left_and_keep_their_last_tokens():
    reader = PromptReader("characters", ("a", "b"), 4)
    tokens = reader.encode({"text": ["", "ab", "abababa?"]})["tokens"]
    assert tokens.tolist() == [[0, 0, 0, 2], [0, 2, 4, 5], [2, 5, 4, 1]]
    assert on_the_left([]).shape == (0, 1) and dataclasses.is_dataclass(reader)
    with pytest.raises(LaminaError, match="row 2, column 'text': expected a text; got int"):
        reader.encode({"text": ["a", 3]})


@pytest.mark.parametrize("kind", ["characters", "bytes", "bpe"])
def test_every_token_knows_what_it_stands_for(kind):
    text = "the cat säß on the mat, 1234567 times"
    words = learned_pieces(kind, [text], 300)
    reader = PromptReader(kind, words.pieces, 100, frame=("Q: ", " A:"))
    tokens = reader.encode({"text": [text, "a"]})["tokens"]
    found, short = reader.pieces({"text": [text, "a"]})
    assert len(found) == np.count_nonzero(tokens[0]) and len(short) == np.count_nonzero(tokens[1])
    assert all(piece == text[start:end] for piece, start, end in found[1:]) and found[0] == ("<bos>", 0, 0)
    assert {i for _, start, end in found for i in range(start, end)} == set(range(len(text)))
    cut = PromptReader(kind, words.pieces, 4).pieces({"text": [text]})[0]
    assert len(cut) == 4 and cut[-1][2] == len(text)
