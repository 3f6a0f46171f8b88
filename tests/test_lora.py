"""LoRA: begins at the model as it was, changes nothing else, equals peft's, and merges into the same answers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import lamina
from lamina.errors import LaminaError
from lamina.nn.lora import LoRALinear, adapt, linear_names
from lamina.shrink.merged import merge, mergeable
from test_text_generation import verses


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5, bias=False), nn.Linear(5, 3))


def test_it_begins_at_the_model_as_it_was_and_learns_nothing_else():
    model, x = net(), torch.randn(4, 6)
    before = model(x)
    adapt(model, linear_names(model), rank=2, alpha=4)
    torch.testing.assert_close(model(x), before)
    learns = [name for name, p in model.named_parameters() if p.requires_grad]
    assert learns == ["0.down.weight", "0.up.weight", "2.down.weight", "2.up.weight"]
    model(x).sum().backward()
    assert all(p.grad is None for name, p in model.named_parameters() if name not in learns)


def test_it_says_what_peft_says():
    peft = pytest.importorskip("peft")
    ours, x = net(), torch.randn(4, 6)
    config = peft.LoraConfig(r=2, lora_alpha=6, target_modules=["0", "2"], lora_dropout=0.0)
    theirs = peft.get_peft_model(net(), config)
    adapt(ours, ["0", "2"], rank=2, alpha=6)
    for name in ("0", "2"):
        layer = theirs.base_model.model.get_submodule(name)
        mine = ours.get_submodule(name)
        assert isinstance(mine, LoRALinear)
        with torch.no_grad():
            layer.lora_B["default"].weight.normal_()
        mine.down.load_state_dict(layer.lora_A["default"].state_dict())
        mine.up.load_state_dict(layer.lora_B["default"].state_dict())
    torch.testing.assert_close(ours(x), theirs(x))
    assert mergeable(ours) == ["0", "2"]
    merge(ours)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)
    assert not mergeable(ours) and type(ours[0]) is nn.Linear


def test_a_run_goes_on_from_another_with_lora_and_is_merged(tmp_path: Path):
    common = {"width": 16, "depth": 1, "heads": 2, "context": 16, "steps": 3, "batch_size": 8, "evaluations": 1, "quiet": True,
              "tensorboard": False, "device": "cpu", "precision": "float32"}  # fmt: skip
    text = verses(60)
    (tmp_path / "a.txt").write_text(text)
    data = str(tmp_path / "a.txt")
    first = lamina.train("text-generation", data=data, out=str(tmp_path / "first"), **common)
    second = lamina.train("text-generation", data=data, out=str(tmp_path / "second"), init=str(first.folder), lora=2, **common)
    one, other = first.model().state_dict(), second.model().state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one) and any("up" in name for name in other)
    verdict = second.ask("shrink", method="merge", out=str(tmp_path / "merged"), resamples=20)
    merged = lamina.load(tmp_path / "merged")
    assert verdict.sentences and not mergeable(merged.model()) and set(merged.model().state_dict()) == set(one)
    x = torch.tensor([[2, 5, 6, 7]])
    torch.testing.assert_close(merged.model()(x)["token_logits"], second.model()(x)["token_logits"], rtol=1e-4, atol=1e-5)
    with pytest.raises(LaminaError, match="nothing to merge"):
        first.ask("shrink", method="merge", out=str(tmp_path / "no"))
