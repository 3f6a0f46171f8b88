"""Runs that differ in the seed alone: which are taken together, what they say, how often their interval holds the truth, the curves."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lamina.cli import main
from lamina.compare import compare, print_comparison
from lamina.compare.contenders import common, grouped
from lamina.compare.curves import at_last, band, curve_of, together
from lamina.compare.over_runs import (
    Contender,
    bounds,
    contests_of,
    drawn_again,
    iqm,
    least_p_value,
    mann_whitney,
    probability_of_improvement,
)
from lamina.errors import LaminaError
from lamina.terminal import jsonable
from tiny_task import TinyRun, data_of, noisy

floats = st.floats(-1e6, 1e6, allow_subnormal=False)


@settings(deadline=None)
@given(st.lists(floats, min_size=1, max_size=30))
def test_iqm_is_the_trimmed_mean_of_scipy(values: list[float]) -> None:
    value_N = np.array(values)
    assert iqm(value_N) == pytest.approx(stats.trim_mean(value_N, 0.25), rel=1e-9, abs=1e-6)
    assert iqm(np.stack([value_N, value_N + 1])).shape == (2,)


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.lists(st.integers(0, 5), min_size=1, max_size=8))
def test_probability_of_improvement_is_the_statistic_of_mann_and_whitney(x: list[int], y: list[int]) -> None:
    x_N, y_M = np.array(x, float), np.array(y, float)
    found = probability_of_improvement(x_N, y_M)
    assert found == pytest.approx(stats.mannwhitneyu(x_N, y_M).statistic / (len(x) * len(y)))
    assert found + probability_of_improvement(y_M, x_N) == pytest.approx(1)
    drawn = probability_of_improvement(np.stack([x_N, x_N]), np.stack([y_M, y_M]))
    assert drawn.tolist() == pytest.approx([float(found)] * 2)


@pytest.mark.parametrize("sizes", [(1, 3), (3, 3), (5, 5), (4, 9), (12, 15)])
def test_mann_whitney_is_scipys_exact_test(sizes: tuple[int, int]) -> None:
    rng = np.random.default_rng(sizes)
    for shift in (0.0, 1.0):
        x_N, y_M = rng.normal(shift, 1, sizes[0]), rng.normal(0, 1, sizes[1])
        wanted = stats.mannwhitneyu(x_N, y_M, method="exact").pvalue
        assert mann_whitney(x_N, y_M) == pytest.approx(wanted, rel=1e-9 if sum(sizes) < 16 else 0.15)


def test_with_ties_the_test_stays_exact() -> None:
    """All runs of one reach the same best score: the normal approximation would call three against three significant."""
    x_N, y_M = np.full(3, 500.0), np.full(3, 20.0)
    assert stats.mannwhitneyu(x_N, y_M, method="asymptotic").pvalue < 0.05
    assert mann_whitney(x_N, y_M) == pytest.approx(0.1) == least_p_value(3, 3)
    assert mann_whitney(x_N, x_N) == 1.0


def test_how_often_the_interval_holds_the_truth() -> None:
    """The shares that `FEW_RUNS` tells; a standard error of 1,000 trials is about 0.01."""
    rng = np.random.default_rng(0)
    held = {}
    for runs in (3, 4, 5, 10):
        hits = 0
        for trial in range(1000):
            value_N = rng.normal(0, 1, runs)
            low, high = bounds(iqm(value_N[drawn_again(runs, 500, trial, 0)]), 0.95)
            hits += low <= 0 <= high
        held[runs] = hits / 1000
    for runs, wanted in {3: 0.74, 4: 0.86, 5: 0.89, 10: 0.94}.items():
        assert held[runs] == pytest.approx(wanted, abs=0.035), held


def contender(name: str, *values: float) -> Contender:
    named = {f"{name}{i}": value for i, value in enumerate(values)}
    value_N = np.array(values)
    mean, middle = float(value_N.mean()), float(iqm(value_N))
    return Contender(name, len(values), "return", named, dict.fromkeys(named), mean, middle, None, None, {}, "")


def test_without_a_difference_few_contests_are_called_significant() -> None:
    called = 0
    for trial in range(300):
        rng = np.random.default_rng(trial)
        a, b = contender("a", *rng.normal(0, 1, 5)), contender("b", *rng.normal(0, 1, 5))
        called += "more than chance" in contests_of([a, b], "max", False, 50, 0.95, trial)[0].verdict
    assert 0 < called <= 23  # 9 expected of an exact test of 5 and 5; above 23 has a probability below 0.0001


def test_a_better_contender_is_told_from_its_side_whichever_way_is_better() -> None:
    good, bad = contender("good", 9, 10, 11, 12, 13), contender("bad", 1, 2, 3, 4, 5)
    (most,) = contests_of([bad, good], "max", False, 500, 0.95, 0)
    assert most.verdict.startswith("good is better than bad by 8 in the IQM of return (95% interval ")
    assert most.probability_of_improvement == 0 and most.difference == -8 and "improvement 1.00" in most.verdict
    assert most.low is not None and most.high is not None and most.low <= -8 <= most.high < 0
    (least,) = contests_of([bad, good], "min", False, 500, 0.95, 0)
    assert least.verdict.startswith("bad is better than good by 8 in") and least.probability_of_improvement == 1
    (same,) = contests_of([contender("a", 1, 1), contender("b", 1, 1, 1)], "max", False, 500, 0.95, 0)
    assert same.verdict == "no difference between a and b in return" and same.low is None


def test_three_runs_against_three_can_show_nothing_and_say_so() -> None:
    (made,) = contests_of([contender("a", 7, 8, 9), contender("b", 1, 2, 3)], "max", False, 500, 0.95, 0)
    assert made.verdict.startswith(
        "no significant difference between a and b: 6 in the IQM of return in favour of a (95% interval "
    )
    assert made.verdict.endswith("3 and 3 runs cannot show one: p would be 0.1 at least")
    (two,) = contests_of([contender("a", 7, 8), contender("b", 1, 2, 3)], "max", False, 500, 0.95, 0)
    assert "too few runs for an interval" in two.verdict and two.low is two.probability_high is None


BASE = {"hyperparameters": {"width": 64}, "recipe": {"lr": 0.1, "batch_size": 32}, "arguments": {"recipe": {}, "options": {}}}


def seeded(name: str, seed: int | None, folder: Path | None = None, share: float = 0.1, **info: Any) -> TinyRun:
    """A run that says what it was made with; each seed errs on other examples."""
    run = TinyRun((folder or Path("runs")) / name, data=data_of(300), forward=noisy(seed or 0, share))
    run.info |= {**BASE, **info} | ({} if seed is None else {"seed": seed})
    return run


def names(*runs: TinyRun) -> list[tuple[str, list[str]]]:
    return [(group.name, list(group.runs)) for group in grouped({run.folder.name: run for run in runs})]


def test_only_the_seed_may_differ() -> None:
    base = seeded("a0", 0)
    assert names(base, seeded("a1", 1), seeded("a2", 2)) == [("a", ["a0", "a1", "a2"])]
    others: list[dict[str, Any]] = [
        {"hyperparameters": {"width": 32}},
        {"hyperparameters": {"width": 64, "depth": 2}},
        {"recipe": {"lr": 0.2, "batch_size": 32}},
        {"task": "other"},
        {"precision": "bfloat16"},
        {"data": {"fingerprint": "another"}},
        {"source": {"split_seed": 1}},
        {"parent": {"run": "runs/b", "weights": "c"}},
        {"surgeries": [{"kind": "lora"}]},
        {"versions": {"lamina": "9.9"}},
        {"arguments": {"recipe": {}, "options": {"init": "runs/b"}}},
    ]
    for info in others:
        assert [members for _, members in names(base, seeded("a1", 1, **info))] == [["a0"], ["a1"]], info
    assert len(names(base, seeded("a1", None), seeded("a2", None))) == 3, "a run that tells no seed stays alone"
    same = {"device": "cuda", "threads": 8, "seconds": 3.0, "source": {**base.info["source"], "data": "moved"}}
    assert len(names(base, seeded("a1", 1, **same))) == 1


def test_what_auto_found_for_each_seed_is_no_setting() -> None:
    asked = {"arguments": {"recipe": {"lr": "auto"}, "options": {}}}
    found = [seeded(f"a{seed}", seed, **asked, recipe={"lr": lr, "batch_size": 32}) for seed, lr in enumerate((0.1, 0.13))]
    assert len(names(*found)) == 1
    assert len(names(*found, seeded("b", 2))) == 2, "0.1 by hand is another setting"
    timed = {"arguments": {"recipe": {"minutes": 1.0}, "options": {}}}
    assert len(names(*[seeded(f"a{s}", s, **timed, recipe={"minutes": 1.0, "evaluations": 5 + s}) for s in (0, 1)])) == 1


def test_a_seed_that_stands_twice() -> None:
    assert len(names(seeded("a0", 0), seeded("copy", 0))) == 2, "a run and its copy are compared as ever"
    with pytest.raises(LaminaError, match="differ in their seeds; a0 and copy share seed 0: leave one out"):
        names(seeded("a0", 0), seeded("a1", 1), seeded("copy", 0))


def test_contenders_have_short_names_and_say_where_they_differ() -> None:
    one = [seeded(f"ppo-0{i + 1}", i) for i in range(3)]
    two = [seeded(f"ppo-0{i + 4}", i, hyperparameters={"width": 32}) for i in range(3)]
    assert [name for name, _ in names(*one, *two)] == ["ppo-01 and 2 more", "ppo-04 and 2 more"]
    assert [group.differs for group in grouped({run.folder.name: run for run in [*one, *two]})] == ["width 64", "width 32"]
    assert common(["pong-seed0", "pong-seed1"]) == "pong" and common(["x1", "x10"]) == "x" and common(["a", "b"]) == ""
    assert common(["lr0.1-s3", "lr0.1-s4"]) == "lr0.1" and common(["w64a", "w64b"]) == "w64"


def test_runs_of_two_contenders_end_to_end(capsys: pytest.CaptureFixture[str]) -> None:
    """Every run is listed; what five seeds each say is told with intervals; pairs of single models stay."""
    good = [seeded(f"good-{s}", s, share=0.02) for s in range(5)]
    bad = [seeded(f"bad-{s}", s + 10, share=0.3, hyperparameters={"width": 2}) for s in range(5)]
    made = compare([*good, *bad], resamples=200)
    a, b = made.contenders
    values = [made.evaluations[f"good-{s}"].metrics["accuracy"]["value"] for s in range(5)]
    assert list(a.values.values()) == values and a.seeds == {f"good-{s}": s for s in range(5)}
    assert a.mean == pytest.approx(np.mean(values)) and a.iqm == pytest.approx(stats.trim_mean(values, 0.25))  # type: ignore[arg-type]
    assert a.low is not None and a.high is not None and a.low <= a.iqm <= a.high
    (contest,) = made.contests
    assert contest.difference == pytest.approx(a.iqm - b.iqm) and contest.probability_of_improvement == 1
    assert contest.p_value == pytest.approx(2 / 252) and contest.verdict.endswith("more than chance")
    assert len(made.pairs) == 45
    print_comparison(made)
    shown = capsys.readouterr().out
    assert all(f"{name} " in shown for name in made.evaluations) and contest.verdict in shown and "McNemar" not in shown
    assert "good: width 64" in shown and max(map(len, shown.replace(contest.verdict, "").splitlines())) <= 80
    read = json.loads(json.dumps(jsonable(made.as_json())))
    assert read["contenders"][0]["iqm"] == a.iqm and read["contests"][0]["p_value"] == contest.p_value
    again = compare([*good, *bad], resamples=200)
    assert (again.contenders, again.contests) == (made.contenders, made.contests), "the same draws each time"


def test_one_contender_alone_and_one_of_two_runs(capsys: pytest.CaptureFixture[str]) -> None:
    made = compare([seeded("a0", 0), seeded("a1", 1)], resamples=50)
    print_comparison(made)
    shown = capsys.readouterr().out
    assert "too few runs" in shown and made.contests == () and "more than chance" not in shown
    assert (made.contenders[0].low, made.contenders[0].runs) == (None, 2)
    three = compare([seeded(f"a{s}", s) for s in range(3)], resamples=50)
    print_comparison(three)
    assert "an interval of 3 runs is too narrow" in capsys.readouterr().out
    same = compare([seeded(f"a{s}", s, share=0.0) for s in range(3)], resamples=50)
    assert same.contenders[0].low == same.contenders[0].high == same.contenders[0].iqm, "all equal: no spread, and no fault"


def test_single_runs_beside_a_contender_keep_their_own_test(capsys: pytest.CaptureFixture[str]) -> None:
    runs = [seeded("a0", 0), seeded("a1", 1), seeded("b", 0, lr=1, task="b"), seeded("c", 0, task="c", share=0.4)]
    made = compare(runs, resamples=100)
    print_comparison(made)
    shown = capsys.readouterr().out
    assert next(p.verdict for p in made.pairs if (p.a, p.b) == ("b", "c")) in shown
    assert next(p.verdict for p in made.pairs if (p.a, p.b) == ("a0", "a1")) not in shown and len(made.contests) == 3


def test_runs_that_differ_are_told_as_ever(capsys: pytest.CaptureFixture[str]) -> None:
    made = compare([seeded("a", 0), seeded("b", 1, task="other")], resamples=50)
    assert made.contenders == made.contests == () and set(made.as_json()) == {"runs", "pairs", "part", "count"}
    print_comparison(made)
    assert "IQM" not in capsys.readouterr().out


def test_a_run_that_was_interrupted_is_told_before_others_are_asked(tmp_path: Path) -> None:
    def asked(*inputs: Any) -> Any:
        raise AssertionError("nothing is evaluated")

    first = seeded("a0", 0, tmp_path)
    first.given = asked
    with pytest.raises(LaminaError, match=r"a1: its training has not finished \(interrupted\); go on with --resume"):
        compare([first, seeded("a1", 1, tmp_path, status="interrupted")])


def logged(folder: Path, seed: int, played: int = 0, evaluations: int = 5, level: float = 1.0, **info: Any) -> TinyRun:
    """A run with a log: accuracy rises with each evaluation; with `played`, so many timesteps an optimizer step."""
    run = seeded(folder.name, seed, folder.parent, **info)
    folder.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    for step in range(10, 10 * evaluations + 1, 10):
        rows.append({"step": step, "part": "train", "loss": 1.0, **({"timesteps": played * step} if played else {})})
        rows.append({"step": step, "part": "valid", "loss": 1.0, "accuracy": level * step / (10 * evaluations) + 0.01 * seed})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run


def test_curves_are_read_at_the_steps_that_were_played(tmp_path: Path) -> None:
    plain, agent = (curve_of(logged(tmp_path / name, 0, n), name, "accuracy") for name, n in (("plain", 0), ("agent", 100)))
    assert plain.played_E is None and plain.step_E.tolist() == [10, 20, 30, 40, 50]
    assert agent.played_E is not None and agent.played_E.tolist() == [1000, 2000, 3000, 4000, 5000]
    x_E, value_E = at_last(np.array([5.0, 5.0, 9.0]), np.array([1.0, 2.0, 3.0]))
    assert x_E.tolist() == [5, 9] and value_E.tolist() == [2, 3]


def test_runs_evaluated_at_other_places_meet_where_all_have_been() -> None:
    one, two = (np.array([0.0, 10, 20]), np.array([0.0, 1, 2])), (np.array([5.0, 15]), np.array([1.0, 3]))
    x_E, values_NE = together([one, two])
    assert x_E.tolist() == [5, 10, 15] and values_NE.tolist() == [[0.5, 1, 1.5], [1, 2, 3]]
    nothing, _ = together([one, (np.array([30.0]), np.array([1.0]))])
    assert len(nothing) == 0
    low_E, high_E = band(values_NE, 200, 0.95, 0)
    assert (low_E <= iqm(values_NE.T)).all() and (iqm(values_NE.T) <= high_E).all()
    assert [len(end) for end in band(np.empty((3, 0)), 10, 0.95, 0)] == [0, 0]


def test_the_picture_has_a_line_a_contender_and_says_what_its_axes_are(tmp_path: Path) -> None:
    one = [logged(tmp_path / f"one-{s}", s, 100) for s in range(4)]
    two = [logged(tmp_path / f"two-{s}", s, 100, level=0.5, hyperparameters={"width": 2}) for s in range(2)]
    three = logged(tmp_path / "three", 0, 100, task="three")
    made = compare([*one, *two, three], resamples=50, curves=tmp_path / "drawn" / "curves.svg")
    drawn = (tmp_path / "drawn" / "curves.svg").read_text()
    assert made.as_json()["curves"] == tmp_path / "drawn" / "curves.svg"
    for words in (
        "environment steps (timesteps)",
        "accuracy on validation",
        "IQM of 4 runs",
        "mean of 2 runs",
        "three",
        "one run",
    ):
        assert words in drawn, words
    assert drawn.count("PolyCollection") == 1, "a band of four runs, none of two or one"
    plain = [logged(tmp_path / "p0", 0), logged(tmp_path / "p1", 1, evaluations=1)]
    compare(plain, resamples=50, curves=tmp_path / "plain.png")
    assert (tmp_path / "plain.png").stat().st_size > 5000


def test_what_cannot_be_drawn_is_told_in_a_line(tmp_path: Path) -> None:
    good, bare = logged(tmp_path / "a0", 0), seeded("a1", 1, tmp_path)
    with pytest.raises(LaminaError, match=r"expected a file that ends in .png or .svg; got 'curves'"):
        compare([good, bare], curves="curves")
    with pytest.raises(LaminaError, match=r"expected metrics.jsonl, the log of a training, in .*a1; there is none"):
        compare([good, bare], curves=tmp_path / "c.png")
    bare.folder.mkdir()
    log = bare.folder / "metrics.jsonl"
    log.write_text('{"step": 1, "part": "train", "loss": 1.0}\n')
    with pytest.raises(LaminaError, match="a1 was never evaluated while it trained"):
        compare([good, bare], curves=tmp_path / "c.png")
    log.write_text('{"step": 1, "part": "va')
    with pytest.raises(LaminaError, match="expected the rows that training wrote; JSONDecodeError"):
        compare([good, bare], curves=tmp_path / "c.png")
    assert not (tmp_path / "c.png").exists()


def test_seeds_of_a_real_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a person does it, and a mistake ends with exit status 2."""
    words = ["train", "tabular", "--steps", "20", "--evaluations", "2", "--device", "cpu", "--no-tensorboard", "--quiet"]
    runs = [str(tmp_path / f"seed{seed}") for seed in range(3)]
    for seed, run in enumerate(runs):
        assert main([*words, "--seed", str(seed), "--out", run]) == 0
    capsys.readouterr()
    asked = ["compare", *runs, "--resamples", "50", "--curves", str(tmp_path / "curves.png")]
    assert main([*asked, "--json"]) == 0
    made = json.loads(capsys.readouterr().out.splitlines()[-1])
    (one,) = made["contenders"]
    assert one["runs"] == 3 and list(one["seeds"].values()) == [0, 1, 2] and made["contests"] == []
    assert Path(made["curves"]).stat().st_size > 5000
    (Path(runs[1]) / "metrics.jsonl").unlink()
    assert main(asked) == 2 and capsys.readouterr().err.startswith("error: --curves: expected metrics.jsonl")


def test_contenders_hold_plain_values() -> None:
    assert json.dumps(jsonable(dataclasses.asdict(contender("a", 1.0, 2.0))))


def test_a_report_of_two_seeds_says_what_its_pair_is(tmp_path: Path) -> None:
    from lamina.report.api import comparison

    alike, other = (comparison([seeded("a0", 0), seeded("a1", 1, **info)], None, {}) for info in ({}, {"task": "other"}))
    assert "They differ in the seed alone" in alike and "95% interval" in alike and "seed" not in other
