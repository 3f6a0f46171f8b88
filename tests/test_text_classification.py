"""Text classification: one label or several, weights, tokenizers kept in the run, batches by length, pretrained beginnings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score, hamming_loss

import lamina
from lamina.data.source import Source
from lamina.decode.labels import LabelAnswers, Labels, label_metrics, label_tables
from lamina.errors import LaminaError
from lamina.modalities.text import vocabulary_of
from lamina.models.bag import Bag
from lamina.models.word_vectors import start_from, width_of
from lamina.tasks.text_classification import TextClassification
from lamina.train.stream import SORTED, by_length, token_stream

WORDS = [f"word{i}" for i in range(20)]
SAYS = {"good": ["superb", "delightful"], "bad": ["dreadful", "tedious"]}


def planted(count: int = 240, seed: int = 0) -> tuple[list[str], list[str]]:
    """Words in any order around one that says the label."""
    rng = np.random.default_rng(seed)
    labels = ["good" if i % 2 else "bad" for i in range(count)]
    texts = []
    for label in labels:
        words = [str(w) for w in rng.choice(WORDS, rng.integers(3, 12))]
        words.insert(int(rng.integers(len(words) + 1)), str(rng.choice(SAYS[label])))
        texts.append(" ".join(words))
    return texts, labels


def prepared(data: Any = None, **fields: Any) -> tuple[TextClassification, Any]:
    task = TextClassification(**fields)
    read = task.read(Source(data=planted() if data is None else data))
    return task.prepare(read), read


def trained(out: Path, data: Any = None, **fields: Any) -> Any:
    settings = {
        "epochs": 6,
        "batch_size": 16,
        "evaluations": 2,
        "device": "cpu",
        "precision": "float32",
        "quiet": True,
        "tensorboard": False,
    }
    return lamina.train("text-classification", planted() if data is None else data, out=str(out), **{**settings, **fields})


def test_learns_the_words_that_say_it_and_keeps_its_tokenizer(tmp_path: Path) -> None:
    run = trained(tmp_path / "run")
    assert run.info["metrics"]["accuracy"]["value"] >= 0.95
    again = lamina.load(tmp_path / "run")
    assert json.loads((tmp_path / "run/processor/tokenizer.json").read_text(encoding="utf-8"))["model"]
    assert again.predict(["a Superb word3"])[0]["label"] == "good" and again.predict(["DREADFUL word1"])[0]["label"] == "bad"
    assert again.predict([{"text": "tedious"}])[0]["label"] == "bad"


def several(count: int = 240) -> tuple[list[str], list[list[str]]]:
    texts, labels = planted(count)
    cells = [
        [*([label] if i % 5 else []), *(["first"] if text.startswith("word") else [])]
        for i, (text, label) in enumerate(zip(texts, labels, strict=True))
    ]
    return [
        text if i % 5 else text.replace("superb", "x").replace("dreadful", "x").replace("delightful", "x").replace("tedious", "x")
        for i, text in enumerate(texts)
    ], cells


def test_several_labels_are_learned(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", several(), epochs=12, lr=5e-3)
    assert run.task.headline == ("micro_f1", "max") and run.info["metrics"]["micro_f1"]["value"] >= 0.85
    (answer,) = run.predict(["word1 superb"])
    assert "good" in answer["labels"] and set(answer["probabilities"]) == {"bad", "first", "good"}
    assert {row["label"] for row in run.evaluate(several(60), resamples=0).details["per_label"]} == {"bad", "first", "good"}


def test_figures_of_several_labels_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth_NK, p_NK = (rng.random((60, 4)) < 0.4).astype(np.float32), np.round(rng.random((60, 4)), 1)
    said_NK = p_NK >= 0.5
    got = label_metrics(truth_NK, p_NK, 0.5)
    assert got["micro_f1"] == pytest.approx(f1_score(truth_NK, said_NK, average="micro"))
    assert got["macro_f1"] == pytest.approx(f1_score(truth_NK, said_NK, average="macro"))
    assert got["hamming"] == pytest.approx(hamming_loss(truth_NK, said_NK))
    assert got["exact"] == pytest.approx(np.mean((truth_NK == said_NK).all(1)))
    assert got["mean_average_precision"] == pytest.approx(average_precision_score(truth_NK, p_NK, average="macro"))
    (row, *_) = label_tables(("a", "b", "c", "d"), truth_NK, p_NK, 0.5)["per_label"]
    assert row["f1"] == pytest.approx(f1_score(truth_NK[:, 0], said_NK[:, 0])) and row["support"] == truth_NK[:, 0].sum()
    assert label_metrics(np.zeros((3, 2)), np.zeros((3, 2)), 0.5)["micro_f1"] == 1.0


def test_answers_of_several_labels_name_the_likeliest_first() -> None:
    (answer,) = LabelAnswers(("a", "b", "c"), 0.5).answers(lambda _: {"scores": np.array([[0.1, 2.0, -3.0]])}, {})
    assert answer["labels"] == ["b", "a"] and answer["probabilities"]["b"] == pytest.approx(1 / (1 + np.exp(-2.0)))
    assert Labels(("a", "b")).hot([["b"], []]).tolist() == [[0, 1], [0, 0]]
    with pytest.raises(LaminaError, match="row 1: expected some of the 2 labels"):
        Labels(("a", "b")).hot([[], ["c"]])


def test_rare_classes_count_more_where_asked() -> None:
    texts, labels = planted()
    labels = ["good" if i % 10 == 0 else "bad" for i in range(len(labels))]
    task, data = prepared((texts, labels), class_weights="balanced", word_dropout=0.0)
    batch = task.augment(task.encode(data.train, "train"), torch.Generator())
    total = {name: float(batch["weight"][batch["label"][:, i] > 0.5].sum()) for i, name in enumerate(task.classes)}
    assert total["good"] == pytest.approx(total["bad"], rel=1e-4)


def test_long_texts_are_cut_and_that_is_said() -> None:
    texts, labels = planted()
    task, data = prepared((texts, labels), length=6)
    assert [f.code for f in data.findings if f.code == "cut-texts"] == ["cut-texts"] and task.sizes == {"T": (2, 6)}
    assert task.encode(data.train, "train")["tokens"].shape[1] == 6
    whole, data = prepared((texts, labels))
    assert not [f for f in data.findings if f.code == "cut-texts"] and whole.most % 8 == 0


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram", "characters", "bytes"])
def test_every_kind_of_tokenizer(kind: str) -> None:
    task, data = prepared(tokenizer=kind, vocabulary=300)
    batch = task.encode(data.train, "train")
    assert (
        int(batch["tokens"].max()) < task.size and float(task.loss(task.model()(batch["tokens"]), batch)[0].detach().mean()) < 2
    )


@pytest.mark.parametrize("flags, said", [
    ({"vocabulary": 1}, "--vocabulary: expected 8 to 1,000,000"),
    ({"word_dropout": 1.0}, "--word-dropout: expected a share"),
    ({"threshold": 1.0}, "--threshold: expected a probability"),
    ({"tokenizer": "letters"}, "--tokenizer: expected one of"),
    ({"model_name": "transformer", "width": 100, "heads": 8}, "--width: expected a multiple"),
    ({"vectors": "nowhere.txt"}, "--vectors: expected a file of vectors"),
])  # fmt: skip
def test_settings_that_make_no_sense_are_named(flags: dict[str, Any], said: str) -> None:
    with pytest.raises(LaminaError) as told:
        prepared(**flags)
    assert said in str(told.value)


@pytest.mark.parametrize("network", ["bag", "lstm", "transformer"])
def test_padding_on_either_side_changes_nothing(network: str) -> None:
    task, _ = prepared(model_name=network)
    model = task.model().eval()
    x_1T = torch.tensor([[2, 5, 6, 7, 3]])
    for padded in (torch.nn.functional.pad(x_1T, (0, 3)), torch.nn.functional.pad(x_1T, (3, 0))):
        for name, value in model(x_1T).items():
            torch.testing.assert_close(model(padded)[name], value, atol=1e-5, rtol=1e-4)
    assert isinstance(model.get_submodule(task.embed), torch.nn.Embedding)


def test_the_bag_is_the_mean_and_the_greatest_pair() -> None:
    torch.manual_seed(0)
    bag = Bag(9, 2, width=4).eval()
    e_TD = bag.embed.weight[[2, 5, 3]]
    following = torch.cat([e_TD[1:], torch.zeros(1, 4)])
    weight = bag.pair.weight
    pairs = torch.relu(e_TD @ weight[:, :, 0].T + following @ weight[:, :, 1].T + bag.pair.bias)
    expected = torch.cat([e_TD.mean(0), pairs.amax(0)])
    torch.testing.assert_close(bag(torch.tensor([[2, 5, 3, 0]]))["features"][0], expected)


# Batches by length.


def texts_of_lengths(count: int = 1000) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [np.full(int(n), i + 1) for i, n in enumerate(rng.integers(2, 80, count))]


def test_every_text_once_an_epoch_and_little_padding() -> None:
    ids = texts_of_lengths()
    stream = token_stream(ids, {"label": np.arange(1000)}, 32, seed=3)
    epochs = [[next(stream) for _ in range(1000 // 32)] for _ in range(2)]
    for batches in epochs:
        seen = torch.cat([b["label"] for b in batches]).tolist()
        assert len(set(seen)) == len(seen) == 992
        assert float(torch.cat([(b["tokens"] != 0).float().flatten() for b in batches]).mean()) > 0.8
        widths = [b["tokens"].shape[1] for b in batches]
        assert widths != sorted(widths) and all(w % 8 == 0 for w in widths)
    company = [{frozenset(b["label"].tolist()) for b in batches} for batches in epochs]
    assert not company[0] & company[1]


def test_a_resumed_stream_goes_on_to_the_bit() -> None:
    ids = texts_of_lengths(300)
    one = token_stream(ids, {"label": np.arange(300)}, 16, seed=1)
    for _ in range(25):
        next(one)
    other = token_stream(ids, {"label": np.arange(300)}, 16, seed=1)
    other.load_state_dict(json.loads(json.dumps(one.state_dict())))
    for _ in range(30):
        a, b = next(one), next(other)
        assert torch.equal(a["tokens"], b["tokens"]) and torch.equal(a["label"], b["label"]) and one.where() == other.where()


def test_what_fills_no_batch_comes_last_and_fewer_texts_than_a_batch_are_one() -> None:
    order = by_length(np.random.default_rng(0).permutation(70), np.arange(70), 32, np.random.default_rng(0))
    assert sorted(order.tolist()) == list(range(70)) and SORTED * 32 > 70
    assert abs(order[:32].mean() - order[32:64].mean()) > 20
    assert len(next(token_stream(texts_of_lengths(5), {"label": np.arange(5)}, 32, 0))["label"]) == 5


def test_a_killed_training_ends_in_the_same_bits(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", steps=12, epochs=None, checkpoint_steps=5)
    stopped = tmp_path / "stopped"
    with pytest.MonkeyPatch.context() as patch:
        calls = {"n": 0}
        loss = TextClassification.loss

        def stops(self: Any, output: Any, batch: Any) -> Any:
            calls["n"] += torch.is_grad_enabled()
            if calls["n"] > 8:
                raise KeyboardInterrupt
            return loss(self, output, batch)

        patch.setattr(TextClassification, "loss", stops)
        with pytest.raises(KeyboardInterrupt):
            trained(stopped, steps=12, epochs=None, checkpoint_steps=5)
    resumed = lamina.train("text-classification", planted(), resume=str(stopped))
    assert resumed.info["weights"] == whole.info["weights"]


# Pretrained beginnings.


def test_vectors_of_words_fill_their_rows(tmp_path: Path) -> None:
    file = tmp_path / "v.txt"
    file.write_text("2 3\nsuperb 1 2 3\nword1 -1 0 1\nnever 9 9 9\n", encoding="utf-8")
    assert width_of(str(file)) == 3
    embed = torch.nn.Embedding(6, 3)
    assert start_from(embed, str(file), {"<pad>": 0, "superb": 4, "word1": 5}, pad=0) == 2
    ratio = embed.weight[4] / torch.tensor([1.0, 2.0, 3.0])
    assert torch.allclose(ratio, ratio[0].expand(3)) and not embed.weight[0].any()
    file.write_text("superb 1 2 3\nword1 1 x 3\n", encoding="utf-8")
    with pytest.raises(LaminaError, match=r"v\.txt:2: expected 3 numbers after 'word1'"):
        start_from(embed, str(file), {"word1": 5}, pad=0)


def test_words_that_training_lacks_are_known_by_their_vectors(tmp_path: Path) -> None:
    file = tmp_path / "v.vec"
    file.write_text("5 2\nzebra 1 2\nZebra 3 4\ntwo-words 5 6\n5 7 8\nsuperb -1 -2\n", encoding="utf-8")
    task, data = prepared(vectors=str(file))
    names = vocabulary_of(task.tokens)
    assert "zebra" in names and "5" in names and not {"Zebra", "two-words"} & set(names)  # as the tokenizer reads words
    assert sorted(names.values()) == list(range(task.size))
    model = task.model()
    task.init(model, data)
    weight = model.get_submodule(task.embed).weight
    assert isinstance(weight, torch.Tensor)
    torch.testing.assert_close(weight[names["5"]] / weight[names["zebra"]], torch.tensor([7.0, 4.0]))
    assert task.encode({"text": ["Zebra"], "label": [task.classes[0]]}, "evaluate")["tokens"][0, 1] == names["zebra"]


def test_vectors_of_tokens_go_with_their_tokenizer(tmp_path: Path) -> None:
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "superb": 1, "word1": 2}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    vectors = torch.tensor([[5.0, 5.0], [1.0, 0.0], [0.0, 1.0]])
    save_file({"embedding.weight": vectors}, tmp_path / "v.safetensors")
    task, data = prepared(tokenizer=str(tmp_path / "tokenizer.json"), vectors=str(tmp_path / "v.safetensors"))
    (tokens,) = task.encode({task.asks[0]: ["superb word1 other"]}, "predict")["tokens"].tolist()
    assert task.pad == 3 and len(tokens) == 5 and 0 not in tokens
    model = task.model()
    task.init(model, data)
    weight = model.get_submodule(task.embed).weight
    assert torch.allclose(weight[tokens[1]] / weight[tokens[1]].norm(), vectors[1]) and not weight[0].any()
    assert torch.allclose(weight[tokens[3]] / weight[tokens[3]].norm(), vectors[0] / vectors[0].norm())
    slow = [group for group in task.groups(model, task.recipe(data)) if group.get("lr_scale") == 0.1]
    assert len(slow) == 1 and slow[0]["params"][0] is weight


def test_a_pretrained_encoder_is_fine_tuned_without_a_network(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = tmp_path / "bert"
    base, _ = prepared(tokenizer="wordpiece", vocabulary=200)
    config = transformers.BertConfig(
        vocab_size=base.size,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=40,
    )
    torch.manual_seed(0)
    encoder = transformers.BertModel(config, add_pooling_layer=False).eval()
    encoder.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(base.tokens, encoding="utf-8")
    task, data = prepared(pretrained=str(folder))
    assert task.network == "pretrained" and task.recipe(data).lr == 5e-5
    model = task.model().eval()
    task.init(model, data)
    x_BT = task.encode(data.train, "train")["tokens"][:3]
    with torch.no_grad():
        h_BTD = encoder(input_ids=x_BT, attention_mask=(x_BT != 0).long()).last_hidden_state
        inside = (x_BT != 0).unsqueeze(2)
        torch.testing.assert_close(model(x_BT)["features"], (h_BTD * inside).sum(1) / inside.sum(1), atol=1e-5, rtol=1e-4)
        moved = torch.nn.functional.pad(x_BT, (3, 0))
        torch.testing.assert_close(model(moved)["logits"], model(x_BT)["logits"], atol=1e-5, rtol=1e-4)
    assert isinstance(model.get_submodule(task.embed), torch.nn.Embedding)
    with torch.device("meta"):
        task.model()
    run = trained(tmp_path / "run", pretrained=str(folder), lr=3e-3, epochs=8)
    assert run.info["metrics"]["accuracy"]["value"] >= 0.9
    with pytest.raises(LaminaError, match="--pretrained: expected a folder or a model of the hub"):
        prepared(pretrained=str(tmp_path / "nowhere"))
