"""Stopped and resumed is the same as never stopped, to the bit; and what stops a run leaves it resumable."""

from __future__ import annotations

import json
import os
import signal
import threading
import time

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

import lamina
from lamina.errors import LaminaError, MachineFault
from lamina.train import checkpoint, loop

SETTINGS: dict = dict(  # noqa: C408
    model_name="convnet", width=0.25, steps=24, batch_size=16, accumulate=2, ema=0.9, dropout=0.2, mixup=0.2, augment_with="trivial",
    checkpoint_steps=5, evaluations=4, quiet=True, tensorboard=False, threads=1, log_steps=1,
)  # fmt: skip


class Stopped(BaseException):
    """Stands for a kill: nothing may catch it."""


def weights(run):
    return load_file(run.folder / "model.safetensors")


def stopping_at(monkeypatch, step):
    """Make the loop die in the middle of that step."""
    plain = loop.Learner.gradient

    def gradient(self, number):
        if number == step:
            raise Stopped
        return plain(self, number)

    monkeypatch.setattr(loop.Learner, "gradient", gradient)


def killed(monkeypatch, folder, step, **changes):
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        stopping_at(patch, step)
        lamina.train("image-classification", out=str(folder), **{**SETTINGS, **changes})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return lamina.train("image-classification", out=str(tmp_path_factory.mktemp("runs") / "whole"), **SETTINGS)


@pytest.mark.parametrize("step", [0, 3, 5, 13, 23])
def test_resumed_is_bit_identical(whole, tmp_path, monkeypatch, step):
    killed(monkeypatch, tmp_path / "run", step)
    run = lamina.train("image-classification", resume=tmp_path / "run")
    expected, got = weights(whole), weights(run)
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    rows = [(r["step"], r["part"], r["loss"]) for r in map(json.loads, (run.folder / "metrics.jsonl").read_text().splitlines())]
    others = [
        (r["step"], r["part"], r["loss"]) for r in map(json.loads, (whole.folder / "metrics.jsonl").read_text().splitlines())
    ]
    assert rows == others, "the log reads as one uninterrupted run"
    assert run.info["metrics"] == whole.info["metrics"]


def test_killed_twice_and_resumed_is_bit_identical(whole, tmp_path, monkeypatch):
    killed(monkeypatch, tmp_path / "run", 8)
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        stopping_at(patch, 17)
        lamina.train("image-classification", resume=tmp_path / "run")
    run = lamina.train("image-classification", resume=tmp_path / "run")
    assert all(torch.equal(a, weights(run)[name]) for name, a in weights(whole).items())


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_every_optimizer_resumes_to_the_bit(tmp_path, monkeypatch, optimizer):
    changes = dict(  # noqa: C408
        optimizer=optimizer, model_name="resnet20", steps=6, checkpoint_steps=2, lr=0.01, drop_path=0.2, accumulate=1
    )
    whole = lamina.train("image-classification", out=str(tmp_path / "whole"), **{**SETTINGS, **changes})
    killed(monkeypatch, tmp_path / "run", 5, **changes)
    run = lamina.train("image-classification", resume=tmp_path / "run")
    assert all(torch.equal(a, weights(run)[name]) for name, a in weights(whole).items())


def test_a_damaged_checkpoint_is_passed_over(whole, tmp_path, monkeypatch):
    killed(monkeypatch, tmp_path / "run", 13)
    newest = sorted((tmp_path / "run" / "checkpoints").glob("step-*"))[-1]
    content = bytearray((newest / "tensors.safetensors").read_bytes())
    content[-1] ^= 1
    (newest / "tensors.safetensors").write_bytes(bytes(content))
    run = lamina.train("image-classification", resume=tmp_path / "run")
    assert all(torch.equal(a, weights(run)[name]) for name, a in weights(whole).items())


def test_another_seed_gives_other_weights(whole, tmp_path):
    run = lamina.train("image-classification", out=str(tmp_path / "run"), seed=1, **SETTINGS)
    assert not all(torch.equal(a, weights(run)[name]) for name, a in weights(whole).items())


def test_ctrl_c_leaves_a_resumable_run(whole, tmp_path):
    def press():
        while not list((tmp_path / "run" / "checkpoints").glob("step-*")):
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    try:
        lamina.train("image-classification", out=str(tmp_path / "run"), **SETTINGS)
    except KeyboardInterrupt:
        assert lamina.load(tmp_path / "run").info["status"] == "interrupted"
        lamina.train("image-classification", resume=tmp_path / "run")
    thread.join()
    assert all(torch.equal(a, weights(lamina.load(tmp_path / "run"))[name]) for name, a in weights(whole).items())


def test_changed_data_is_not_resumed(tmp_path, monkeypatch):
    import numpy as np

    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (60, 8, 8), dtype=np.uint8), np.arange(60) % 3
    killed(monkeypatch, tmp_path / "run", 3, data=(x, y))
    with pytest.raises(LaminaError, match="arrays in memory"):
        lamina.train("image-classification", resume=tmp_path / "run")
    with pytest.raises(LaminaError, match="has changed"):
        lamina.train("image-classification", data=(255 - x, y), resume=tmp_path / "run")
    assert lamina.train("image-classification", data=(x, y), resume=tmp_path / "run").info["status"] == "finished"


def test_nothing_to_resume_is_an_error(tmp_path):
    with pytest.raises(LaminaError, match="holds no run"):
        lamina.train("image-classification", resume=tmp_path)


def test_a_folder_that_holds_a_run_is_not_overwritten(whole):
    with pytest.raises(LaminaError, match="holds a run already"):
        lamina.train("image-classification", out=str(whole.folder), **SETTINGS)


def test_losses_that_are_not_numbers_are_skipped_counted_and_stop_the_run(tmp_path, monkeypatch):
    plain = loop.Learner.terms

    def poisoned(self, batch, bad=(7,)):
        poisoned.calls += 1
        terms = plain(self, batch)
        return {n: (t * float("nan"), c) for n, (t, c) in terms.items()} if poisoned.calls in bad else terms

    poisoned.calls = 0
    with monkeypatch.context() as patch:
        patch.setattr(loop.Learner, "terms", poisoned)
        run = lamina.train("image-classification", out=str(tmp_path / "one"), **{**SETTINGS, "accumulate": 1})
    assert run.info["skipped_steps"] == 1
    assert all(torch.isfinite(w).all() for w in weights(run).values())

    monkeypatch.setattr(loop.Learner, "terms", lambda self, batch: poisoned(self, batch, bad=range(10, 999)))
    poisoned.calls = 0
    with pytest.raises(MachineFault, match=r"not a number 5 steps in a row, at step 14 \(epoch 1, examples .*checkpoint"):
        lamina.train("image-classification", out=str(tmp_path / "many"), **{**SETTINGS, "accumulate": 1, "nan_patience": 5})
    assert lamina.load(tmp_path / "many").info["status"] == "stopped"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("No space left on device")])
def test_a_full_disk_is_named_with_what_was_kept(error, tmp_path, monkeypatch):
    checkpoint.save(tmp_path / "checkpoints", 1, {"w": torch.ones(2)})

    def full(*arguments, **keywords):
        raise error

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(MachineFault, match=r"step 2 could not be written \(No space left on device\); kept: step-00000001"):
        checkpoint.save(tmp_path / "checkpoints", 2, {"w": torch.ones(2)})
    found = checkpoint.newest(tmp_path / "checkpoints")
    assert found is not None and found[1]["w"].tolist() == [1.0, 1.0]
    assert not list((tmp_path / "checkpoints").glob(".partial*"))
