"""The law of a learning curve: recovered where it is known, honest where it is not, right on real curves."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import curve_fit

from lamina.errors import LaminaError
from lamina.needs import law

SIZES = (31, 31, 31, 62, 62, 62, 125, 125, 125, 250, 250, 500, 500, 1000)


def power(n: np.ndarray | float, share: float, rate: float, level: float = 0.1, largest: int = 1000) -> np.ndarray:
    return level * (share + (1 - share) * (np.asarray(n) / largest) ** -rate)


def scattered(rng: np.random.Generator, share: float, rate: float, sigma: float) -> np.ndarray:
    sigma_T = sigma * (np.asarray(SIZES) / 1000) ** -law.CALMS
    return power(np.asarray(SIZES, float), share, rate) * np.exp(sigma_T * rng.standard_normal(len(SIZES)))


def covered(count: int, draw, factor: float) -> tuple[float, float]:
    """The share of synthetic curves whose error at `factor` times the largest size lies in the 90% interval; the mean width."""
    rng = np.random.default_rng(0)
    hits, widths = [], []
    for _ in range(count):
        share, rate, sigma = draw(rng)
        fitted = law.fit(SIZES, scattered(rng, share, rate, sigma))
        _, low, high = law.interval(fitted.measured(1000 * factor))
        truth = float(power(1000 * factor, share, rate)) * np.exp(sigma * rng.standard_normal())
        hits.append(low <= truth <= high)
        widths.append((high - low) / truth)
    return float(np.mean(hits)), float(np.mean(widths))


def from_prior(rng: np.random.Generator) -> tuple[float, float, float]:
    share = 0.0 if rng.random() < law.NO_FLOOR else rng.random()
    rate = law.RATE[0] * np.exp(law.RATE[1] * rng.standard_normal())
    return share, rate, law.SCATTER[0] * np.exp(0.5 * law.SCATTER[1] * rng.standard_normal())


def test_nine_of_ten_intervals_hold_the_truth_twice_as_far() -> None:
    share, width = covered(200, from_prior, 2)
    assert 0.83 <= share <= 0.97
    assert width < 0.5


def test_nine_of_ten_hold_it_ten_times_as_far() -> None:
    assert covered(150, from_prior, 10)[0] >= 0.85


@pytest.mark.parametrize(("share", "rate"), [(0.0, 0.3), (0.3, 0.5), (0.7, 0.5), (0.5, 1.0)])
def test_coverage_does_not_lean_on_the_prior(share: float, rate: float) -> None:
    assert covered(60, lambda rng: (share, rate, 0.03), 2)[0] >= 0.8


def test_a_clean_power_law_is_recovered_as_least_squares_recovers_it() -> None:
    n = np.array([50, 100, 200, 400, 800, 1600, 3200], float)
    e = 2.0 * n**-0.6 + 0.05
    (a, b, c), _ = curve_fit(lambda n, a, b, c: a * n**-b + c, n, e, p0=(1, 0.5, 0.01))
    fitted = law.fit(n, e)
    for factor in (2, 4):
        independent = a * (factor * 3200) ** -b + c
        middle, low, high = law.interval(fitted.expected(factor * 3200))
        assert middle == pytest.approx(independent, rel=0.04) and low <= independent <= high
    assert fitted.belief["power"] + fitted.belief["late"] > 0.8


def test_saturation_is_told_from_a_power_law() -> None:
    n = np.array([100, 200, 300, 400, 600, 800, 1000], float)
    fitted = law.fit(n, 0.2 + 0.3 * np.exp(-4 * n / 1000))
    _, low, high = law.interval(fitted.measured(2000))
    assert low <= 0.2 + 0.3 * np.exp(-8) <= high and fitted.belief["saturation"] > law.PRIOR["saturation"]


def test_a_flat_curve_promises_nothing() -> None:
    rng = np.random.default_rng(1)
    fitted = law.fit(SIZES, 0.3 * np.exp(0.01 * rng.standard_normal(len(SIZES))))
    _, _, gain = law.interval(1 - fitted.expected(4000) / fitted.expected(1000))
    assert gain < 0.05 and fitted.belief["flat"] > 0.5
    assert not np.isfinite(np.median(fitted.needed(0.2)))


def test_errors_never_fall_below_zero_nor_rise_with_data() -> None:
    fitted = law.fit(SIZES, scattered(np.random.default_rng(2), 0.2, 0.8, 0.05))
    at_S3 = np.stack([fitted.expected(n) for n in (1000, 4000, 10**9)], 1)
    assert (at_S3 >= 0).all() and (np.diff(at_S3, axis=1) <= 1e-12).all()


def test_what_is_needed_is_where_the_law_reaches_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(law, "DRIFT", 0.0)
    for errors in (scattered(np.random.default_rng(3), 0.1, 0.7, 0.02), 0.2 + 0.3 * np.exp(-4 * np.array(SIZES) / 1000)):
        fitted = law.fit(SIZES, errors)
        target = float(np.median(fitted.expected(1000)) + np.median(fitted.expected(2000))) / 2
        needed_S = fitted.needed(target)
        finite = np.isfinite(needed_S) & (needed_S > 0)
        assert finite.any()
        for row in np.flatnonzero(finite)[::500]:
            assert fitted.expected(needed_S[row])[row] == pytest.approx(target, rel=1e-6)
        unreachable = (fitted.level_S * fitted.share_S >= target) & (fitted.kind_S != 2)
        assert np.isinf(needed_S[unreachable]).all()


def test_a_target_already_reached_needs_nothing_more() -> None:
    fitted = law.fit(SIZES, scattered(np.random.default_rng(4), 0.1, 0.7, 0.02))
    assert (fitted.needed(0.5) <= 1000).all()


def test_a_noisy_point_counts_less() -> None:
    n = [100, 200, 400, 800]
    clean, bent = [0.4, 0.3, 0.22, 0.165], [0.4, 0.3, 0.22, 0.26]
    trusted = law.interval(law.fit(n, bent).expected(1600))[0]
    doubted = law.interval(law.fit(n, bent, [0.004, 0.004, 0.004, 0.15]).expected(1600))[0]
    plain = law.interval(law.fit(n, clean).expected(1600))[0]
    assert abs(doubted - plain) < abs(trusted - plain)


def test_more_scatter_widens_the_interval() -> None:
    widths = []
    for sigma in (0.01, 0.1):
        _, low, high = law.interval(law.fit(SIZES, scattered(np.random.default_rng(5), 0.2, 0.5, sigma)).measured(2000))
        widths.append(high - low)
    assert widths[1] > 2 * widths[0]


def test_trainings_on_few_examples_scatter_more_and_on_many_no_less() -> None:
    fitted = law.fit(SIZES, scattered(np.random.default_rng(5), 0.2, 0.5, 0.05))
    spread = {n: float(np.std(np.log(fitted.measured(n) / fitted.expected(n)))) for n in (62, 1000, 4000)}
    assert spread[62] == pytest.approx((1000 / 62) ** law.CALMS * spread[1000], rel=0.05) and spread[4000] >= spread[1000]


def test_the_same_numbers_give_the_same_law() -> None:
    errors = scattered(np.random.default_rng(6), 0.2, 0.5, 0.03)
    one, two = law.fit(SIZES, errors), law.fit(SIZES, errors)
    assert np.array_equal(one.measured(5000), two.measured(5000)) and np.array_equal(one.needed(0.08), two.needed(0.08))
    assert one.belief == two.belief and sum(one.belief.values()) == pytest.approx(1)


def test_a_curve_of_two_points_is_refused() -> None:
    with pytest.raises(LaminaError, match="at least 3 sizes of training set; got 2"):
        law.fit([100, 100, 200], [0.3, 0.31, 0.2])


@pytest.mark.parametrize("errors", [[0.3, 0.2, 0.0], [0.3, 0.2, float("nan")], [0.3, 0.2, -0.1]])
def test_errors_must_be_above_zero(errors: list[float]) -> None:
    with pytest.raises(LaminaError, match="above zero"):
        law.fit([100, 200, 400], errors)


def test_every_size_has_its_error() -> None:
    with pytest.raises(LaminaError, match="3 sizes and 2 errors"):
        law.fit([100, 200, 400], [0.3, 0.2])


def test_scale_of_errors_and_sizes_does_not_matter() -> None:
    errors = scattered(np.random.default_rng(7), 0.2, 0.5, 0.03)
    plain = law.interval(law.fit(SIZES, errors).measured(2000))
    scaled = law.interval(law.fit(1000 * np.asarray(SIZES), 50 * errors).measured(2_000_000))
    assert np.allclose(50 * np.asarray(plain), scaled)


def real_curves() -> dict[str, tuple[np.ndarray, np.ndarray, object, bool]]:
    """Ten real or well-known sets with a model that learns each in milliseconds: inputs, answers, model, whether numbers."""
    from sklearn import datasets
    from sklearn.linear_model import Ridge
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    digits, cancer, friedman = (
        datasets.load_digits(return_X_y=True),
        datasets.load_breast_cancer(return_X_y=True),
        datasets.make_friedman1(3000, noise=1, random_state=0),
    )
    blobs = datasets.make_classification(3000, 20, n_informative=10, n_classes=4, flip_y=0.05, random_state=0)
    hastie, moons = datasets.make_hastie_10_2(3000, random_state=0), datasets.make_moons(3000, noise=0.3, random_state=0)
    near = make_pipeline(StandardScaler(), KNeighborsClassifier(5))
    tree = DecisionTreeClassifier(random_state=0)
    return {
        "digits near": (*digits, near, False),
        "digits tree": (*digits, tree, False),
        "cancer bayes": (*cancer, GaussianNB(), False),
        "cancer near": (*cancer, near, False),
        "blobs near": (*blobs, near, False),
        "blobs bayes": (*blobs, GaussianNB(), False),
        "hastie tree": (*hastie, tree, False),
        "moons near": (*moons, near, False),
        "friedman ridge": (*friedman, Ridge(), True),
        "friedman tree": (*friedman, DecisionTreeRegressor(random_state=0, min_samples_leaf=5), True),
    }


def test_from_half_the_data_the_error_on_all_of_it_is_foretold() -> None:
    """The floor: in at least eight of ten sets the true error lies in the 90% interval, at most half the error wide on average."""
    hits, widths = {}, []
    for name, (X, y, model, numbers) in real_curves().items():
        order = np.random.default_rng(0).permutation(len(y))
        test, train = order[: len(y) // 3], order[len(y) // 3 :]

        def error(rows: np.ndarray, X=X, y=y, model=model, numbers=numbers, test=test) -> float:
            said = model.fit(X[rows], y[rows]).predict(X[test])
            return (
                float(np.sqrt(np.mean((said - y[test]) ** 2))) if numbers else (np.sum(said != y[test]) + 0.5) / (len(test) + 1)
            )

        sizes, errors = [], []
        for halvings, repeats in ((5, 3), (4, 3), (3, 3), (2, 2), (1, 2)):
            for repeat in range(repeats):
                rows = np.random.default_rng((repeat, 1)).permutation(train)[: len(train) // 2**halvings]
                sizes.append(len(rows))
                errors.append(error(rows))
        chance = [e / np.sqrt(2 * len(test)) if numbers else np.sqrt(e * (1 - e) / len(test)) for e in errors]
        _, low, high = law.interval(law.fit(sizes, errors, chance).measured(len(train)))
        truth = error(train)
        hits[name] = low <= truth <= high
        widths.append((high - low) / truth)
    assert sum(hits.values()) >= 8, hits
    assert np.mean(widths) <= 0.6, widths  # the sets of a few hundred rows are wide by what their test rows leave
    assert np.median(widths) <= 0.5, widths
