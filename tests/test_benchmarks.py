"""The benchmark harness: its order, its figures, and that contenders do the same work. Speeds themselves are not tested."""

import argparse
import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks/ is no part of the installed package

from benchmarks import accuracy, explain, harness, kill_and_resume, throughput
from benchmarks.peers import common, tuned
from benchmarks.peers import lamina as lamina_peer


def result(rate, **more):
    return {"images": rate * 2.0, "seconds": 2.0, **more}


def test_rounds_are_interleaved():
    order = list(harness.interleaved(["a", "b", "c"], 2))
    assert order == [(0, "a"), (0, "b"), (0, "c"), (1, "a"), (1, "b"), (1, "c")]


def test_ratios_are_taken_within_a_round():
    """A machine that halves its speed in the second round moves the speeds and not the ratios."""
    results = [{"plain": result(100), "fast": result(300)}, {"plain": result(50), "fast": result(150)}]
    figures = harness.summary(results, "plain")
    assert figures["fast"] == {"images_per_second": 225.0, "ratio": 3.0, "ratio_min": 3.0, "ratio_max": 3.0}
    assert figures["plain"]["ratio"] == 1.0


def test_medians_and_ranges():
    rates = (120, 90, 150, 110, 500)
    figures = harness.summary([{"plain": result(100), "b": result(r)} for r in rates], "plain")["b"]
    assert figures == {"images_per_second": 120.0, "ratio": 1.2, "ratio_min": 0.9, "ratio_max": 5.0}


def test_another_network_is_caught():
    results = [{"plain": result(1, parameters=272186), "b": result(2, parameters=272187)}]
    with pytest.raises(harness.Failed, match="same network"):
        harness.summary(results, "plain")


def test_no_figures_without_a_baseline():
    with pytest.raises(harness.Failed, match="plain"):
        harness.summary([{"plain": result(1)}, {}], "plain")


def test_a_contender_that_fails_is_left_out_and_the_others_go_on():
    ran = []

    def once(name):
        ran.append(name)
        if name == "b" and ran.count("b") == 2:
            raise harness.Failed("b: broke")
        return result(10)

    results, failures = harness.measure(["a", "b", "c"], 3, once)
    assert ran == ["a", "b", "c", "a", "b", "c", "a", "c"]
    assert [set(one) for one in results] == [{"a", "c"}] * 3
    assert failures == {"b": "b: broke"}


FAKE = """
import json, os, sys
print("noise before")
if "--fail" in sys.argv:
    sys.exit("it broke")
told = {"argv": sys.argv[1:], "omp": os.environ["OMP_NUM_THREADS"], "own": os.environ["OWN"]}
print("not JSON" if "--silent" in sys.argv else json.dumps(told))
print("a bar after", end="")
"""


@pytest.fixture
def fake(tmp_path):
    (tmp_path / "fake.py").write_text(FAKE)

    def contender(*flags):
        return harness.Contender("f", "a fake", "fake", flags, variables={"PYTHONPATH": str(tmp_path), "OWN": "1"})

    return contender


def test_a_contender_runs_as_a_process_with_the_threads_and_variables_asked_for(fake):
    told = harness.run(fake("--own-flag"), ["--data", "x"], threads=3)
    assert told == {"argv": ["--data", "x", "--threads", "3", "--own-flag"], "omp": "3", "own": "1"}


@pytest.mark.parametrize(("flag", "says"), [("--fail", "it broke"), ("--silent", "expected a line of JSON")])
def test_a_process_that_fails_says_why(fake, flag, says):
    with pytest.raises(harness.Failed, match=says):
        harness.run(fake(flag), [], threads=1)


def test_the_table_is_sorted_and_names_what_is_left_out():
    figures = harness.summary([{"plain": result(100), "fast": result(1234)}], "plain")
    text = harness.table(figures, {"plain": "the loop", "fast": "the fast one", "bad": "the bad one"}, {"bad": "bad: broke"})
    rows = text.splitlines()
    assert rows[2] == "| the fast one | 1,234 | 12.34 | 12.34 to 12.34 |"
    assert rows[3].startswith("| the loop | 100 | 1.00")
    assert rows[-1] == "Left out: the bad one: bad: broke"


def test_results_say_where_they_come_from(tmp_path, monkeypatch):
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    content = json.loads(harness.write("x", machine=harness.machine(), figure=1).read_text())
    assert content["figure"] == 1 and content["name"] == "x" and content["date"] and content["commit"]
    assert content["machine"]["cores"] >= 1 and content["machine"]["memory_gib"] > 0


def test_contenders_have_modules_and_names_of_their_own():
    names = [c.name for c in throughput.CONTENDERS]
    assert len(set(names)) == len(names) and throughput.BASELINE in names
    for contender in throughput.CONTENDERS:
        assert (harness.REPOSITORY / Path(*contender.module.split("."))).with_suffix(".py").is_file()


def test_the_clock_leaves_out_the_warm_up(monkeypatch):
    now = iter([0.0, *(float(t) for t in range(1, 30))])
    monkeypatch.setattr(common.time, "perf_counter", lambda: next(now))
    clock = common.Clock(seconds=3.0, warmup=7.0)
    with pytest.raises(common.Finished):
        for _ in range(100):
            clock.step(8)
    assert (clock.steps, clock.images, clock.elapsed) == (3, 24, 3.0)  # warm at 7 s, over at 10 s


def test_the_window_of_laminas_rows_leaves_out_the_warm_up():
    rows = [{"step": n, "seconds": 0.5 * n} for n in range(1, 40)]
    clock = common.Clock(seconds=3.0, warmup=1.0)
    assert lamina_peer.window(rows, clock) == (6, 3.0)  # from step 5, the least warm-up
    assert lamina_peer.window(rows[:10], clock) is None
    assert lamina_peer.window([], clock) is None


@pytest.fixture
def folder(tmp_path):
    """Six pictures of 28 x 28 in idx files."""
    pixels = torch.randint(1, 256, (6, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).numpy()
    head = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in pixels.shape)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + pixels.tobytes()))
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 6, *range(6)])))
    return tmp_path


def views(x_CHW):
    """All pictures that the augmentation may make of one, as bytes: 25 crops, each as it is and mirrored."""
    padded = torch.nn.functional.pad(x_CHW, (2, 2, 2, 2))
    crops = [padded[:, top : top + 28, left : left + 28] for top in range(5) for left in range(5)]
    return {view.contiguous().numpy().tobytes() for crop in crops for view in (crop, crop.flip(-1))}


def test_both_augmentations_draw_from_the_same_views(folder):
    images_NCHW, labels_N = common.load(folder)
    assert images_NCHW.shape == (6, 1, 28, 28) and labels_N.tolist() == list(range(6))
    pictures = common.Pictures(folder)
    torch.manual_seed(0)
    allowed = [views(x) for x in images_NCHW]
    one_by_one, at_once = set(), set()
    for _ in range(200):
        x_CHW, label = pictures[2]
        one_by_one.add(x_CHW.contiguous().numpy().tobytes())
        batch = tuned.augment(images_NCHW)
        assert label == 2 and all(x.contiguous().numpy().tobytes() in allowed[i] for i, x in enumerate(batch))
        at_once.add(batch[2].contiguous().numpy().tobytes())
    assert one_by_one <= allowed[2]
    assert len(one_by_one) > 40 and len(at_once) > 40  # of 50 views: nothing is drawn too seldom


def test_one_changed_bit_of_a_weight_is_found(tmp_path):
    from safetensors.torch import save_file

    weights = {"a": torch.zeros(3), "b": torch.ones(2, 2)}
    save_file(weights, tmp_path / "one")
    save_file({**weights, "a": torch.tensor([0.0, -0.0, 0.0])}, tmp_path / "other")  # equal as numbers
    save_file({"b": weights["b"]}, tmp_path / "less")
    assert kill_and_resume.same(tmp_path / "one", tmp_path / "one") == []
    assert kill_and_resume.same(tmp_path / "one", tmp_path / "other") == ["a"]
    assert kill_and_resume.same(tmp_path / "one", tmp_path / "less") == ["a"]


def test_a_process_is_killed_at_its_moment_or_ends_before():
    sleeping = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    assert kill_and_resume.kill_when(sleeping, lambda: True) and sleeping.returncode == -9
    assert not kill_and_resume.kill_when(subprocess.Popen([sys.executable, "-c", ""]), lambda: False)


def test_the_interval_over_seeds():
    low, high = accuracy.interval([0.90, 0.92, 0.94])
    assert (low + high) / 2 == pytest.approx(0.92)
    assert high - low == pytest.approx(2 * 4.30 * 0.02 / 3**0.5)
    assert accuracy.interval([0.9]) == (0.9, 0.9)


def test_explainers_that_compute_something_else_are_caught():
    alike = [{"captum": result(1, length=2.0), "lamina": result(1, length=2.01)}]
    explain.check_alike("gradient", alike)
    other = [{"captum": result(1, length=2.0), "lamina": result(1, length=3.0)}]
    with pytest.raises(harness.Failed, match="same attributions"):
        explain.check_alike("occlusion", other)
    explain.check_alike("smooth-grad", other)  # whose noise differs


@pytest.mark.parametrize("method", ["gradient", "integrated-gradients", "smooth-grad", "occlusion", "grad-cam"])
def test_lamina_explains_what_the_benchmark_asks(method):
    from benchmarks.peers import explain_lamina, explaining

    options = argparse.Namespace(method=method, steps=4)
    x, label = torch.randint(0, 256, (3, 1, 28, 28), dtype=torch.uint8), torch.tensor([0, 1, 2])
    made = explain_lamina.explainer(explaining.network(), x, label, options)()
    assert made.shape == (3, 28, 28) and made.isfinite().all()


def test_results_name_no_folder_of_the_machine():
    told = harness.without_folders({"data": "/home/me/data/sst2", "flags": ["--data", "/tmp/x.txt", "a/b"], "n": 3})
    assert told == {"data": "sst2", "flags": ["--data", "x.txt", "a/b"], "n": 3}
