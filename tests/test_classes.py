"""One-of-K answers against scikit-learn's metrics, and the names of classes as properties."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as theirs

from lamina.decode.classes import Classes, auroc, class_tables, classification_metrics, confusion, rates, softmax
from lamina.errors import LaminaError

names = st.lists(st.text(min_size=1, max_size=6).filter(lambda s: "\0" not in s), min_size=2, max_size=6, unique=True)


@given(names, st.data())
@settings(max_examples=60, deadline=None)
def test_codes_invert_names_in_any_order(given_names, data):
    classes = Classes(tuple(given_names))
    codes = data.draw(st.lists(st.integers(0, len(given_names) - 1), max_size=20))
    assert classes.codes([given_names[c] for c in codes]).tolist() == codes


@pytest.mark.parametrize("label", ["cow", "", "Cat", "cat "])
def test_an_unknown_label_is_named_with_its_row(label):
    with pytest.raises(LaminaError, match=rf"label: row 1: expected one of the 2 classes \(cat, dog\); got '{label}'"):
        Classes(("cat", "dog")).codes(["dog", label])


@given(st.integers(2, 5), st.integers(1, 60), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_metrics_equal_scikit_learns(classes, count, seed):
    rng = np.random.default_rng(seed)
    true, said = rng.integers(0, classes, count), rng.integers(0, classes, count)
    p = softmax(rng.normal(size=(count, classes)))
    ours = classification_metrics(true, said, p)
    assert ours["accuracy"] == pytest.approx(theirs.accuracy_score(true, said))
    assert ours["macro_f1"] == pytest.approx(theirs.f1_score(true, said, average="macro"))
    assert ours["log_loss"] == pytest.approx(theirs.log_loss(true, p, labels=range(classes)))
    recall = [np.mean(said[true == k] == k) for k in np.unique(true)]
    assert ours["balanced_accuracy"] == pytest.approx(np.mean(recall))
    if classes == 2 and len(np.unique(true)) == 2:
        assert ours["auroc"] == pytest.approx(theirs.roc_auc_score(true, p[:, 1]))
    counts = confusion(true, said, classes)
    assert (counts == theirs.confusion_matrix(true, said, labels=range(classes))).all()
    precision, recall, f1, support = theirs.precision_recall_fscore_support(true, said, labels=range(classes), zero_division=0)
    assert all(np.allclose(a, b) for a, b in zip(rates(counts), (precision, recall, f1, support), strict=True))


def test_tied_scores_count_half():
    assert auroc(np.array([True, False, True, False]), np.array([0.5, 0.5, 0.5, 0.5])) == 0.5


def test_answers_are_json_and_their_probabilities_sum_to_one():
    answers = Classes(("a", "b", "c")).decode(np.array([[1.0, 5.0, -1.0], [1000.0, 0.0, -1000.0]], dtype=np.float32))
    assert [a["label"] for a in json.loads(json.dumps(answers))] == ["b", "a"]
    for answer in answers:
        assert answer["probability"] == max(answer["probabilities"].values())
        assert sum(answer["probabilities"].values()) == pytest.approx(1.0)


def test_tables_name_their_rows():
    tables = class_tables(("a", "b"), np.array([0, 0, 1]), np.array([0, 1, 1]))
    assert tables["per_class"][0] == {"class": "a", "precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2}
    assert tables["confusion"] == [{"class": "a", "a": 1, "b": 1}, {"class": "b", "a": 0, "b": 1}]
