"""Attacks reach the worst case where it is known, never leave their bounds, and find what hides its gradient."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lamina.errors import LaminaError
from lamina.modalities.table import TableEncoder
from lamina.stress.apgd import apgd, checkpoints
from lamina.stress.attacks import attack, attack_part, attacks_on, share
from lamina.stress.ranges import check_ranges
from lamina.stress.search import bumps, search, share_at, square_linf
from lamina.stress.settings import Settings
from lamina.stress.space import Space
from lamina.stress.steps import Found, fgsm, pgd
from lamina.stress.victim import Victim, at_rest, default_eps, dlr, margin, unit_of
from linear_task import SIDE, Held, Linear, Pictures, Rows, grays, linear, said_by


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def victim(norm: Any, eps: float, classes: int = 3, count: int = 40, model: nn.Module | None = None) -> Victim:
    model = model or linear(classes)
    x = grays(count)
    batch = {"image": torch.from_numpy(x), "label": torch.from_numpy(said_by(model, x))}
    return Victim.of(Pictures(), model.eval(), batch, 1.0, norm, eps)


def exact(v: Victim, model: Linear, slack: float = 1.0) -> Tensor:
    """(B,) whether a linear model can be fooled within the ball: some class k whose lead can be turned around by eps times the dual
    norm of its weights' difference. Inputs lie so far inside the range that it does not bind."""
    assert v.label is not None
    x, eps = v.space.clean.flatten(1), v.space.eps
    logits = x @ model.weight.T / 255 + model.bias
    lead_BK = logits.gather(1, v.label[:, None]) - logits
    difference_BKD = (model.weight[v.label][:, None] - model.weight) / 255
    reach_BK = eps * (difference_BKD.abs().sum(2) if v.space.norm == "linf" else difference_BKD.norm(dim=2))
    other_BK = torch.arange(logits.shape[1]) != v.label[:, None]
    return ((lead_BK < slack * reach_BK) & other_BK).any(1)


@pytest.mark.parametrize(("norm", "eps"), [("linf", 4.0), ("l2", 15.0)])
@pytest.mark.parametrize("classes", [2, 3])
def test_the_exact_worst_case_of_a_linear_model_is_reached(norm: str, eps: float, classes: int) -> None:
    model = linear(classes)
    v = victim(norm, eps, classes, 60, model)
    possible = exact(v, model)
    assert 10 < possible.sum() < 50, "the case decides something"
    with at_rest(model):
        by_pgd = pgd(v, "margin", 60, 4, seeded()).fooled  # whose fixed step may end a hundredth short of the border
        assert not (by_pgd & ~possible).any() and not (exact(v, model, 0.99) & ~by_pgd).any()
        assert torch.equal(apgd(v, "margin", 60, 4, seeded()).fooled, possible)
        if classes == 2:  # one wrong class alone: a single step is the optimum
            assert torch.equal(fgsm(v, "score").fooled, possible)
            assert torch.equal(apgd(v, "score", 40, 1, seeded()).fooled, possible)
        assert not (search(v, "margin", 60, seeded()).fooled & ~possible).any(), "nothing does what is impossible"


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("low", [0, 60])
def test_no_attack_leaves_the_ball_or_the_range(norm: str, low: int) -> None:
    """Pictures that reach black and white, and a large ball."""
    model = linear()
    x = grays(12, low=low, high=256 - low)
    batch = {"image": torch.from_numpy(x), "label": torch.from_numpy(said_by(model, x))}
    v = Victim.of(Pictures(), model, batch, 1.0, norm, 90.0)  # type: ignore[arg-type]
    for name, run in attacks_on(v, 10, 2, 40).items():
        seen: list[Tensor] = []
        plain = Found.see

        def see(self: Found, rows: Tensor, z: Tensor, *rest: Tensor, kept: Any = seen, plain: Any = plain) -> None:
            kept.append(v.space.take(rows).at(z) - v.space.clean[rows])
            plain(self, rows, z, *rest)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Found, "see", see)
            run(v, seeded())
        moved = torch.cat(seen)
        assert float(v.space.size(moved).max()) <= 90 * (1 + 1e-5), name
        assert float(moved.abs().max()) > 1, f"{name} moves"
        found = run(v, seeded())
        adversarial = v.space.at(found.z)
        assert adversarial.min() >= 0 and adversarial.max() <= 255


def test_stronger_attacks_are_stronger() -> None:
    """APGD >= PGD >= FGSM in examples fooled, on a small network that is curved."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 4))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)

    class Curved(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"logits": model((x.float() - 128) / 30)}

    v = victim("linf", 3.0, 4, 150, Curved())
    with at_rest(model):
        by_fgsm = int(fgsm(v, "score").fooled.sum())
        by_pgd = int(pgd(v, "score", 20, 1, seeded()).fooled.sum())
        by_apgd = int((apgd(v, "score", 20, 1, seeded()).fooled | apgd(v, "dlr", 20, 1, seeded()).fooled).sum())
        by_more = int(pgd(v, "score", 20, 3, seeded()).fooled.sum())
    assert 0 < by_fgsm < by_pgd <= by_apgd < 150 and by_more >= by_pgd


class Quantized(nn.Module):
    """A model whose input is rounded: right everywhere, and without a gradient."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return self.inner((x.float() / 4).round() * 4)


class Saturated(nn.Module):
    """Logits so large that the softmax gives the label all, in float32: cross entropy has no gradient left."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": self.inner(x)["logits"] * 1e6}


def settings(**changes: Any) -> Settings:
    return dataclasses.replace(Settings(attack_steps=15, restarts=1, attack_queries=60, attack_examples=40), **changes)


def verdict(task: Any, model: nn.Module, x: Any, folder: Path, **changes: Any) -> Any:
    run: Any = Held(task, folder)
    return attack_part(run, x, settings(**changes), model)


def examples(model: nn.Module, count: int = 40) -> dict[str, Any]:
    x = grays(count)
    return {"image": x, "label": said_by(model, x)}


def test_masked_gradients_are_caught(tmp_path: Path) -> None:
    model = linear()
    honest = verdict(Pictures(), model, examples(model), tmp_path, eps=12.0)
    assert not honest.warnings and 0 < honest.figures["robust_accuracy"]["value"] < 1
    masked = verdict(Pictures(), Quantized(model), examples(Quantized(model)), tmp_path, eps=12.0)
    assert masked.figures["robust_apgd_ce"]["value"] > 0.8 > masked.figures["robust_square"]["value"]
    assert any("gradient masking: square" in line for line in masked.warnings)
    assert any("exactly zero at 100%" in line for line in masked.warnings)


def test_saturated_logits_are_told_and_seen_through_by_the_ratio(tmp_path: Path) -> None:
    model = Saturated(linear())
    made = verdict(Pictures(), model, examples(model), tmp_path, eps=12.0)
    assert made.figures["robust_pgd"]["value"] > made.figures["robust_apgd_dlr"]["value"]
    assert any("exactly zero" in line for line in made.warnings)


def test_an_example_is_robust_only_if_it_withstands_all(tmp_path: Path) -> None:
    model = linear()
    x = examples(model)
    x["label"] = np.where(np.arange(40) < 10, (x["label"] + 1) % 3, x["label"])  # ten that are answered wrongly from the start
    made = verdict(Pictures(), model, x, tmp_path, eps=8.0)
    rows = made.tables["attacks"]
    assert made.figures["attack_clean_accuracy"]["value"] == pytest.approx(0.75)
    assert made.figures["robust_accuracy"]["value"] <= min(row["robust"] for row in rows)
    assert [row["attack"] for row in rows] == ["fgsm", "pgd", "apgd_ce", "apgd_dlr", "square"]
    for bounds in made.figures.values():
        assert 0 <= bounds["low"] <= bounds["value"] <= bounds["high"] <= 1
    again = verdict(Pictures(), model, x, tmp_path, eps=8.0)
    assert again.figures == made.figures and again.tables == made.tables, "seeded"
    assert made.pictures["attacks"].is_file() and "linf of 8" in made.sentences[0]


def test_a_larger_ball_never_leaves_more_robust(tmp_path: Path) -> None:
    model = linear()
    kept = [
        verdict(Pictures(), model, examples(model), tmp_path, eps=eps).figures["robust_accuracy"]["value"]
        for eps in (0.01, 6.0, 25.0, 120.0)
    ]
    assert kept[0] == 1.0 and kept == sorted(kept, reverse=True) and kept[-1] == 0.0


def rows_task(regression: bool = False) -> tuple[Rows, dict[str, Any]]:
    rng = np.random.default_rng(0)
    columns = {
        "small": rng.normal(0, 0.01, 60),
        "large": rng.normal(5, 100.0, 60),
        "colour": rng.choice(["red", "blue"], 60).tolist(),
        "flat": np.ones(60),
    }
    columns["large"][:5] = np.nan
    said = np.nan_to_num(columns["small"] * 100 + columns["large"] / 100)
    columns["label"] = said + rng.normal(0, 0.1, 60) if regression else (columns["small"] > 0).astype(int)
    return Rows(
        classes=2, encoder=TableEncoder.fit(columns, ["small", "large", "colour", "flat"]), regression=regression
    ), columns


class RowsModel(nn.Module):
    def __init__(self, regression: bool) -> None:
        super().__init__()
        self.regression = regression

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        small, large = 100 * x[:, 0].nan_to_num(), x[:, 1].nan_to_num() / 100
        return {"value": (small + large)[:, None]} if self.regression else {"logits": torch.stack([-small, small], 1)}


def test_tables_are_attacked_in_spreads_and_keep_their_categories() -> None:
    task, columns = rows_task()
    unit = unit_of(task, columns)
    assert isinstance(unit, Tensor) and unit[2] == unit[3] == 0
    assert unit[0] == pytest.approx(columns["small"].std()) and unit[1] == pytest.approx(np.nanstd(columns["large"]))
    batch = task.encode(columns, "evaluate")
    v = Victim.of(task, RowsModel(False), batch, unit, "linf", 0.5)
    assert v.space.clean.shape == (60, 4), "the row itself, and no embedding"
    for name, run in attacks_on(v, 10, 1, 50).items():
        x = v.space.at(run(v, seeded()).z)
        moved = (x - batch["table"]).abs()
        assert (moved[:, 2:] == 0).all(), name
        assert torch.equal(x.isnan(), batch["table"].isnan()), "missing cells stay missing"
        assert (moved[:, :2].nan_to_num() <= 0.5 * unit[:2] * (1 + 1e-5)).all()
        low, high = (torch.tensor(bound) for bound in task.encoder.bounds())
        assert ((x >= low) | x.isnan()).all() and ((x <= high) | x.isnan()).all()
    expected = (columns["small"] * (2 * columns["label"] - 1)) < 0.5 * columns["small"].std()
    assert np.array_equal(pgd(v, "score", 10, 1, seeded()).fooled.numpy(), expected)
    assert np.array_equal(search(v, "margin", 60, seeded()).fooled.numpy(), expected)


def test_numbers_as_answers_are_judged_by_their_loss(tmp_path: Path) -> None:
    task, columns = rows_task(regression=True)
    made = verdict(task, RowsModel(True), columns, tmp_path, eps=0.5)
    figures = made.figures
    assert figures["attacked_loss"]["value"] > figures["attack_clean_loss"]["value"] >= 0
    assert "robust accuracy" in made.skipped and "robust_accuracy" not in figures and not made.warnings
    assert {row["attack"] for row in made.tables["attacks"]} == {"fgsm", "pgd", "apgd", "search"}


def test_what_does_not_apply_is_said(tmp_path: Path) -> None:
    @dataclasses.dataclass(frozen=True)
    class Coupled(Pictures):
        coupled = True  # type: ignore[misc]

    model = linear()
    assert "batch" in verdict(Coupled(), model, examples(model), tmp_path).skipped["attacks"]
    assert verdict(Pictures(), model, examples(model), tmp_path, attacks=False).skipped == {"attacks": "turned off"}
    some = verdict(Pictures(), model, examples(model), tmp_path, attack_examples=7, eps=1.0)
    assert some.details["attacks"]["examples"] == 7 and "7 of 40" in some.skipped["attacks on all examples"]


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36), nn.Dropout(0.5), nn.Linear(36, 3)).train()
    model[3].bias.requires_grad_(False)

    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"logits": self.inner(x.float())}

    named = Named().train()
    before = {name: t.clone() for name, t in named.state_dict().items()}
    x = grays(20)
    attack(Pictures(), named, {"image": x, "label": np.zeros(20, int)}, eps=5.0, steps=3, restarts=1, queries=5)
    assert all(m.training for m in named.modules()) and not model[3].bias.requires_grad and model[3].weight.requires_grad
    assert all(torch.equal(t, before[name]) for name, t in named.state_dict().items()) and model[3].weight.grad is None


def test_default_radii() -> None:
    gray = torch.zeros(2, 1, 28, 28)
    assert default_eps(Pictures(), "linf", gray) == pytest.approx(25.5)
    assert default_eps(Pictures(), "l2", gray) == pytest.approx(1.5 * 255)
    assert default_eps(Pictures(), "linf", torch.zeros(2, 3, 32, 32)) == pytest.approx(8.0)
    assert default_eps(Pictures(), "l2", torch.zeros(2, 3, 32, 32)) == pytest.approx(0.5 * 255)
    task, _ = rows_task()
    assert default_eps(task, "linf", torch.zeros(2, 4)) == pytest.approx(0.1)


def test_margins_and_ratios_by_hand() -> None:
    logits, label = torch.tensor([[5.0, 3.0, 1.0, 0.0], [0.0, 4.0, 2.0, 1.0]]), torch.tensor([0, 2])
    assert margin(logits, label).tolist() == [-2.0, 2.0]
    assert dlr(logits, label).tolist() == pytest.approx([-2 / 4, 2 / 3])  # over the best minus the third
    assert dlr(1e4 * logits + 7, label).tolist() == pytest.approx(dlr(logits, label).tolist(), rel=1e-4)


def test_the_checkpoints_of_apgd() -> None:
    """For 100 steps, those of the authors' code."""
    assert checkpoints(100)[:8] == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(1) == [1] and checkpoints(10)[0] == 2 and checkpoints(10)[-1] <= 10


def test_the_share_of_square_is_halved_as_published() -> None:
    assert [share_at(q, 10_000) for q in (1, 10, 11, 51, 201, 8001)] == [0.8, 0.8, 0.4, 0.2, 0.1, 0.8 / 2**9]
    assert share_at(2, 1000) == 0.4, "the schedule follows the number of queries"
    for side in (1, 2, 3, 7):
        assert float(bumps(side, seeded(), torch.zeros(1)).norm()) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_projection_is_into_both_bounds(norm: Any) -> None:
    clean = torch.tensor([[0.0, 250.0, 100.0, float("nan")]])
    space = Space.around(clean, 1.0, torch.tensor(0.0), torch.tensor(255.0), norm, 10.0)
    z = space.project(torch.tensor([[-50.0, 50.0, 3.0, 9.0]]))
    assert z[0, 0] == 0 and 0 < z[0, 1] <= 5 and z[0, 3] == 0 and float(space.size(z)[0]) <= 10
    assert space.at(z)[0, 3].isnan() and space.start(seeded()).abs().max() <= 10
    beyond = Space.around(torch.tensor([[300.0]]), 1.0, torch.tensor(0.0), torch.tensor(255.0), norm, 10.0)
    assert beyond.project(torch.tensor([[5.0]])).item() == 0 and beyond.project(torch.tensor([[-5.0]])).item() == -5


def test_an_interval_of_a_share_does_not_collapse() -> None:
    none, half = share(np.zeros(100, bool), 0.95), share(np.arange(100) < 50, 0.95)
    assert none["low"] == 0 and none["high"] == pytest.approx(0.037, abs=0.001)
    assert (half["low"], half["high"]) == pytest.approx((0.404, 0.596), abs=0.001)


@pytest.mark.parametrize(
    ("changes", "flag"),
    [({"eps": 0.0}, "--eps"), ({"eps": float("nan")}, "--eps"), ({"norm": "l1"}, "--norm"), ({"severities": (1, 6)}, "--severities"),
     ({"severities": ()}, "--severities"), ({"severities": (2, 2)}, "--severities"), ({"restarts": 0}, "--restarts"),
     ({"attack_steps": 0}, "--attack-steps"), ({"attack_queries": 0}, "--attack-queries"), ({"attack_examples": 0}, "--attack-examples")],
)  # fmt: skip
def test_settings_that_make_no_sense_are_named(changes: dict[str, Any], flag: str) -> None:
    with pytest.raises(LaminaError, match=flag):
        check_ranges(dataclasses.replace(Settings(), **changes))


def test_settings_as_they_come_are_fine() -> None:
    check_ranges(Settings())
    assert SIDE == 6


@pytest.mark.parametrize("channels", [1, 3])
def test_square_asks_nothing_twice(channels: int) -> None:
    """Of a displacement that is a corner already, half of all signs of one channel would change nothing."""
    space = Space.around(torch.full((50, channels, 8, 8), 100.0), 1.0, torch.tensor(0.0), torch.tensor(255.0), "linf", 10.0)
    z = torch.full_like(space.clean, 10.0)
    for seed in range(5):
        proposed = square_linf(space, z, 0.1, seeded(seed))
        assert (proposed != z).flatten(1).any(1).all()
        assert (proposed.abs() == 10).all()
