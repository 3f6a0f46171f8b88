"""The benchmarks of language: their splits, baselines and comparisons on small invented texts. Neither speeds nor scores are tested."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks/ is no part of the installed package

from benchmarks import decoder_throughput, generation, harness, language_model, text_classification, translation
from benchmarks.peers import gpt, nano_gpt


def test_texts_are_read_from_lines_with_tabs_and_from_json(tmp_path):
    (tmp_path / "train.tsv").write_text("good\t1\nbad\tworse\t0\n\n")
    (tmp_path / "dev.tsv").write_text("so so\t1\n")
    with pytest.raises(SystemExit, match=r"test\.tsv"):
        text_classification.read(tmp_path)
    (tmp_path / "test.jsonl").write_text(json.dumps({"text": "a\nb", "label": 0}) + "\n")
    parts = text_classification.read(tmp_path)
    assert parts == {"train": (["good", "bad\tworse"], ["1", "0"]), "valid": (["so so"], ["1"]), "test": (["a\nb"], ["0"])}
    (tmp_path / "cut").mkdir()
    text_classification.write_parts(parts, tmp_path / "cut", 1)
    assert text_classification.read(tmp_path / "cut")["train"] == (["good"], ["1"])


def test_the_linear_baseline_learns_and_is_chosen_on_valid():
    texts = [f"{'fine' if i % 2 else 'poor'} thing number {i}" for i in range(60)]
    labels = ["yes" if i % 2 else "no" for i in range(60)]
    parts = {
        part: (texts[at], labels[at]) for part, at in (("train", slice(40)), ("valid", slice(40, 50)), ("test", slice(50, 60)))
    }
    found = text_classification.linear(parts, penalties=(1.0, 10.0), kinds=("words", "words 1-2 and characters 2-5"))
    assert found["accuracy"] == {"value": 1.0, "low": 1.0, "high": 1.0} and found["macro_f1"] == 1.0
    assert len(found["tried"]) == 4 and found["chosen"]["valid_accuracy"] == max(t["valid_accuracy"] for t in found["tried"])


def test_the_mean_over_seeds():
    each = [{"metrics": {"accuracy": {"value": v}}, "seconds": 10 * v} for v in (0.8, 0.9)]
    found = text_classification.over_seeds(each)
    assert found["mean"] == pytest.approx(0.85) and found["low"] < 0.8 and found["slowest_seconds"] == 9.0


SOURCES = ["the house", "the book", "a book", "the green house", "A green book"]
TARGETS = ["das Haus", "das Buch", "ein Buch", "das grüne Haus", "ein grünes Buch"]


def test_model_1_finds_which_word_is_which():
    """The example of Koehn's Statistical Machine Translation, section 4.2, and a little more."""
    found = translation.dictionary(SOURCES, TARGETS, steps=20)
    assert {word: found[word] for word in ("the", "house", "book", "a")} == {
        "the": "das",
        "house": "Haus",
        "book": "Buch",
        "a": "ein",
    }
    assert translation.word_by_word("The house, (unknown) Book!", found) == "das Haus, (unknown) Buch!"
    assert translation.word_by_word("", found) == ""


def test_scores_have_signatures_and_intervals():
    lines = ["das Haus ist ein grünes Haus", "das Buch ist ein grünes Buch", "ein Haus und noch ein Buch"]
    found = translation.judged(lines, lines, resamples=20)
    assert found["bleu"]["value"] == pytest.approx(100) and found["chrf"]["value"] == pytest.approx(100)
    assert (
        found["bleu"]["low"] == pytest.approx(100)
        and "tok:13a" in found["bleu"]["signature"]
        and "nc:6" in found["chrf"]["signature"]
    )


def test_parallel_files_must_agree(tmp_path):
    for part in ("train", "valid", "test"):
        for language in ("en", "de"):
            (tmp_path / f"{part}.{language}").write_text("one\ntwo\n")
    assert translation.read(tmp_path, ("en", "de"), cut=1)["test"] == (["one"], ["one"])
    (tmp_path / "test.de").write_text("eins\n")
    with pytest.raises(SystemExit, match="2 and 1"):
        translation.read(tmp_path, ("en", "de"))
    with pytest.raises(SystemExit, match=r"train\.fr"):
        translation.read(tmp_path, ("en", "fr"))


def test_nine_tenths_train_and_the_last_tenth_judges(tmp_path):
    text = "".join(chr(97 + i % 26) for i in range(101)) + "\r\n"
    train, valid = language_model.parted(text, tmp_path)
    assert len(train.read_text()) == 92 and train.read_bytes() + valid.read_bytes() == text.encode()


def test_bits_of_bytes_as_nats_of_characters():
    assert language_model.nats(2.0, "abcd") == pytest.approx(2 * math.log(2))
    assert language_model.nats(1.0, "éé") == pytest.approx(2 * math.log(2))  # two bytes each


def test_the_validation_loss_of_nano_gpt_counts_every_token_once():
    torch.manual_seed(0)
    model = gpt.GPT(7, 8, 1, 2, nano_gpt.CONTEXT)
    tokens_N = torch.randint(0, 7, (2 * nano_gpt.CONTEXT + 6,))
    total, count = 0.0, 0
    for start in range(0, len(tokens_N) - 1, nano_gpt.CONTEXT):
        row = tokens_N[start : start + nano_gpt.CONTEXT + 1]
        with torch.inference_mode():
            total += float(functional.cross_entropy(model(row[None, :-1])[0], row[1:], reduction="sum"))
        count += len(row) - 1
    assert count == len(tokens_N) - 1
    assert nano_gpt.judged(model, tokens_N) == pytest.approx(total / count, rel=1e-5)


def test_the_peer_sees_no_later_token_and_ties_its_last_layer():
    model = gpt.GPT(7, 8, 2, 2, 16).eval()
    tokens_BT = torch.randint(0, 7, (2, 9))
    changed_BT = tokens_BT.clone()
    changed_BT[:, 5:] = (changed_BT[:, 5:] + 1) % 7
    assert torch.equal(model(tokens_BT)[:, :5], model(changed_BT)[:, :5])
    assert model.head.weight is model.embed.weight
    x_BT, y_BT = gpt.windows(torch.arange(40), 5, 8)
    assert torch.equal(x_BT + 1, y_BT) and x_BT.shape == (5, 8)


def test_the_rate_of_nano_gpt_rises_and_falls():
    rates = [nano_gpt.rate_at(step / 2000, step) for step in range(2001)]
    assert max(rates) <= nano_gpt.RATE and rates[0] < 1e-4 and rates[-1] == pytest.approx(nano_gpt.LEAST)


def test_another_token_is_caught():
    same = [{"transformers": {"written": [1, 2, 3]}, "lamina": {"written": [1, 2, 3]}}]
    assert generation.check_alike(same) == 3
    assert generation.check_alike([{"transformers": {"written": [1]}}]) == 0
    for other in ([1, 2, 4], [1, 2]):
        with pytest.raises(harness.Failed, match="from token 2 of 3"):
            generation.check_alike([{**same[0], "lamina": {"written": other}}])


def test_contenders_have_modules_and_tokens_are_counted():
    for contenders, baseline in ((decoder_throughput.CONTENDERS, "plain"), (generation.CONTENDERS, "transformers")):
        names = [c.name for c in contenders]
        assert len(set(names)) == len(names) and baseline in names
        for contender in contenders:
            assert (harness.REPOSITORY / Path(*contender.module.split("."))).with_suffix(".py").is_file()
    results = [{"plain": {"tokens": 10, "seconds": 2.0}, "b": {"tokens": 30, "seconds": 2.0}}]
    figures = harness.summary(results, "plain", "tokens")
    assert figures["b"] == {"tokens_per_second": 15.0, "ratio": 3.0, "ratio_min": 3.0, "ratio_max": 3.0}
    assert harness.table(figures, {"plain": "p", "b": "b"}, {}, "tokens").startswith("| contender | tokens/s |")
