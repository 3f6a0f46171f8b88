"""Wrong labels, copies, memorization, subsets: planted faults are found, and nothing is found where nothing is."""

from __future__ import annotations

import numpy as np
import pytest

from lamina.needs import label_errors, leaks, subsets
from lamina.needs.memorization import memorization

RNG = np.random.default_rng


# Wrong labels.


def blobs(count: int, classes: int, seed: int, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 8) about a centre for each class, and their classes (N,)."""
    rng = RNG(seed)
    label_N = rng.integers(0, classes, count)
    centres = 3 * rng.standard_normal((classes, 8))
    return centres[label_N] + spread * rng.standard_normal((count, 8)), label_N


def flipped(label_N: np.ndarray, classes: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of which a share is another class, and where (N,)."""
    rng = RNG(seed)
    wrong_N = np.zeros(len(label_N), bool)
    wrong_N[rng.permutation(len(label_N))[: round(share * len(label_N))]] = True
    return np.where(wrong_N, (label_N + rng.integers(1, classes, len(label_N))) % classes, label_N), wrong_N


def recall(rank_N: np.ndarray, wrong_N: np.ndarray, share: float = 0.1) -> float:
    return float(wrong_N[rank_N[: round(share * len(rank_N))]].sum() / wrong_N.sum())


def joint_by_loops(label_N: np.ndarray, p_NK: np.ndarray) -> np.ndarray:
    """The confident joint as the paper writes it, example by example."""
    classes = p_NK.shape[1]
    threshold = [np.mean([p[k] for p, y in zip(p_NK, label_N, strict=True) if y == k]) for k in range(classes)]
    joint = np.zeros((classes, classes))
    for p, y in zip(p_NK, label_N, strict=True):
        sure = [k for k in range(classes) if p[k] >= threshold[k] - 1e-12]
        if sure:
            joint[y, max(sure, key=lambda k: p[k])] += 1
    return joint


def test_the_confident_joint_is_that_of_the_paper() -> None:
    rng = RNG(0)
    for classes in (2, 3, 7):
        p_NK = rng.dirichlet(np.ones(classes), 200)
        label_N = rng.integers(0, classes, 200)
        assert np.array_equal(label_errors.confident_joint(label_N, p_NK), joint_by_loops(label_N, p_NK))


def test_planted_wrong_labels_are_ranked_first_by_the_probe() -> None:
    x_ND, truth_N = blobs(1000, 5, seed=1)
    label_N, wrong_N = flipped(truth_N, 5, 0.05, seed=2)
    found = label_errors.rank(label_N, label_errors.probe(x_ND, label_N, 5))
    assert recall(found.rank_N, wrong_N) >= 0.8
    assert found.low <= 50 * 1.3 and found.high >= 50 * 0.7  # fifty were planted
    assert (found.suggested_N[wrong_N] == truth_N[wrong_N]).mean() > 0.9


def test_clean_labels_are_not_accused() -> None:
    x_ND, label_N = blobs(1000, 5, seed=1, spread=0.5)
    assert label_errors.rank(label_N, label_errors.probe(x_ND, label_N, 5)).count < 10


def test_a_class_that_no_example_has_is_never_confident() -> None:
    p_NK = np.array([[0.9, 0.05, 0.05], [0.1, 0.8, 0.1], [0.2, 0.1, 0.7]])
    joint_KK = label_errors.confident_joint(np.array([0, 1, 0]), p_NK)
    assert joint_KK[:, 2].sum() == 0 and label_errors.confident_errors(np.array([0, 1, 0]), p_NK) >= 0


def test_a_probe_copes_with_classes_smaller_than_its_folds() -> None:
    x_ND, label_N = blobs(60, 3, seed=3)
    label_N[:2] = 3
    probability_NK = label_errors.probe(x_ND, label_N, 4)
    assert np.isfinite(probability_NK).all() and np.allclose(probability_NK.sum(1), 1)


def test_a_probe_never_saw_what_it_judges() -> None:
    """Pure noise under random labels: a probe that saw them would be better than chance."""
    rng = RNG(4)
    x_ND, label_N = rng.standard_normal((400, 60)), rng.integers(0, 2, 400)
    assert (label_errors.probe(x_ND, label_N, 2, regularization=100).argmax(1) == label_N).mean() < 0.6


def test_left_out_takes_only_trainings_that_did_not_see_an_example() -> None:
    seen, unseen = np.array([[1.0, 0.0]] * 4), np.array([[0.2, 0.8]] * 4)
    mean_NK, known_N = label_errors.left_out([seen, unseen], [np.array([2, 3]), np.array([0, 1, 2])], 4)  # type: ignore[misc]
    assert np.allclose(mean_NK[[0, 1]], [[1.0, 0.0]] * 2) and np.allclose(mean_NK[3], [0.2, 0.8])
    assert known_N.tolist() == [True, True, False, True]
    assert label_errors.left_out([], [], 4) is None


# Copies.


def pictures(count: int, seed: int, side: int = 24) -> np.ndarray:
    """Smooth random pictures (N, 1, H, W)."""
    rng = RNG(seed)
    coarse = rng.integers(0, 256, (count, 1, 6, 6))
    return np.kron(coarse, np.ones((1, 1, side // 6, side // 6))).astype(np.uint8)


def hashes(x: np.ndarray) -> list[bytes]:
    return [row.tobytes() for row in x]


def test_planted_copies_of_pictures_are_found_exact_and_near() -> None:
    rng = RNG(5)
    train, test = pictures(300, 1), pictures(100, 2)
    test[:5] = train[10:15]
    test[5:10] = np.clip(train[20:25].astype(int) + rng.integers(-4, 5, train[20:25].shape), 0, 255)  # recompressed, say
    test[10] = train[30][:, :, ::-1]  # mirrored
    found = leaks.leaks(hashes(train), hashes(test), leaks.grids(train), leaks.grids(test), "image")
    assert found.share == pytest.approx(0.11)
    assert found.twin_M[:11].tolist() == [*range(10, 15), *range(20, 25), 30]
    assert found.exact_M.sum() == 5


def test_similar_pictures_of_one_kind_are_no_copies() -> None:
    """All of a collection lie close together: closeness alone is no leak."""
    rng = RNG(6)
    shirt = pictures(1, 3)[0].astype(int)
    train, test = (np.clip(shirt + rng.integers(-6, 7, (n, *shirt.shape)), 0, 255).astype(np.uint8) for n in (200, 80))
    found = leaks.leaks(hashes(train), hashes(test), leaks.grids(train), leaks.grids(test), "image")
    assert found.share == 0


def test_flat_pictures_are_compared_by_content_alone() -> None:
    train, test = np.full((3, 1, 8, 8), 7, np.uint8), np.full((2, 1, 8, 8), 9, np.uint8)
    found = leaks.leaks(hashes(train), hashes(test), leaks.grids(train), leaks.grids(test), "image")
    assert found.share == 0 and np.isfinite(leaks.grids(train)).all()


def test_planted_copies_of_rows_are_found() -> None:
    rng = RNG(7)
    train, test = rng.standard_normal((500, 6)).astype(np.float32), rng.standard_normal((100, 6)).astype(np.float32)
    train[:, 5], test[:, 5] = rng.integers(0, 3, 500), rng.integers(0, 3, 100)
    test[:4] = train[40:44]
    test[4:10] = train[50:56] + np.float32(1e-5)
    test[10] = train[60]
    test[10, 5] = (train[60, 5] + 1) % 3  # another category is another row
    found = leaks.leaks(hashes(train), hashes(test), train, test, "table")
    assert found.twin_M[:10].tolist() == [*range(40, 44), *range(50, 56)]
    assert found.twin_M[10] == -1 and found.share == pytest.approx(0.1)


def test_missing_cells_are_equal_to_missing_cells_only() -> None:
    train = np.array([[1.0, np.nan], [2.0, 3.0], [5.0, 1.0]], np.float32)
    test = np.array([[1.0, np.nan], [2.0, np.nan]], np.float32)
    assert leaks.near_rows(train, test).tolist() == [0, -1]


def test_no_judged_example_no_leak() -> None:
    assert leaks.leaks([b"a"], []).share == 0
    found = leaks.leaks([b"a", b"b", b"a"], [b"a", b"c"])
    assert found.twin_M.tolist() == [0, -1] and found.exact_M.tolist() == [True, False]


# Memorization.


def test_examples_known_by_heart_are_told_from_the_others() -> None:
    rng = RNG(8)
    count, trainings = 400, 40
    by_heart = np.zeros(count, bool)
    by_heart[:40] = True
    inside = np.stack([rng.permutation(count) < count // 2 for _ in range(trainings)])
    right = np.where(by_heart, inside, rng.random((trainings, count)) < 0.9)
    found = memorization(right.astype(float), inside, np.full(trainings, count // 2))
    assert found is not None
    assert found.low <= 0.1 <= found.high and found.mean == pytest.approx(0.1, abs=0.02)
    assert found.score_N[by_heart].min() > 0.9 and np.abs(found.score_N[~by_heart]).max() < 0.6
    assert (np.abs(found.score_N[~by_heart]) < 3 * found.error_N[~by_heart]).mean() > 0.98


def test_the_size_of_a_training_set_is_not_memorization() -> None:
    """Larger trainings are right more often, and hold more: pooled over sizes, that alone would look like memorization."""
    rng = RNG(9)
    count = 300
    sizes = np.repeat([75, 150], 20)
    inside = np.stack([rng.permutation(count) < size for size in sizes])
    right = rng.random((40, count)) < np.where(sizes == 75, 0.5, 0.95)[:, None]
    found = memorization(right.astype(float), inside, sizes)
    assert found is not None and abs(found.mean) < 0.02 and found.low <= 0 <= found.high


def test_one_training_says_nothing_of_memorization() -> None:
    assert memorization(np.ones((1, 10)), np.ones((1, 10), bool), np.array([10])) is None
    assert memorization(np.ones((2, 10)), np.ones((2, 10), bool), np.array([10, 10])) is None


# Subsets.


def contents(count: int) -> list[bytes]:
    return [f"example {i}".encode() for i in range(count)]


def test_subsets_are_nested_and_hold_classes_in_proportion() -> None:
    label_N = np.repeat([0, 1, 2], [600, 300, 100])
    order = subsets.order(contents(1000), label_N, 0, seed=0)
    assert sorted(order.tolist()) == list(range(1000))
    for size in (20, 100, 500):
        counts = np.bincount(label_N[order[:size]], minlength=3)
        assert np.abs(counts - size * np.array([0.6, 0.3, 0.1])).max() <= 1


def test_a_pair_of_repeats_halves_the_examples() -> None:
    label_N = np.repeat([0, 1], [50, 50])
    one, two = (set(subsets.order(contents(100), label_N, r, seed=0)[:50].tolist()) for r in (0, 1))
    assert not one & two and len(one | two) == 100
    assert one != set(subsets.order(contents(100), label_N, 2, seed=0)[:50].tolist())


def test_the_order_of_a_file_does_not_decide_a_subset() -> None:
    names, label_N = contents(60), np.arange(60) % 3
    mixed = RNG(1).permutation(60)
    plain = {names[i] for i in subsets.order(names, label_N, 0, 0)[:20]}
    again = subsets.order([names[i] for i in mixed], label_N[mixed], 0, 0)[:20]
    assert plain == {names[mixed[i]] for i in again}


def test_sizes_halve_down_to_the_least() -> None:
    assert subsets.sizes(1000, 4, 16) == [125, 250, 500, 1000]
    assert subsets.sizes(100, 6, 40) == [50, 100]
    assert subsets.sizes(10, 6, 16) == []
    assert [subsets.repeats_of(s, 1000, 3) for s in (125, 250, 500, 1000)] == [3, 2, 2, 1]
    assert subsets.least_size(np.arange(10)) == 40 and subsets.least_size(None) == 16
