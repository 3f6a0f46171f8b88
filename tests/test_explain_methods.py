"""Attributions beside independent ones: by hand, in closed form, and captum's where it is installed.

Shapes: B examples, C channels, H and W pixels.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from explain_task import SIDE, Pictures, Small, Spot, Table, pictures, table
from lamina.explain import layers, methods
from lamina.explain.attribute import attribute, chosen
from lamina.explain.cells import cells_of, pooled, ranks, spread
from lamina.explain.settings import METHODS, Settings
from lamina.explain.subject import Subject, baseline_leaf, by_place, freeze, subject, subjects, typical


def of_pictures(model: nn.Module, count: int = 5) -> Subject:
    task = Pictures()
    batch = task.encode(pictures(count), "predict")
    return subject(task, model.eval(), freeze(task, model, batch))


def of_rows(count: int = 6) -> Subject:
    task = Table()
    return subject(task, task.model(), freeze(task, task.model(), task.encode(table(count), "predict")))


def score_by_hand(model: nn.Module, x_BCHW: Tensor, label_B: Tensor) -> Tensor:
    return model(x_BCHW)["logits"].log_softmax(1)[torch.arange(len(x_BCHW)), label_B]


def test_what_was_said_is_frozen_first() -> None:
    some = of_pictures(Spot())
    label = some.said["label"]
    assert torch.equal(label, (some.leaf[:, 0, 0, 0] > 127).long())
    elsewhere = some.score(255 - some.leaf)
    assert torch.all(elsewhere < some.score(some.leaf))  # how strongly it says the same, not what it says there
    second = freeze(Pictures(), Spot(), Pictures().encode(pictures(5), "predict"), which=1)
    assert torch.equal(second["label"], 1 - label)


def test_gradients_by_hand() -> None:
    some = of_pictures(Small())
    x = some.leaf.detach().clone().requires_grad_()
    score_by_hand(some.model, x, some.said["label"]).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(methods.gradient(some), x.grad)
    torch.testing.assert_close(methods.input_x_gradient(some), x.detach() * x.grad)


def test_the_gradient_beside_finite_differences() -> None:
    some = of_pictures(Small(), 1)
    gradient, x, step = methods.gradient(some), some.leaf.detach(), 1.0
    for place in ((0, 0, 3, 4), (0, 0, 8, 15), (0, 0, 15, 0)):
        higher, lower = x.clone(), x.clone()
        higher[place] += step
        lower[place] -= step
        slope = (some.score(higher) - some.score(lower)) / (2 * step)
        assert float(gradient[place]) == pytest.approx(float(slope), rel=0.05, abs=1e-5)


@pytest.mark.parametrize("count", [1, 5])
def test_integrated_gradients_by_hand(count: int) -> None:
    """The midpoint rule in a plain loop over examples, against the Gauss-Legendre rule over whole batches."""
    some = of_pictures(Small(), count)
    baseline = torch.full_like(some.leaf, 90.0)
    made, missing = methods.integrated_gradients(some, baseline, steps=64)
    for row in range(count):
        x, start, label = some.leaf[row : row + 1].detach(), baseline[row : row + 1], some.said["label"][row : row + 1]
        total = torch.zeros_like(x)
        for step in range(800):
            point = (start + (step + 0.5) / 800 * (x - start)).requires_grad_()
            total += torch.autograd.grad(score_by_hand(some.model, point, label).sum(), point)[0]
        torch.testing.assert_close(made[row : row + 1], total / 800 * (x - start), rtol=5e-3, atol=5e-4)
        change = score_by_hand(some.model, x, label) - score_by_hand(some.model, start, label)
        torch.testing.assert_close(made[row].sum()[None] - change, missing[row : row + 1], rtol=1e-3, atol=1e-4)
        assert abs(float(missing[row])) < 0.01 * abs(float(change)) + 1e-4


@pytest.mark.parametrize("steps", [3, 7, 40, 300])
def test_chunks_do_not_change_integrated_gradients(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    some = of_pictures(Small(), 3)
    baseline = torch.zeros_like(some.leaf)
    whole, _ = methods.integrated_gradients(some, baseline, steps)
    monkeypatch.setattr(methods, "at_once", lambda leaf: 6)
    chunked, _ = methods.integrated_gradients(some, baseline, steps)
    torch.testing.assert_close(chunked, whole, rtol=1e-4, atol=1e-5)


def test_a_path_of_no_length_has_no_attribution() -> None:
    some = of_pictures(Small(), 2)
    made, missing = methods.integrated_gradients(some, some.leaf.detach(), 8)
    assert not made.any() and not missing.any()


def test_too_few_steps_are_doubled_until_the_gap_closes() -> None:
    class Steep(Spot):
        """A wall on the way that two points step over."""

        def forward(self, x_BCHW: Tensor) -> dict[str, Tensor]:
            light_B = torch.tanh((x_BCHW[:, 0, :4, :4].float().mean((1, 2)) - 120) / 6) * 4
            return {"logits": torch.stack([-light_B, light_B], 1)}

    some = of_pictures(Steep(), 4)
    made = attribute("integrated-gradients", some, torch.full_like(some.leaf, 100.0), Settings(ig_steps=8))
    assert made.steps > 8 and made.missing is not None and made.change is not None
    assert np.abs(made.missing).sum() < 0.05 * np.abs(made.change).sum()


def test_smooth_grad_is_a_mean_of_gradients() -> None:
    some = of_pictures(Small(), 2)
    still = methods.smooth_grad(some, 1e-6, 4, torch.Generator().manual_seed(0))
    torch.testing.assert_close(still, methods.gradient(some), rtol=1e-3, atol=1e-6)
    once, again = (methods.smooth_grad(some, 20.0, 8, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(once, again) and not torch.allclose(once, still, rtol=1e-2)
    assert methods.noise_deviation(some, 0.1) == pytest.approx(25.5)


def test_occlusion_finds_the_only_cells_that_count() -> None:
    some = of_pictures(Spot(), 4)
    made = methods.occlusion(some, torch.full_like(some.leaf, 127.5))
    assert made.shape == (4, SIDE, SIDE) and torch.all(made[:, :4, :4] > 0)
    assert not made[:, 6:].any() and not made[:, :, 6:].any()
    rows = of_rows()
    neutral = typical(rows.task, rows.said["table"], [True, False, True])
    by_column = methods.occlusion(rows, baseline_leaf(rows, neutral))
    assert by_column.shape == (6, 3) and not by_column[:, 2].any() and by_column[:, 0].any()


def test_occlusion_of_single_cells_by_hand() -> None:
    some, cell = of_pictures(Small(), 2), cells_of((SIDE, SIDE), "image")[None]
    baseline = torch.full_like(some.leaf, 60.0)
    made = methods.occluded(some, baseline, torch.eye(64, dtype=torch.bool), cell)
    hidden = some.leaf.detach().clone()
    hidden[:, :, 2:4, 6:8] = 60.0
    torch.testing.assert_close(made[:, 2, 7], some.score(some.leaf.detach()).detach() - some.score(hidden).detach())


def test_grad_cam_by_hand() -> None:
    some = of_pictures(Small(), 3)
    model, x = some.model, some.leaf.detach()
    maps = model.conv2(F.gelu(model.conv1((x - 127.5) / 60))).detach().requires_grad_()  # type: ignore[operator]
    logits = 8 * model.head(F.gelu(maps).mean((2, 3)))  # type: ignore[operator]
    (slope,) = torch.autograd.grad(logits.log_softmax(1).gather(1, some.said["label"][:, None]).sum(), maps)
    cam = torch.relu((slope.mean((2, 3), keepdim=True) * maps).sum(1)).detach()
    wanted = F.interpolate(cam[:, None], size=(SIDE, SIDE), mode="bilinear")[:, 0]
    assert wanted.any()
    torch.testing.assert_close(layers.grad_cam(some), wanted)
    frozen = of_pictures(Small().requires_grad_(False), 3)  # no weight wants a gradient, and the maps still have one
    torch.testing.assert_close(layers.grad_cam(frozen), wanted)


class Attends(nn.Module):
    """A row of tokens before a class token: PyTorch's own attention, or its function, over two depths."""

    def __init__(self, own: bool, token: bool = True) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.embed, self.own, self.token = nn.Linear(3, 8), own, token
        self.attention = nn.ModuleList(nn.MultiheadAttention(8, 2, batch_first=True) for _ in range(2))
        self.head = nn.Linear(8, 2)

    def forward(self, x_BT3: Tensor) -> dict[str, Tensor]:
        x = self.embed(x_BT3)
        x = torch.cat([x.new_ones(len(x), 1, 8), x], 1) if self.token else x
        for one in self.attention:
            if self.own:
                x = x + one(x, x, x, need_weights=False)[0]
            else:
                q, k, v = F.linear(x, one.in_proj_weight, one.in_proj_bias).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
                x = x + one.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return {"logits": self.head(x[:, 0] if self.token else x.mean(1))}


def attended(model: Attends) -> Subject:
    x = torch.randn(3, 5, 3, generator=torch.Generator().manual_seed(0))
    some = of_rows(3)
    return Subject(some.task, model.eval(), {**some.said, "table": x}, x, model)


@torch.no_grad()
def test_attention_rollout_by_hand_and_by_either_way_that_attention_runs() -> None:
    model = Attends(own=False)
    some = attended(model)
    x, flow = torch.cat([torch.ones(3, 1, 8), model.embed(some.leaf)], 1), torch.eye(6).expand(3, 6, 6)
    for one in model.attention:
        said, weights = one(x, x, x)  # the mean over heads, as PyTorch tells it itself
        x, flow = x + said, (weights + torch.eye(6)) / 2 @ flow
    for way in (model, Attends(own=True)):
        rollout = layers.attention_rollout(attended(way))
        assert isinstance(rollout, Tensor)
        torch.testing.assert_close(rollout, flow[:, 0, 1:], rtol=1e-4, atol=1e-5)
    assert torch.all(flow[:, 0, 1:].sum(1) < 1)  # the rest stays on the class token
    mean = layers.attention_rollout(attended(Attends(own=True, token=False)))
    assert isinstance(mean, Tensor) and mean.sum(1).tolist() == pytest.approx([1.0] * 3)
    longer = attended(model)
    told = layers.attention_rollout(Subject(longer.task, model, longer.said, longer.leaf, lambda x: model(torch.cat([x, x], 1))))
    assert isinstance(told, str) and "11 tokens" in told


def test_attention_weights_give_pytorchs_output() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 4, 5, 8), torch.randn(2, 4, 7, 8), torch.randn(2, 4, 7, 8)
    mask = torch.rand(5, 7) > 0.4
    mask[:, 0] = True
    for given in ({}, {"attn_mask": mask}, {"attn_mask": torch.randn(5, 7)}, {"is_causal": True}, {"scale": 0.3}):
        torch.testing.assert_close(
            layers.attention_weights(q, k, v, **given) @ v, F.scaled_dot_product_attention(q, k, v, **given)
        )
    grouped = {"enable_gqa": True}
    wide = layers.attention_weights(q, k[:, :2], v[:, :2], **grouped) @ v[:, :2].repeat_interleave(2, 1)
    torch.testing.assert_close(wide, F.scaled_dot_product_attention(q, k[:, :2], v[:, :2], **grouped))


def test_what_does_not_apply_is_told() -> None:
    some = of_pictures(Spot())
    ways, skipped = chosen(Settings(method="all"), some)
    assert "grad-cam" not in ways and "no convolution" in skipped["grad-cam"] and "attention" in skipped["attention-rollout"]
    assert chosen(Settings(method="grad-cam"), some)[0] == []
    assert chosen(Settings(), of_pictures(Small()))[0] == ["integrated-gradients", "grad-cam"]
    assert chosen(Settings(), of_rows())[0] == ["integrated-gradients", "occlusion"]
    assert chosen(Settings(method="all"), of_rows())[1]["grad-cam"] == "the input is no picture"


@pytest.mark.parametrize("method", [m for m in METHODS if m != "attention-rollout"])
def test_every_method_leaves_the_model_as_it_was(method: str) -> None:
    some = of_pictures(Small(), 2)
    made = attribute(method, some, torch.full_like(some.leaf, 127.0), Settings(noisy_copies=3))  # type: ignore[arg-type]
    assert made.map.shape == (2, SIDE, SIDE) and made.map.isfinite().all() and not made.map.requires_grad
    assert all(not m._forward_hooks for m in some.model.modules()) and all(p.grad is None for p in some.model.parameters())


def test_batches_of_any_size_give_the_same() -> None:
    task, model = Pictures(), Small().eval()
    said = freeze(task, model, task.encode(pictures(7), "predict"), size=3)
    whole = [methods.gradient(s) for s in subjects(task, model, said)]
    parts = torch.cat([methods.gradient(s) for s in subjects(task, model, said, 3)])
    assert len(whole) == 1
    torch.testing.assert_close(parts, whole[0])


def test_the_typical_row_is_a_median_and_a_most_frequent_category() -> None:
    x = torch.tensor([[1.0, 2, math.nan], [3, 2, 4], [100, 3, 6]])
    assert typical(Table(), x, [True, False, True]).tolist() == [[3.0, 2.0, 4.0]]
    gray = typical(Pictures(), torch.tensor([[[[0, 10]]], [[[20, 30]]]], dtype=torch.uint8))
    assert gray.tolist() == [[[[15.0, 15.0]]]]
    some = of_pictures(Spot(), 2)
    assert torch.all(baseline_leaf(some, None) == 127.5)  # without training data: the middle of the range


def test_places_and_cells() -> None:
    values = torch.tensor([[[[1.0, -4.0]], [[2.0, 3.0]]]])  # (1, 2, 1, 2)
    assert by_place(values, "image").tolist() == [[[3.0, -1.0]]]
    assert by_place(values, "image", signed=False).tolist() == [[[2.0, 4.0]]]
    assert by_place(torch.tensor([[[3.0, 4.0]]]), "table", signed=False).tolist() == [[5.0]]
    assert by_place(torch.tensor([1.0, 2.0]), "table").shape == (2, 1)
    cell = cells_of((SIDE, SIDE), "image")[None]
    assert int(cell.max()) == 63 and torch.equal(cell[0, 0], torch.arange(SIDE) // 2)
    odd = cells_of((9, 5), "image")  # a side of one pixel where the picture is small
    assert int(odd.max()) == 44
    wide = cells_of((20, 50), "image")
    assert torch.equal(torch.bincount(wide.flatten()) > 0, torch.ones(int(wide.max()) + 1, dtype=torch.bool))
    map_B = torch.rand(2, SIDE, SIDE)
    assert float(pooled(map_B, cell)[1, 9]) == pytest.approx(float(map_B[1, 2:4, 2:4].mean()), rel=1e-5)
    lifted = spread(torch.arange(64)[None], cell, map_B[:1, None], "image")
    assert torch.equal(lifted[0, 0], cell[0])


def test_ranks_break_ties_at_random_and_nothing_else() -> None:
    values = torch.tensor([[5.0, 1, 1, 1, 9]]).repeat(200, 1)
    made = ranks(values, torch.Generator().manual_seed(0))
    assert torch.all(made[:, 4] == 0) and torch.all(made[:, 0] == 1)
    assert all(set(made[:, place].tolist()) == {2, 3, 4} for place in (1, 2, 3))


def test_the_same_as_captum() -> None:
    """Gradients, input x gradient, integrated gradients, occlusion and Grad-CAM of the same model and score."""
    captum = pytest.importorskip("captum.attr", reason="captum is not installed")
    some = of_pictures(Small(), 4)
    x, label = some.leaf.detach(), some.said["label"]
    baseline = torch.full_like(x, 80.0)

    def ask(inputs: Tensor) -> Tensor:
        return some.model(inputs)["logits"].log_softmax(1)

    alike = {"rtol": 1e-3, "atol": 1e-5}
    torch.testing.assert_close(methods.gradient(some), captum.Saliency(ask).attribute(x, label, abs=False), **alike)
    torch.testing.assert_close(methods.input_x_gradient(some), captum.InputXGradient(ask).attribute(x, label), **alike)
    theirs = captum.IntegratedGradients(ask).attribute(x, baseline, label, n_steps=32, method="gausslegendre")
    torch.testing.assert_close(methods.integrated_gradients(some, baseline, 32)[0], theirs.float(), **alike)
    hidden = captum.Occlusion(ask).attribute(x, (1, 4, 4), (1, 2, 2), target=label, baselines=baseline)[:, 0]
    torch.testing.assert_close(methods.occlusion(some, baseline), hidden.float(), **alike)
    cam = captum.LayerGradCam(ask, some.model.conv2).attribute(x, label, relu_attributions=True)
    cam = F.interpolate(cam, size=(SIDE, SIDE), mode="bilinear")[:, 0].detach()
    torch.testing.assert_close(layers.grad_cam(some), cam, **alike)
