"""Explanations of texts: the planted trigger is found, padding never counts, words are merged, and what is drawn is harmless.

Shapes: B texts, T tokens.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from explain_task import Held, data_of
from lamina.ask import Asked
from lamina.errors import LaminaError
from lamina.explain import methods, texts
from lamina.explain.api import explain
from lamina.explain.attribute import attribute
from lamina.explain.settings import Settings
from lamina.explain.subject import CELLS, Subject, baseline_leaf, freeze, subject
from lamina.explain.text_changes import Texts, changed, fewest_removed, fewest_replaced, typical_words
from lamina.explain.text_pictures import right_to_left, shaded_page
from lamina.modalities.words import cut, readable, split_words, words_of
from lamina.verdict import Verdict, show
from text_task import KINDS, TRIGGERS, Sentences, prepared, sentences, trained

ALL = {word for words in TRIGGERS.values() for word in words}
METHODS = ("integrated-gradients", "occlusion", "input-x-gradient")


@pytest.fixture(scope="module", params=["recurrent", "attentive"])
def held(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Held:
    task, columns = prepared(network=request.param, left=request.param == "recurrent")
    model = trained(task, columns)
    test = sentences(200, 7)
    right = task.outputs(model, task.encode(test, "predict"))["logits"].argmax(1)  # type: ignore[index]
    assert float((right == torch.tensor([KINDS.index(n) for n in test["label"]])).float().mean()) > 0.97
    return Held(tmp_path_factory.mktemp("run"), task, data_of(test, columns), model)


def explained(held: Held, count: int) -> tuple[Subject, list[list[str]], dict]:
    columns = {name: column[:count] for name, column in held.data().test.items()}
    batch = held.task.encode({"text": columns["text"]}, "predict")
    said = freeze(held.task, held.model(), batch)
    told = texts.cells_of_words(held.task, columns, batch["tokens"])
    assert told is not None
    words = [[text[a:b] for a, b in spans] for text, spans in zip(columns["text"], told[1], strict=True)]
    return subject(held.task, held.model(), {**said, CELLS: told[0]}), words, columns


@pytest.mark.parametrize("method", METHODS)
def test_the_trigger_is_among_the_first_three_words_of_200_texts(held: Held, method) -> None:
    some, words, _ = explained(held, 200)
    map_BT = attribute(method, some, baseline_leaf(some, None), Settings()).map
    hits = []
    for value_M, of_text in zip(texts.of_words(map_BT, some.cell), words, strict=True):
        first = [of_text[i].casefold() for i in np.argsort(-value_M)[:3]]
        hits.append(bool(ALL & set(first)))
    floor = 0.85 if method == "input-x-gradient" else 0.95  # one gradient alone says little where the answer is sure
    assert len(hits) == 200 and np.mean(hits) >= floor


@pytest.mark.parametrize("method", [*METHODS, "gradient", "smooth-grad"])
def test_padding_beginning_and_end_never_count(held: Held, method) -> None:
    some, _, _ = explained(held, 12)
    map_BT = attribute(method, some, baseline_leaf(some, None), Settings(noisy_copies=2)).map
    assert map_BT.shape == some.said["tokens"].shape
    assert not map_BT[some.said["tokens"] == 0].any() and not map_BT[some.said["tokens"] == 2].any()
    assert map_BT[some.cell >= 0].abs().max() > 0


@pytest.mark.parametrize("method", ["occlusion", "input-x-gradient"])
def test_a_text_alone_is_explained_as_in_a_padded_batch(held: Held, method) -> None:
    some, words, columns = explained(held, 6)
    together = texts.of_words(attribute(method, some, baseline_leaf(some, None), Settings()).map, some.cell)
    for row in range(6):
        one = {name: column[row : row + 1] for name, column in columns.items()}
        batch = held.task.encode({"text": one["text"]}, "predict")
        cells, _ = texts.cells_of_words(held.task, one, batch["tokens"])  # type: ignore[misc]
        alone = subject(held.task, held.model(), {**freeze(held.task, held.model(), batch), CELLS: cells})
        (value_M,) = texts.of_words(attribute(method, alone, baseline_leaf(alone, None), Settings()).map, alone.cell)
        assert len(value_M) == len(words[row])
        np.testing.assert_allclose(value_M, together[row], atol=1e-4)


def test_occlusion_of_a_word_is_the_fall_of_the_score_without_it(held: Held) -> None:
    some, _, _ = explained(held, 3)
    baseline = baseline_leaf(some, None)
    values = texts.of_words(attribute("occlusion", some, baseline, Settings()).map, some.cell)
    whole = some.score(some.leaf.detach())
    for row in range(3):
        for word in range(len(values[row])):
            inside = (some.cell[row] == word)[:, None]
            leaf = some.leaf.detach().clone()
            leaf[row] = torch.where(inside, baseline[row], leaf[row])
            assert values[row][word] == pytest.approx(float((whole - some.score(leaf))[row].detach()), abs=1e-4)


def test_a_long_text_is_hidden_in_runs_of_words(held: Held) -> None:
    text = f"{'the film ' * 14}superb"  # 29 words: runs of three, and two at the end
    columns = {"text": [text], "label": ["good"]}
    batch = held.task.encode({"text": [text]}, "predict")
    cells, _ = texts.cells_of_words(held.task, columns, batch["tokens"])  # type: ignore[misc]
    some = subject(held.task, held.model(), {**freeze(held.task, held.model(), batch), CELLS: cells})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(methods, "MOST_RUNS", 10)
        values = texts.of_words(methods.occlusion(some, baseline_leaf(some, None)), cells)[0]
    assert len(values) == 29 and len(set(np.round(values[:3], 5))) == 1, "the words of a run share what it counts"
    assert values[28] == pytest.approx(2 * values[27], rel=1e-3), "superb is two tokens of three"


def test_the_verdict_tells_words_and_shades_them(held: Held, capsys: pytest.CaptureFixture) -> None:
    made = explain(Asked(held, Settings(examples=40, shown=5, resamples=1000, references=300)))
    assert made.figures["deletion_gain"]["low"] > 0 and made.figures["insertion_gain"]["low"] > 0  # type: ignore[operator]
    assert made.figures["completeness_gap"]["value"] < 0.05 and made.figures["sanity_similarity"]["high"] < 0.5  # type: ignore[operator]
    rows = made.texts["what it looked at"]
    assert len(rows) == 5 and made.pictures["what it looked at"].exists()
    for row in rows:
        text = "".join(str(piece) for piece, _ in row["pieces"])
        assert text in held.data().test["text"]
        best = max((p for p in row["pieces"] if p[1] is not None), key=lambda p: p[1])
        assert best[0].casefold() in ALL and best[1] == 1.0
    for kind in KINDS:
        first = [row["word"] for row in made.tables["words"] if row["answer"] == kind][:2]
        assert set(first) == set(TRIGGERS[kind])
    assert all(row["text"] for row in made.tables["nearest"])
    assert made.figures["counterfactuals_found"]["value"] == 1.0
    for row in made.tables["counterfactuals"]:
        changes = f"{row['without']} {row['with']}".casefold()
        assert ALL & set(changes.replace(",", " ").replace("->", " ").split())
    assert ("attention-rollout" in made.details["methods"]) == (held.task.network == "attentive")  # type: ignore[attr-defined]
    back = Verdict.of_json(made.as_json(held.folder), held.folder)
    assert back.texts["what it looked at"] == rows
    show(made, "explain")
    said = capsys.readouterr().out
    assert "what it looked at" in said and "+1.00" in said


def test_a_task_that_tells_no_pieces_has_its_tokens_explained_by_number(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sentences, "pieces", lambda self, columns: None)
    encode = Sentences.encode
    columns = {name: column[:8] for name, column in held.data().test.items()}
    tokens = torch.randint(4, 20, (8, 9))
    monkeypatch.setattr(Sentences, "encode", lambda self, c, mode: {"tokens": tokens[: len(c["text"])]})
    other = Held(held.folder, held.task, data_of(columns, columns), held.model())
    made = explain(Asked(other, Settings(examples=8, shown=2, sanity=False)))
    assert "words" in made.skipped and "counterfactuals" in made.skipped and encode is not Sentences.encode
    assert made.texts["what it looked at"][0]["pieces"][0][0].startswith("<")


def test_pieces_that_do_not_match_the_tokens_are_named(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "words_of", words_of)
    x_BT = held.task.encode({"text": ["a superb film"]}, "predict")["tokens"]
    with pytest.raises(LaminaError, match="every token that is no padding"):
        texts.cells_of_words(held.task, {"text": ["a superb film"]}, torch.cat([x_BT, x_BT], 1))


def test_words_are_merged_from_pieces_by_where_they_stand() -> None:
    text = "Don't re-do 3.5 naïve 日本 x"
    pieces = [("Don", 0, 3), ("'", 3, 4), ("t", 4, 5), (" re", 5, 8), ("-", 8, 9), ("do", 9, 11), ("3", 12, 13), (".5", 13, 15),
              ("na", 16, 18), ("ïve", 18, 21), ("日", 22, 23), ("本", 23, 24), ("<eos>", 26, 26)]  # fmt: skip
    made = words_of(text, pieces)
    assert [text[a:b] for a, b in made.spans] == ["Don't", "re", "-", "do", "3.5", "naïve", "日", "本"]
    assert made.of_piece == (0, 0, 0, 1, 2, 3, 4, 4, 5, 5, 6, 7, -1)
    emoji = words_of("ok 😀!", [("ok", 0, 2), ("b1", 3, 4), ("b2", 3, 4), ("!", 4, 5)])  # bytes of one character
    assert emoji.of_piece == (0, 1, 1, 2)
    assert words_of("", []).spans == () and words_of("  ", [("  ", 0, 2)]).of_piece == (-1,)


@given(st.text(max_size=60), st.integers(1, 5))
def test_every_piece_has_its_word_and_words_do_not_overlap(text: str, size: int) -> None:
    pieces = [(text[i : i + size], i, min(len(text), i + size)) for i in range(0, len(text), size)]
    made = words_of(text, pieces)
    assert len(made.of_piece) == len(pieces)
    assert all(a < b for a, b in made.spans) and all(b <= c for (_, b), (c, _) in zip(made.spans, made.spans[1:], strict=False))
    for (_, start, end), word in zip(pieces, made.of_piece, strict=True):
        if text[start:end].strip():
            assert made.spans[word][0] < end and made.spans[word][1] > start


@given(st.text(max_size=80), st.data())
def test_a_shaded_text_is_the_text(text: str, data: st.DataObject) -> None:
    spans = split_words(text)
    value = np.array(data.draw(st.lists(st.floats(-5, 5), min_size=len(spans), max_size=len(spans))))
    row = texts.shaded(text, spans, value, "")
    assert "".join(piece for piece, _ in row["pieces"]) == text
    assert all(w is None or -1 <= w <= 1 for _, w in row["pieces"])


def test_a_long_text_is_cut_around_its_strongest_words() -> None:
    text = "word " * 4000 + "superb " + "word " * 4000
    spans = split_words(text)
    value = np.array([1.0 if text[a:b] == "superb" else 0.001 for a, b in spans])
    row = texts.shaded(text, spans, value, "")
    shown = "".join(piece for piece, _ in row["pieces"])
    assert len(shown) < 1.2 * texts.LONGEST and "superb" in shown and shown.count("…") >= 2
    assert len(texts.shaded("x" * 50_000, [(0, 50_000)], np.ones(1), "")["pieces"][0][0]) < 1.1 * texts.LONGEST


def test_the_fewest_words(held: Held) -> None:
    text = "The superb film with a superb story"
    batch = held.task.encode({"text": [text]}, "predict")
    ask = Texts(held.task, held.model(), {"text": [text]}, freeze(held.task, held.model(), batch))
    spans = split_words(text)
    answers = held.task.predict(held.model(), batch)
    assert answers[0]["label"] == "good"
    removed = fewest_removed(ask, text, spans)
    if removed is not None:  # without any trigger the answer may stay what it was
        assert held.task.predict(held.model(), ask.batch([changed(text, spans, removed)]))[0]["label"] == "bad"
    replaced = fewest_replaced(ask, text, spans, ["dreadful", "tedious"])
    assert replaced is not None and len(replaced) <= 2
    assert held.task.predict(held.model(), ask.batch([changed(text, spans, replaced)]))[0]["label"] == "bad"
    assert fewest_removed(ask, "superb", [(0, 6)]) is None and fewest_replaced(ask, text, spans, []) is None


def test_changed_texts_are_real_texts() -> None:
    text = "A good, good film."
    spans = split_words(text)
    assert changed(text, spans, {1: ""}) == "A , good film."
    assert changed(text, spans, {0: ""}) == "good, good film."
    assert changed(text, spans, {4: ""}) == "A good, good ."
    assert changed(text, spans, {1: "bad", 3: "worse"}) == "A bad, worse film."


def test_typical_words_are_those_of_the_other_answers() -> None:
    columns = sentences(200, 3)
    answer = np.array([KINDS.index(n) for n in columns["label"]])
    found = typical_words(columns["text"], answer)
    assert set(found[0][:2]) == set(TRIGGERS["good"]) and set(found[1][:2]) == set(TRIGGERS["bad"])


def test_what_would_command_is_shown_instead() -> None:
    assert readable("a\x1b[31m\u202eb\n") == "a␛[31m�b\n" and cut("a  b\nc", 10) == "a b c" and cut("abcdef", 4) == "abc…"
    assert right_to_left("123 שלום") and not right_to_left("hello שלום") and not right_to_left("")
    page = shaded_page([{"about": "x", "pieces": [["שלום", 1.0], [" ", None], ["x" * 500, -0.5]]}], "legend")
    assert page.width == 760 and np.asarray(page).std() > 0
