"""Which example goes into which part: data/splits.py."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.data.source import PARTS, Source
from lamina.data.splits import shares_for, sortable, split, split_columns
from lamina.errors import LaminaError

SHARES = {"test": 0.15, "valid": 0.12, "calibration": 0.08}
KINDS = ("content", "group", "time")


def content(number: int) -> bytes:
    return hashlib.blake2b(str(number).encode(), digest_size=16).digest()


def part_of(rows: dict[str, np.ndarray], count: int) -> np.ndarray:
    """The part of each row, after checking that every row has exactly one."""
    assert set(rows) == set(PARTS)
    joined = np.concatenate([rows[p] for p in PARTS])
    np.testing.assert_array_equal(np.sort(joined), np.arange(count))
    parts = np.empty(count, dtype="U11")
    for part, chosen in rows.items():
        assert bool((np.diff(chosen) > 0).all())
        parts[chosen] = part
    return parts


EXAMPLES = st.lists(st.tuples(st.integers(0, 30), st.sampled_from("abc"), st.integers(0, 8), st.integers(0, 50)), max_size=80)


@settings(max_examples=60, deadline=None)
@given(EXAMPLES, st.sampled_from(KINDS), st.integers(0, 3))
def test_parts_cover_all_rows_once_and_duplicates_never_straddle(rows: list, kind: str, seed: int) -> None:
    hashes = [content(c) for c, *_ in rows]
    labels = [label for _, label, *_ in rows]
    groups = [g for _, _, g, _ in rows] if kind == "group" else None
    times = [t for *_, t in rows] if kind == "time" else None
    parts = part_of(split(hashes, labels, groups, times, SHARES, seed), len(rows))
    for keys in (hashes, groups or []):
        for key in set(keys):
            assert len(set(parts[[i for i, k in enumerate(keys) if k == key]])) == 1
    if rows and kind != "group":
        assert "train" in parts
    if kind == "content":
        first_label = {h: min(label for k, label in zip(hashes, labels, strict=True) if k == h) for h in set(hashes)}
        for label in set(first_label.values()):  # a content under two labels counts with the first
            mine = [i for i, h in enumerate(hashes) if first_label[h] == label]
            assert "train" in parts[mine]


@settings(max_examples=30, deadline=None)
@given(st.integers(50, 400), st.integers(1, 5), st.integers(0, 5))
def test_adding_one_example_moves_few_others(count: int, classes: int, seed: int) -> None:
    labels = [str(i % classes) for i in range(count)]
    before = part_of(split([content(i) for i in range(count)], labels, None, None, SHARES, seed), count)
    hashes = [content(-1)] + [content(i) for i in range(count)]
    after = part_of(split(hashes, ["0", *labels], None, None, SHARES, seed), count + 1)[1:]
    assert (before != after).sum() <= 8
    others = np.asarray(labels) != "0"
    assert (before[others] == after[others]).all()


def test_order_does_not_matter_and_seeds_do() -> None:
    hashes = [content(i) for i in range(300)]
    parts = part_of(split(hashes, None, None, None, SHARES, 0), 300)
    turned = part_of(split(hashes[::-1], None, None, None, SHARES, 0), 300)[::-1]
    np.testing.assert_array_equal(parts, turned)
    other = part_of(split(hashes, None, None, None, SHARES, 1), 300)
    assert (parts != other).sum() > 50


def test_shares_are_kept_in_every_class() -> None:
    labels = np.repeat(["a", "b", "c"], [1000, 200, 40])
    rows = split([content(i) for i in range(1240)], labels, None, None, SHARES, 0)
    for part, share in SHARES.items():
        for name, size in (("a", 1000), ("b", 200), ("c", 40)):
            assert abs((labels[rows[part]] == name).sum() - share * size) <= 1


def test_many_tiny_classes_still_fill_every_part() -> None:
    labels = [str(i // 3) for i in range(300)]  # 100 classes of 3
    rows = split([content(i) for i in range(300)], labels, None, None, SHARES, 0)
    assert len({labels[i] for i in rows["train"]}) == 100
    for part, share in SHARES.items():
        assert abs(len(rows[part]) - 300 * share) < 20


def test_small_sets() -> None:
    for labels in (["a", "b"] * 3, ["a"] * 4):
        rows = split([content(i) for i in range(len(labels))], labels, None, None, SHARES, 0)
        assert {labels[i] for i in rows["train"]} == set(labels)
        assert len(rows["valid"]) >= 1 and len(rows["test"]) >= 1
    rows = split([content(0)], ["a"], None, None, SHARES, 0)
    assert len(rows["train"]) == 1
    assert all(len(r) == 0 for r in split([], [], None, None, SHARES, 0).values())


def test_no_share_no_examples() -> None:
    rows = split([content(i) for i in range(50)], None, None, None, {"test": 0.2, "calibration": 0.0}, 0)
    assert len(rows["valid"]) == len(rows["calibration"]) == 0 and len(rows["test"]) in (10, 11)


def test_one_content_that_is_most_of_the_set_stays_in_training() -> None:
    hashes = [content(0)] * 90 + [content(i) for i in range(1, 11)]
    rows = split(hashes, None, None, None, SHARES, 0)
    assert set(range(90)) <= set(rows["train"].tolist())


def test_groups_are_whole_and_stratified() -> None:
    groups = np.arange(1000) // 10
    labels = np.where(groups % 4 == 0, "rare", "common")
    rows = split([content(i) for i in range(1000)], labels, groups, None, SHARES, 0)
    for part, share in SHARES.items():
        assert abs(len(rows[part]) / 1000 - share) < 0.03
        assert abs((labels[rows[part]] == "rare").mean() - 0.25) < 0.15


def test_a_content_in_two_groups_joins_them() -> None:
    hashes = [content(i) for i in range(60)] + [content(0)]
    groups = [i // 2 for i in range(60)] + [29]  # groups 0 and 29 share a content
    parts = part_of(split(hashes, None, groups, None, SHARES, 0), 61)
    assert len(set(parts[[0, 1, 58, 59, 60]])) == 1


def test_a_few_groups_still_train() -> None:
    rows = split([content(i) for i in range(30)], None, ["a"] * 20 + ["b"] * 10, None, {"test": 0.2}, 0)
    assert len(rows["train"]) == 20 and len(rows["test"]) == 10
    assert len(split([content(0)], None, ["a"], None, {"test": 0.2}, 0)["train"]) == 1


def test_time_runs_from_train_to_test() -> None:
    times = np.random.default_rng(0).permutation(200)
    rows = split([content(i) for i in range(200)], None, None, times, SHARES, 0)
    for earlier, later in itertools.pairwise(PARTS):
        assert times[rows[earlier]].max() < times[rows[later]].min()
    assert [len(rows[p]) for p in PARTS] == [130, 24, 16, 30]


def test_what_stays_together_is_as_new_as_its_newest() -> None:
    hashes = [content(i) for i in range(100)] + [content(0)]  # the oldest row's content comes once more at the end
    rows = split(hashes, None, None, list(range(101)), SHARES, 0)
    assert {0, 100} <= set(rows["test"].tolist())


def test_times_are_numbers_or_dates() -> None:
    assert sortable(["9", "10", "8.5"]).tolist() == [9, 10, 8.5]
    assert sortable(["2024-01-31", "2023-12-01T10:00", "2024-02-01T00:00:00+02:00"]).argsort().tolist() == [1, 0, 2]
    assert sortable(np.array(["2024-01-02", "2024-01-01"], "datetime64[D]")).argsort().tolist() == [1, 0]
    for times, words in ((["2024-01-31", "31/01/2024"], "row 2"), ([1.0, np.nan], "row 2"), (["1", "nan"], "row 1")):
        with pytest.raises(LaminaError, match=words):
            sortable(times)
    with pytest.raises(LaminaError, match="row 2"):
        sortable(np.array(["2024-01-02", "NaT"], "datetime64[D]"))


@settings(deadline=None)
@given(st.integers(1, 10**7), st.sampled_from([("train",), ("train", "test"), ("train", "valid", "test")]))
def test_default_shares_leave_most_for_training(count: int, brought: tuple[str, ...]) -> None:
    shares = shares_for(count, Source(), brought)
    assert not set(shares) & set(brought) and set(shares) | set(brought) == set(PARTS)
    assert 0 < sum(shares.values()) <= 0.35 + 1e-9
    assert shares.get("valid", 0) * count <= 5000.001 and shares["calibration"] * count <= 4000.001


def test_shares_are_what_a_person_says() -> None:
    assert shares_for(100, Source(valid=0.3, test=0.2, calibration=0)) == {"test": 0.2, "valid": 0.3, "calibration": 0}
    assert "test" not in shares_for(100, Source(test=0.5), ("train", "test"))
    for source in (Source(valid=1.0), Source(test=-0.1), Source(valid=0.5, test=0.5)):
        with pytest.raises(LaminaError):
            shares_for(100, source)


def test_columns_of_any_content_become_data() -> None:
    columns = {"signal": [np.arange(n % 40) for n in range(120)], "tags": [["a"] * (n % 40) for n in range(120)]}
    data = split_columns(columns, Source(test=0.2))
    numbers = {part: {len(cell) for cell in cells["signal"]} for part, cells in data.parts().items()}
    assert sum(map(len, numbers.values())) == 40  # the three copies of each are in one part
    assert 15 < len(data.test["tags"]) < 33
    assert split_columns(columns, Source(test=0.2)).fingerprint == data.fingerprint != ""
    changed = {**columns, "signal": [*columns["signal"][:-1], np.zeros(3)]}
    assert split_columns(changed, Source(test=0.2)).fingerprint != data.fingerprint
    assert split_columns(columns, Source(test=0.2, split_seed=1)).fingerprint != data.fingerprint


def test_columns_that_cannot_be_split_are_named() -> None:
    with pytest.raises(LaminaError, match="expected at least one example"):
        split_columns({"x": []}, Source())
    with pytest.raises(LaminaError, match="expected a column 'patient'; found x"):
        split_columns({"x": [1, 2]}, Source(group="patient"))


def test_one_moment_is_in_one_part() -> None:
    times = np.repeat(np.arange(10), 30)
    rows = split([content(i) for i in range(300)], None, None, times, SHARES, 0)
    days = [set(times[rows[part]].tolist()) for part in PARTS]
    assert all(days) and sum(map(len, days)) == 10
