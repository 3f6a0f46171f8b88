"""Translation: a toy language learned in seconds, what is unknown copied, a batch as its rows alone, figures as sacrebleu has them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.data.number_names import english_number, german_number, number_names
from lamina.data.pair_batches import PairBatches, with_unknown
from lamina.data.source import Source
from lamina.decode.corpus_scores import mostly_short, scores, signatures, tokenization
from lamina.decode.translations import Translations
from lamina.explain.alignments import alignments, drawn
from lamina.explain.subject import cells_of_tokens, freeze
from lamina.explain.texts import cells_of_words
from lamina.modalities.byte_pairs import learned
from lamina.modalities.sentences import (
    COPIES,
    EOS,
    NAMES,
    SentenceReader,
    Vocabulary,
    familiar_words,
    unknown_stretches,
)
from lamina.run import WritingForward, forward_of
from lamina.tasks.translation import Translation

EN, DE = number_names(300)
PIECES = learned([f" {text}" for text in EN + DE], 400)
VOCABULARY = Vocabulary(PIECES, "".join(sorted(set("".join(EN)))))
DECODER = Translations(PIECES, 256)

# A toy language: words of their own for ten things, told backwards.
WORDS = {
    "red": "rot",
    "big": "gross",
    "old": "alt",
    "man": "Mann",
    "dog": "Hund",
    "cat": "Katze",
    "sees": "sieht",
    "a": "ein",
    "hears": "hört",
}


def toy(count: int, seed: int = 0) -> tuple[list[str], list[str]]:
    rng = np.random.default_rng(seed)
    sources, targets = [], []
    for _ in range(count):
        words = [str(w) for w in rng.choice(list(WORDS), int(rng.integers(2, 7)))]
        sources.append(" ".join(words))
        targets.append(" ".join(WORDS[w] for w in reversed(words)))
    return sources, targets


@pytest.fixture(scope="module")
def told():
    """A task and its network, trained on the toy language for some seconds."""
    task = Translation(width=64, depth=1, vocabulary=300, dropout=0.0, copies=0.3, beams=2, length_penalty=1.0, context=64)
    data = task.read(Source(toy(1200)))
    task = task.prepare(data)
    torch.manual_seed(0)
    model = task.model()
    stream = task.stream(model, data.train, 64, 0, lambda: 0.0)
    steps = 1100
    optimizer = torch.optim.AdamW(model.parameters(), 4e-3, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, steps, pct_start=0.1)
    for _ in range(steps):
        batch = next(stream)
        total_B, count_B = task.loss(task.outputs(model, batch), batch)
        optimizer.zero_grad()
        (total_B.sum() / count_B.sum()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return task, model.eval(), data


def answers(task, model, texts):
    forward = forward_of(model, "float32", torch.device("cpu"))
    return task.predict(forward, task.encode({"text": texts}, "predict"))


def test_a_toy_language_is_learned(told):
    task, model, data = told
    said = answers(task, model, data.test["text"])
    assert scores([a["text"] for a in said], data.test["translation"], task.words)["bleu"] > 90


def test_what_training_does_not_know_is_copied(told):
    task, model, _ = told
    for strange in ("😀", "Иван", "東京", "Łódź"):
        (answer,) = answers(task, model, [f"red dog {strange}"])
        assert strange in answer["text"], answer


def test_a_batch_equals_its_rows_alone(told):
    task, model, data = told
    texts = [*data.test["text"][:6], "", "dog"]
    together = answers(task, model, texts)
    for text, one in zip(texts, together, strict=True):
        (alone,) = answers(task, model, [text])
        assert alone["text"] == one["text"] and alone["score"] == pytest.approx(one["score"], abs=1e-4)
    assert together[6]["text"] == "" and together[6]["alignment"] == []


def test_one_beam_is_greedy_and_steps_equal_whole_calls(told):
    import dataclasses

    task, model, data = told
    task = dataclasses.replace(task, beams=1)
    batch = task.encode({"text": data.test["text"][:5]}, "predict")
    stepped = task.predict(forward_of(model, "float32", torch.device("cpu")), batch)
    whole = task.predict(lambda *inputs: model(*inputs), batch)  # a function: it has no begin and no step
    assert [a["text"] for a in stepped] == [a["text"] for a in whole]
    for row, answer in enumerate(stepped):
        target = torch.tensor([[2]])
        while len(target[0]) < 40 and int(target[0, -1]) != EOS:
            with torch.no_grad():
                logits = model(batch["source"][row : row + 1], target)["token_logits"][0, -1]
            logits[[0, 2]] = -torch.inf
            target = torch.cat([target, logits.argmax().view(1, 1)], 1)
        assert task.decoder.text(target[0, 1:].tolist(), batch["source"][row].tolist()) == answer["text"]


def test_what_is_frozen_is_the_models_own_translation(told):
    task, model, data = told
    columns = {name: column[:4] for name, column in data.test.items()}
    batch = task.encode(columns, "evaluate")
    said = freeze(task, model, batch, size=3)
    texts = [text for text, _ in task.spoken(said)]
    assert texts == [a["text"] for a in answers(task, model, columns["text"])]
    second = freeze(task, model, batch, which=2)
    for row, text in enumerate(texts):
        kept = (second["label"][row] != 0).nonzero()[:, 0].tolist()
        tokens = said["target"][row][1:].tolist()
        assert task.decoder.bytes_of([tokens[i] for i in kept]).strip() == text.split()[1].encode().decode("latin-1")


def test_words_are_aligned_with_those_they_come_from(told):
    task, model, data = told
    right = total = 0
    for answer in answers(task, model, data.test["text"][:30]):
        for source, target in answer["alignment"]:
            right, total = right + (WORDS.get(source) == target), total + 1
    assert right / total > 0.5  # chance is below a fifth
    columns = {name: column[:3] for name, column in data.test.items()}
    said = freeze(task, model, task.encode(columns, "evaluate"))
    told_cells = cells_of_words(task, columns, said["source"])
    assert told_cells is not None
    cell_BS, spans = told_cells
    read = [[text[a:b] for a, b in of] for text, of in zip(columns["text"], spans, strict=True)]
    found = alignments(task, model, said, read, cell_BS)
    assert [len(one.read) for one in found] == [len(text.split()) for text in columns["text"]]
    assert all(one.weight_NM.max() <= 1.001 for one in found)
    assert drawn(found).width > 50
    assert (
        alignments(
            task, lambda *inputs: {"token_logits": model(*inputs)["token_logits"]}, said, read, cells_of_tokens(said["source"])
        )
        == []
    )


def test_smoothing_is_that_of_torch(told):
    task, _, data = told
    batch = task.encode({name: column[:5] for name, column in data.train.items()}, "train")
    output = {"token_logits": torch.randn(*batch["label"].shape, task.codec.size)}
    for chosen, smoothing in ((batch, 0.0), (task.augment(batch, torch.Generator()), task.label_smoothing)):
        want = torch.nn.functional.cross_entropy(
            output["token_logits"].transpose(1, 2), batch["label"], ignore_index=0, reduction="none", label_smoothing=smoothing
        ).sum(1)
        torch.testing.assert_close(task.loss(output, chosen)[0], want)


def test_what_is_too_long_is_told(told):
    from lamina.errors import LaminaError

    task, _, _ = told
    with pytest.raises(LaminaError, match="row 1, column 'text': expected at most 64 tokens"):
        task.encode({"text": ["big dog " * 60]}, "predict")


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=40))
def test_any_text_comes_back(text):
    """Whatever stands in a sentence comes back whole from its tokens, copied or cut."""
    text = text.encode(errors="replace").decode().strip()
    ids, spans = VOCABULARY.source(text), VOCABULARY.places(text)
    assert len(ids) == len(spans) and ids[-1] == EOS and all(0 < i < VOCABULARY.size for i in ids)
    target = VOCABULARY.target(text, text)
    assert DECODER.text(target[:-1], ids) == text
    told, pieces = DECODER.pieces_of(target[:-1], ids)
    assert told == text and len(pieces) == len(target)
    assert [p[0] for p in pieces] == [text[a:b] for _, a, b in pieces]


@settings(max_examples=100, deadline=None)
@given(text=st.text(alphabet="one two and-Иван😀\u0301.", max_size=30))
def test_pieces_tell_where_tokens_stand(text):
    reader = SentenceReader(PIECES, VOCABULARY.alphabet, (), 256)
    (pieces,) = reader.pieces({"text": [text]})
    assert len(pieces) == np.count_nonzero(reader.encode({"text": [text]})["source"])
    covered = {place for _, start, end in pieces for place in range(start, end)}
    lead = len(text) - len(text.lstrip())
    assert covered == set(range(lead, lead + len(text.strip())))


def test_stretches_that_are_unknown():
    known = frozenset("abcdefghijklmnopqrstuvwxyz .,")
    assert unknown_stretches("dear Иван Петров, hi", known) == [(5, 16)]
    assert unknown_stretches("all known.", known) == []
    assert unknown_stretches("a łodz b", known) == [(2, 6)]  # the rest of the word comes along
    assert unknown_stretches("a東京b", known) == [(1, 3)]  # but not where no spaces are written
    many = " x ".join("😀🎉👍🚀🌍🍕")
    assert len(VOCABULARY.stretches(many)) == COPIES


NAMED = Vocabulary(PIECES, VOCABULARY.alphabet + "xyz-.3", ("one", "two", "the"))


def test_words_that_are_not_familiar_are_marked_as_names():
    source = NAMED.source("the xy-3 one.")
    marker = NAMED.copy + COPIES + 1
    assert source.count(marker) == 1 and source[source.index(marker) + 1 : source.index(NAMED.copy + COPIES)] == NAMED.cut("xy-3")
    assert NAMED.target("xy-3 eins", "the xy-3 one.").count(marker) == 1
    assert marker not in NAMED.target("xy-34 eins", "the xy-3 one."), "a part of another word is no name"
    assert DECODER.text(NAMED.target("eins (xy-3) xy-3.", "the xy-3 one."), source) == "eins (xy-3) xy-3."
    many = " ".join(f"x{'y' * n}" for n in range(20))
    assert len(NAMED.stretches(many)) == NAMES and DECODER.text(NAMED.target(many, many), NAMED.source(many)) == many
    assert VOCABULARY.stretches(many) == [], "nothing is marked where no word is familiar"


def test_a_name_may_be_translated_and_an_unknown_word_may_not():
    source = NAMED.source("one zyx 😀")
    tokens = NAMED.cut(" eins")
    assert DECODER.text(DECODER.with_copies(tokens, source, None), source) == "eins 😀"


@settings(max_examples=100, deadline=None)
@given(text=st.text(alphabet="one two xyz-.3Иван😀\u0301", max_size=30))
def test_what_is_marked_comes_back(text):
    assert DECODER.text(NAMED.target(text, text), NAMED.source(text)) == DECODER.text(VOCABULARY.cut(f" {text.strip()}"), [])
    reader = SentenceReader(PIECES, NAMED.alphabet, NAMED.familiar, 256)
    (pieces,) = reader.pieces({"text": [text]})
    assert len(pieces) == np.count_nonzero(reader.encode({"text": [text]})["source"])


def test_rare_words_are_names_only_where_translations_keep_them():
    texts = ["a dog called Rex", "a dog called Fido", "a dog called Bello"]
    kept, lost = ["ein Hund namens Rex", "ein Hund, Fido", "Bello"], ["ein Hund", "Rexes Hund", "noch ein Hund"]
    assert familiar_words(texts, kept, 3) == ("a", "called", "dog")
    assert familiar_words(texts, lost, 3) == ()
    assert familiar_words(["a"] * 3, ["ein"] * 3, 3) == () == familiar_words([], [], 3)


def test_a_forgotten_copy_is_put_where_it_was_looked_at():
    source = VOCABULARY.source("one 😀 two")
    tokens = VOCABULARY.cut(" eins zwei")
    marker = source.index(VOCABULARY.copy)
    looks_TS = np.full((len(tokens) + 1, len(source)), 0.01)
    first = len(VOCABULARY.cut(" eins"))
    looks_TS[first - 1, marker] = 0.9
    assert DECODER.text(DECODER.with_copies(tokens, source, looks_TS), source) == "eins 😀 zwei"
    assert DECODER.text(DECODER.with_copies(tokens, source, None), source) == "eins zwei 😀"


def test_batches_hold_every_pair_once_and_go_on_where_they_stopped():
    def stream():
        return PairBatches(VOCABULARY, {"text": EN, "translation": DE}, lambda s, t: {"s": s, "t": t}, 16, 3, 200)  # type: ignore[dict-item]

    one = stream()
    rows: list[int] = []
    while one.epoch == 0 and one.position < len(EN):
        next(one)
        rows += one.rows.tolist()
    assert sorted(rows) == list(range(len(EN)))
    other = stream()
    other.load_state_dict(one.state_dict())
    for _ in range(3):
        assert next(one) == next(other)
    assert one.where() == other.where() and "epoch 2" in one.where()


def test_made_up_words_stand_on_both_sides():
    rng = np.random.default_rng(0)
    for _ in range(50):
        text, translation = with_unknown("the 17 dogs.", "die 17 Hunde.", frozenset(VOCABULARY.alphabet + "170.D"), rng)
        new = set(text) - set("the 17 dogs.")
        assert new and new <= set(translation)


@pytest.mark.parametrize("words", ["13a", "zh", "char"])
def test_figures_are_those_of_sacrebleu(words):
    from sacrebleu.metrics import BLEU, CHRF

    hypotheses, references = (
        ["das ist ein Haus", "", "der Hund , er bellt!", "我 是"],
        ["das ist ein altes Haus", "nichts", "der Hund bellt", "我是"],
    )
    found = scores(hypotheses, references, words)
    assert found["bleu"] == pytest.approx(BLEU(tokenize=words).corpus_score(hypotheses, [references]).score)
    assert found["chrf"] == pytest.approx(CHRF().corpus_score(hypotheses, [references]).score)
    assert f"tok:{words}" in signatures(words)["bleu"] and "nc:6" in signatures(words)["chrf"]


def test_a_dictionary_is_judged_by_the_orders_that_occur():
    """No sentence has four words: BLEU as it is defined would be 0 of a translation without a fault."""
    references = ["Haus", "Hund", "roter Hund", "Katze"]
    assert mostly_short(references, "13a")
    assert not mostly_short(["das ist ein altes Haus", "ein Hund bellt sie an", "Katze"], "13a")
    assert not mostly_short(["这是一个房子", "一只狗"], "zh") and mostly_short(["房子", "狗"], "zh")
    assert not mostly_short([], "13a")
    assert scores(references, references, "13a")["bleu"] == 0
    assert scores(references, references, "13a", short=True)["bleu"] == pytest.approx(100)
    assert scores(["Haus", "Hund", "roter Hund", "Maus"], references, "13a", short=True)["bleu"] == pytest.approx(
        100 * (4 / 5) ** 0.5  # one word of five is wrong, the only pair of words is right
    )
    assert "eff:yes" in signatures("13a", short=True)["bleu"] and "eff:no" in signatures("13a")["bleu"]


def test_how_a_language_is_cut_into_words():
    assert tokenization(["das ist ein Haus"]) == "13a"
    assert tokenization(["这是一个房子"]) == "zh"
    assert tokenization(["これは家です"]) == "char"


def test_numbers_in_words():
    assert english_number(342_021) == "three hundred and forty-two thousand and twenty-one"
    assert german_number(342_021) == "dreihundertzweiundvierzigtausendeinundzwanzig"
    assert (
        german_number(1) == "eins" and german_number(101) == "einhunderteins" and german_number(21_000) == "einundzwanzigtausend"
    )
    assert len(set(EN)) == len(set(DE)) == 300


def test_lstm_translates_too(told):
    task, _, data = told
    import dataclasses

    other = dataclasses.replace(task, network="lstm")
    model = other.model().eval()
    assert isinstance(forward_of(model, "float32", torch.device("cpu")), WritingForward)
    together = answers(other, model, data.test["text"][:3])
    alone = [answers(other, model, [text])[0] for text in data.test["text"][:3]]
    assert [a["text"] for a in together] == [a["text"] for a in alone]


def test_what_was_learned_is_kept(told, tmp_path):
    task, model, data = told
    task.save_processor(tmp_path)
    again = Translation(**task.hyperparameters()).load_processor(tmp_path)
    assert again == task
    assert answers(again, model, data.test["text"][:2]) == answers(task, model, data.test["text"][:2])


def test_a_sentence_that_clients_are_refused_is_no_example_of_an_explanation():
    from lamina.explain.examples import askable

    task = dataclasses.replace(Translation(), tokens=PIECES, alphabet=VOCABULARY.alphabet, context=8)
    columns = {"text": np.array(["one", "one " * 30, "two"], object)}
    kept, rows = askable(task, columns, np.array([7, 8, 9]))
    assert kept["text"].tolist() == ["one", "two"] and rows.tolist() == [7, 9]
    assert len(askable(task, {"text": columns["text"][1:2]}, np.array([8]))[1]) == 0
