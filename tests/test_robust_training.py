"""What makes models hold up in training: adversarial examples and sharpness-aware steps, exact across a stop and a resume."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import lamina
from lamina.errors import LaminaError
from lamina.stress.attacks import attack
from lamina.task import Input
from lamina.train.adversary import Adversary
from lamina.train.loop import Learner
from lamina.train.optimizers import build
from lamina.train.recipe import Recipe, check_recipe
from linear_task import Pictures, grays, linear
from test_resume import killed, weights

SHORT: dict[str, Any] = {"steps": 12, "checkpoint_steps": 4}
HARD: dict[str, Any] = {"sam": 0.05, "adversarial": 20.0, "adversarial_steps": 2}


@pytest.mark.parametrize(
    "changes", [{"sam": 0.05}, {"adversarial": 20.0, "adversarial_steps": 2}, HARD], ids=["sam", "adversarial", "both"]
)
def test_resumed_is_bit_identical(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]) -> None:
    """With accumulation, dropout and an average of the weights, as in the plain case."""
    from test_resume import SETTINGS

    settings = {**SETTINGS, **SHORT, **changes}
    whole = lamina.train("image-classification", out=str(tmp_path / "whole"), **settings)
    plain = lamina.train("image-classification", out=str(tmp_path / "plain"), **{**SETTINGS, **SHORT})
    killed(monkeypatch, tmp_path / "run", 10, **{**SHORT, **changes})
    run = lamina.train("image-classification", resume=tmp_path / "run")
    assert all(torch.equal(a, weights(run)[name]) for name, a in weights(whole).items())
    assert not all(torch.equal(a, weights(plain)[name]) for name, a in weights(whole).items()), "it does something"
    assert run.info["recipe"]["sam"] == changes.get("sam", 0.0)


class Fixed:
    """A stream of given batches, over and over."""

    safe = True

    def __init__(self, *batches: dict[str, torch.Tensor]) -> None:
        self.batches, self.at = batches, 0

    def __next__(self) -> dict[str, torch.Tensor]:
        self.at += 1
        return dict(self.batches[(self.at - 1) % len(self.batches)])

    def after_step(self) -> None:
        pass


def learner(model: nn.Module, recipe: Recipe, *batches: dict[str, torch.Tensor], adversary: Adversary | None = None) -> Learner:
    stream: Any = Fixed(*batches)
    optimizers = build([{"params": list(model.parameters())}], recipe, 0.1)
    task = Pictures()
    return Learner(task, model, model, optimizers, stream, recipe, 0, torch.device("cpu"), "float32", None, adversary)


def batch(count: int, seed: int) -> dict[str, torch.Tensor]:
    return {"image": torch.from_numpy(grays(count, seed)), "label": torch.arange(count) % 3}


def mean_loss(model: nn.Module, *batches: dict[str, torch.Tensor]) -> torch.Tensor:
    logits, label = torch.cat([model(b["image"])["logits"] for b in batches]), torch.cat([b["label"] for b in batches])
    return nn.functional.cross_entropy(logits, label)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_sam_is_equation_two_and_three(accumulate: int) -> None:
    """Against the formula by hand: SGD at the gradient of w + rho g / |g|. Accumulated batches of unequal size count by examples."""
    batches = [batch(8, 1), batch(5, 2)][:accumulate]
    recipe = Recipe(
        optimizer="sgd", momentum=0.0, weight_decay=0.0, schedule="constant", warmup=0.0, sam=0.5, accumulate=accumulate
    )
    model = linear()
    by_hand = copy.deepcopy(model)
    first = torch.autograd.grad(mean_loss(by_hand, *batches), list(by_hand.parameters()))
    norm = torch.cat([g.flatten() for g in first]).norm()
    moved = copy.deepcopy(by_hand)
    with torch.no_grad():
        for parameter, gradient in zip(moved.parameters(), first, strict=True):
            parameter += 0.5 * gradient / norm
    second = torch.autograd.grad(mean_loss(moved, *batches), list(moved.parameters()))
    loss, _ = learner(model, recipe, *batches).step(0, 0.0)
    assert loss == pytest.approx(float(mean_loss(by_hand, *batches)), rel=1e-5), (
        "what is logged is the loss at the weights themselves"
    )
    for parameter, start, gradient in zip(model.parameters(), by_hand.parameters(), second, strict=True):
        assert torch.allclose(parameter, start - 0.1 * gradient, atol=1e-6)


class Normed(nn.Module):
    """Logits (B, 3) behind a batch normalization and dropout."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.head, self.dropout = nn.BatchNorm1d(36), nn.Linear(36, 3), nn.Dropout(0.3)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.head(self.dropout(self.norm(x.float().flatten(1))))}


def test_sam_counts_batch_statistics_once_and_survives_what_is_no_number() -> None:
    recipe = Recipe(optimizer="sgd", sam=0.1, schedule="constant", warmup=0.0)
    one, other = Normed().train(), Normed().train()
    learner(one, recipe, batch(8, 1)).step(0, 0.0)
    learner(other, Recipe(optimizer="sgd", schedule="constant", warmup=0.0), batch(8, 1)).step(0, 0.0)
    assert torch.equal(one.norm.running_mean, other.norm.running_mean) and int(one.norm.num_batches_tracked) == 1  # type: ignore[arg-type]
    assert not torch.equal(one.head.weight, other.head.weight)
    broken = Normed().train()
    with torch.no_grad():
        broken.head.bias[0] = float("nan")
    before = {name: t.clone() for name, t in broken.state_dict().items()}
    made = learner(broken, recipe, batch(8, 1))
    made.step(0, 0.0)
    assert made.skipped == 1 and all(
        torch.equal(t.nan_to_num(), before[name].nan_to_num()) for name, t in broken.state_dict().items()
    )


def test_an_adversary_raises_the_loss_within_its_bounds_and_disturbs_nothing() -> None:
    task, model, clean = Pictures(), Normed().train(), batch(16, 1)
    clean["image"][:, :, 0] = 250  # near the end of the range
    adversary = Adversary.of(task, {}, eps=10.0, steps=5)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    changed, again = (adversary.changed(model, model, clean, "float32", torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(changed["image"], again["image"]) and torch.equal(changed["label"], clean["label"])
    moved = changed["image"] - clean["image"].float()
    assert 5 < float(moved.abs().max()) <= 10 + 1e-4 and changed["image"].max() <= 255 and not changed["image"].requires_grad
    assert all(m.training for m in model.modules()) and all(p.grad is None for p in model.parameters())
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items()), "it attacks the evaluating model"
    model.eval()
    assert mean_loss(model, changed) > mean_loss(model, clean)


def test_soft_labels_are_attacked_too() -> None:
    """Mixup and smoothing leave probabilities, and the loss is the task's own."""
    from lamina.nn.losses import cross_entropy

    class Soft(Pictures):
        def loss(self, output: Any, batch: Any) -> Any:
            return cross_entropy(output["logits"], batch["label"])

    model = linear().eval()
    soft = {"image": torch.from_numpy(grays(6)).float() + 0.25, "label": torch.full((6, 3), 1 / 3)}
    changed = Adversary.of(Soft(), {}, 10.0, 4).changed(model, model, soft, "float32", torch.Generator().manual_seed(0))
    was, now = (float(Soft().loss(model(b["image"]), b)[0].sum()) for b in (soft, changed))
    assert now > was


def test_codes_cannot_be_attacked_in_training() -> None:
    class Words(Pictures):
        @property
        def inputs(self) -> tuple[Input, ...]:
            return (Input("tokens", ("B", "T"), "int64", "text"),)

        @property
        def embed(self) -> str:
            return "embed"

    with pytest.raises(LaminaError, match=r"--adversarial: expected a continuous input.*text as int64"):
        Adversary.of(Words(), {}, 1.0, 1)


def test_tables_are_attacked_in_spreads_of_training_rows(tmp_path: Path) -> None:
    common: dict[str, Any] = {"steps": 6, "quiet": True, "tensorboard": False, "threads": 1, "precision": "float32"}
    run = lamina.train("tabular", out=str(tmp_path / "run"), adversarial=0.2, adversarial_steps=2, **common)
    plain = lamina.train("tabular", out=str(tmp_path / "plain"), **common)
    assert run.info["recipe"]["adversarial"] == 0.2
    assert not all(torch.equal(a, weights(plain)[name]) for name, a in weights(run).items())


@pytest.mark.parametrize(
    ("field", "value"), [("sam", -0.1), ("sam", float("nan")), ("adversarial", -1.0), ("adversarial_steps", 0)]
)
def test_settings_that_make_no_sense_are_named(field: str, value: float) -> None:
    with pytest.raises(LaminaError, match="--" + field.replace("_", "-")):
        check_recipe(Recipe(**{field: value}))  # type: ignore[arg-type]


def test_adversarial_training_keeps_more_robust_accuracy(tmp_path: Path) -> None:
    """The bundled digits, a small network, some seconds: within a tenth of the range the plain one is lost."""
    common: dict[str, Any] = {
        "model_name": "mlp", "steps": 250, "batch_size": 64, "evaluations": 1, "augment_with": "none", "keep": "last",
        "quiet": True, "tensorboard": False, "threads": 1, "precision": "float32",
    }  # fmt: skip
    kept = {}
    for name, changes in (("plain", {}), ("adversarial", {"adversarial": 25.5, "adversarial_steps": 4})):
        run = lamina.train("image-classification", out=str(tmp_path / name), **common, **changes)
        test = {column: values[:100] for column, values in arrays(run.data().test).items()}
        found = attack(run.task, run.model(), test, "linf", 25.5, steps=15, restarts=1, queries=100)
        robust = np.logical_and.reduce([found.right & ~mask for mask in found.fooled.values()])
        kept[name] = (float(found.right.mean()), float(robust.mean()))
    assert kept["adversarial"][0] > 0.85, kept
    assert kept["adversarial"][1] > kept["plain"][1] + 0.15, kept


def arrays(columns: dict[str, Any]) -> dict[str, Any]:
    """Columns that can be cut."""
    return {"image": columns["image"].array(), "label": np.asarray(columns["label"])}
