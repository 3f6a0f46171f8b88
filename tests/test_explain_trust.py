"""Whether explanations are true: the curves and their tests, the sanity check, changes that flip, importance, fixed spots.

Shapes: B examples, M cells.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from explain_task import SIDE, Pictures, Rows, Small, Spot, Table, pictures, table
from lamina.explain.cells import cells_of
from lamina.explain.changes import Asks, plausible, smallest_change
from lamina.explain.faithfulness import (
    area,
    curves,
    curves_of_maps,
    gains,
    mean_interval,
    relative_gap,
    sign_flip_p,
)
from lamina.explain.flips import flips, whole
from lamina.explain.importance import permutation_importance
from lamina.explain.nearest import features_of, nearest
from lamina.explain.places import mass, spots
from lamina.explain.sanity import layers_from_top, randomized, rank_correlation, shuffle_weights, structural_similarity
from lamina.explain.subject import Subject, freeze, subject
from lamina.nn.lexical import Dictionary
from lamina.shrink.few_bits import Int8Linear


def of_pictures(model: nn.Module, count: int = 5) -> Subject:
    task = Pictures()
    return subject(task, model.eval(), freeze(task, model, task.encode(pictures(count), "predict")))


def test_curves_by_hand() -> None:
    """Hidden in order, the answer falls when the four cells that count are gone, and not before."""
    some = of_pictures(Spot(), 3)
    baseline = torch.where(some.leaf.detach() > 127, 0.0, 255.0)  # the opposite of everything
    cell = cells_of((SIDE, SIDE), "image")[None]
    last = torch.arange(63, -1, -1)[None].repeat(3, 1)  # cells 0, 1, 8, 9 hold the answer
    made = curves(some, baseline, last, cell)
    assert made.deletion.shape == made.insertion.shape == (3, 17)
    assert np.all(made.deletion[:, :14] > 0.9) and np.all(made.deletion[:, -1] < 0.1)
    assert np.all(made.insertion[:, 0] < 0.1) and np.all(made.insertion[:, -1] > 0.9)
    np.testing.assert_allclose(made.deletion[:, 0], some.strength(some.leaf.detach()).numpy(), rtol=1e-5)
    first = curves(some, baseline, torch.arange(64)[None].repeat(3, 1), cell)
    assert np.all(area(first.deletion) < area(made.deletion)) and np.all(area(first.insertion) > area(made.insertion))


def test_a_true_map_beats_chance_and_its_opposite_loses() -> None:
    some = of_pictures(Spot(), 12)
    true = torch.zeros(12, SIDE, SIDE)
    true[:, :4, :4] = 1
    *told, chance = curves_of_maps(some, torch.full_like(some.leaf, 127.0), [true, -true], rankings=4, seed=0)
    good, bad = (gains(one, chance) for one in told)
    for kind in ("deletion", "insertion"):
        assert np.all(good[kind] > 0) and np.all(bad[kind] < 0)
        assert sign_flip_p(good[kind], 10000, 0) == pytest.approx(2 / 2**12)
    assert area(np.array([[1.0, 1.0, 1.0], [1.0, 0.5, 0.0]])).tolist() == [1.0, 0.5]


def test_an_empty_map_is_no_better_than_chance() -> None:
    some = of_pictures(Spot(), 60)
    (told, chance) = curves_of_maps(some, torch.full_like(some.leaf, 127.0), [torch.zeros(60, SIDE, SIDE)], 3, 0)
    assert sign_flip_p(gains(told, chance)["deletion"], 4000, 0) > 0.05


def test_sign_flips_beside_all_patterns_and_scipy() -> None:
    value = np.random.default_rng(0).normal(0.4, 1, 9)
    means = [abs(np.mean(np.array(signs) * value)) for signs in itertools.product((-1, 1), repeat=9)]
    exact = float(np.mean(np.array(means) >= abs(value.mean()) - 1e-15))
    assert sign_flip_p(value, 10000, 0) == exact
    drawn = sign_flip_p(value, 511, 0)  # fewer than all 512, so drawn
    assert drawn == pytest.approx(exact, abs=0.08)
    longer = np.random.default_rng(1).normal(0.15, 1, 80)
    theirs = stats.permutation_test((longer,), np.mean, permutation_type="samples", n_resamples=5000, rng=0)
    assert sign_flip_p(longer, 5000, 0) == pytest.approx(theirs.pvalue, abs=0.05)
    assert sign_flip_p(np.zeros(30), 1000, 0) == 1.0
    assert sign_flip_p(np.full(50, 2.0), 9999, 0) == 1e-4  # never zero


def test_intervals_of_means() -> None:
    value = np.random.default_rng(0).normal(3, 2, 400)
    mean, low, high = mean_interval(value, 4000, 0.95, 0)
    assert mean == pytest.approx(value.mean()) and high - low == pytest.approx(2 * 1.96 * value.std() / 20, rel=0.08)
    assert mean_interval(np.array([2.0]), 100, 0.9, 0) == (2.0, 2.0, 2.0)
    assert relative_gap(np.array([0.1, -0.1]), np.array([2.0, -2.0])) == pytest.approx(0.05)


def test_layers_lose_their_weights_from_the_top() -> None:
    some = of_pictures(Small(), 3)
    assert layers_from_top(some) == ["head", "conv2", "conv1"]
    before = {name: value.clone() for name, value in some.model.state_dict().items()}
    steps = list(randomized(some, 3, seed=0))
    assert [(name, round(share, 2)) for name, share, _ in steps] == [("head", 0.33), ("conv2", 0.67), ("conv1", 1.0)]
    after = dict(steps[-1][2].model.named_parameters())
    for name, value in some.model.state_dict().items():
        assert torch.equal(value, before[name])  # the model itself keeps them
        assert torch.equal(after[name].flatten().sort().values, value.flatten().sort().values)
    assert not torch.equal(after["conv1.weight"], before["conv1.weight"])
    assert [name for name, _, _ in randomized(some, 1, 0)] == ["conv1"]
    assert torch.equal(steps[0][2].said["label"], some.said["label"])


def test_weights_that_never_run_as_a_module_come_last() -> None:
    class Odd(Spot):
        def __init__(self) -> None:
            super().__init__()
            self.scale, self.line = nn.Parameter(torch.tensor([1.0, 2.0])), nn.Linear(2, 2)

        def forward(self, x_BCHW: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"logits": self.line(super().forward(x_BCHW)["logits"] * self.scale)}

    odd = Odd()
    assert layers_from_top(of_pictures(odd, 1)) == ["line", ""]
    shuffle_weights(odd, torch.Generator().manual_seed(1))
    assert sorted(odd.scale.tolist()) == [1.0, 2.0]


def test_tables_that_answer_by_themselves_are_weights_and_measures_of_the_input_are_not() -> None:
    """With its dictionary left in place, a translator of random weights goes on translating, and its explanation is right
    to look the same."""
    translations = torch.arange(40).reshape(20, 2)
    known = Dictionary(20, 40, 2)
    known.start(translations, torch.tensor([0.7, 0.3]).expand(20, 2))
    token_BS = torch.tensor([[3, 5]])

    def share_of_its_translations() -> float:
        said_BTV = known(torch.ones(1, 1, 2) / 2, token_BS, torch.ones(1, 2)).softmax(2)
        return said_BTV[0, 0, translations[token_BS].flatten()].sum().item()

    assert share_of_its_translations() > 0.45
    shuffle_weights(known, torch.Generator().manual_seed(0))
    assert share_of_its_translations() < 0.2
    rounded, norm = Int8Linear(8, 8, bias=False), nn.BatchNorm2d(4)
    rounded.weight.copy_(torch.arange(64).reshape(8, 8))
    norm.running_mean = torch.arange(4.0)
    shuffle_weights(nn.Sequential(rounded), torch.Generator())  # only a module's own
    assert rounded.weight.flatten().tolist() == list(range(64))
    for module in (rounded, norm):
        shuffle_weights(module, torch.Generator().manual_seed(0))
    assert rounded.weight.flatten().tolist() != sorted(rounded.weight.flatten().tolist()) == list(range(64))
    assert norm.running_mean.tolist() == [0.0, 1.0, 2.0, 3.0]


def test_rank_correlation_is_scipys() -> None:
    rng = np.random.default_rng(0)
    some, others = rng.integers(0, 6, (4, 5, 5)), rng.integers(0, 6, (4, 5, 5))
    made = rank_correlation(torch.tensor(some), torch.tensor(others))
    wanted = [stats.spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(some, others, strict=True)]
    assert made.tolist() == pytest.approx(wanted)
    assert rank_correlation(torch.ones(1, 4), torch.rand(1, 4)).tolist() == [0.0]


def test_structural_similarity() -> None:
    map_B = torch.rand(2, 12, 12, generator=torch.Generator().manual_seed(0))
    assert structural_similarity(map_B, 5 * map_B - 3).tolist() == pytest.approx([1.0, 1.0])  # scaled to 0..1 first
    assert torch.all(structural_similarity(map_B, -map_B) < 0)
    assert structural_similarity(map_B[:, :3, :3], map_B[:, :3, :3]).tolist() == pytest.approx([1.0, 1.0])
    u, v = (map_B - map_B.amin((1, 2), keepdim=True)).double(), map_B.flip(2)
    u, v = u / u.amax((1, 2), keepdim=True), (v - v.amin((1, 2), keepdim=True)).double()
    v = v / v.amax((1, 2), keepdim=True)
    a, b = u[0, 2:9, 3:10].numpy().ravel(), v[0, 2:9, 3:10].numpy().ravel()  # one window by the formula
    wanted = (2 * a.mean() * b.mean() + 1e-4) * (2 * np.cov(a, b, ddof=0)[0, 1] + 9e-4)
    wanted /= (a.mean() ** 2 + b.mean() ** 2 + 1e-4) * (a.var() + b.var() + 9e-4)
    assert structural_similarity(u[:1, 2:9, 3:10], v[:1, 2:9, 3:10]).shape == (1,)
    window = structural_similarity(torch.tensor(a).view(1, 7, 7), torch.tensor(b).view(1, 7, 7))
    low = (a - a.min()) / (a.max() - a.min()), (b - b.min()) / (b.max() - b.min())
    again = (2 * low[0].mean() * low[1].mean() + 1e-4) * (2 * np.cov(*low, ddof=0)[0, 1] + 9e-4)
    again /= (low[0].mean() ** 2 + low[1].mean() ** 2 + 1e-4) * (low[0].var() + low[1].var() + 9e-4)
    assert float(window) == pytest.approx(again)


def test_the_smallest_flip_of_a_linear_answer_is_the_known_one() -> None:
    """The answer turns where the mean of 16 pixels crosses 127.5: each moves by as much, and nothing else moves."""
    some = of_pictures(Spot(), 6)
    made = flips(some)
    away_B = (some.leaf.detach()[:, 0, :4, :4].mean((1, 2)) - 127.5).abs()
    assert made.found.all() and torch.equal(made.answer, 1 - some.said["label"])
    assert torch.all(made.length >= 4 * away_B - 1e-3) and torch.all(made.length <= 4.5 * away_B)
    change = (made.leaf - some.leaf.detach())[:, 0]
    assert torch.all(change[:, :4, :4].square().sum((1, 2)) > 0.999 * change.square().sum((1, 2)))
    held = whole(some, made)
    assert held.found.all() and torch.equal(held.leaf, held.leaf.round())
    assert held.leaf.min() >= 0 and held.leaf.max() <= 255
    assert torch.equal(some.answer(held.leaf.to(torch.uint8)), 1 - some.said["label"])


def test_what_nothing_flips_is_not_flipped() -> None:
    class Sure(Spot):
        def forward(self, x_BCHW: torch.Tensor) -> dict[str, torch.Tensor]:
            always = x_BCHW.float().mean((1, 2, 3)) * 1e-6
            return {"logits": torch.stack([5 + always, -5 - always], 1)}

    some = of_pictures(Sure(), 3)
    made = whole(some, flips(some, steps=10))
    assert not made.found.any() and torch.equal(made.leaf, some.leaf.detach()) and not made.length.any()


def row_of(size: float, colour: str | None) -> tuple[Asks, dict[str, torch.Tensor]]:
    task, model = Table(), Rows()
    batch = task.encode({"size": [size], "colour": [colour], "noise": [0.5]}, "predict")
    return Asks(task, model), freeze(task, model, batch)


def known_values(**more: list) -> object:
    columns = {**table(200), **more}
    return plausible(columns, Table().encode(columns, "predict")["table"], Table().asks)


@pytest.mark.parametrize(
    ("size", "colour", "wanted"),
    [
        (12.0, "blue", [("size", 12.0, 10.0)]),  # the nearest whole number that turns it, not one far off
        (3.0, "blue", [("colour", 1.0, "red")]),  # a category is nearer than eight units of size
        (10.0, "green", [("size", 10.0, 11.0)]),
        (4.0, "red", [("colour", 3.0, "blue")]),
    ],
)
def test_the_smallest_change_of_a_row(size: float, colour: str, wanted: list) -> None:
    made = smallest_change(*row_of(size, colour), known_values())  # type: ignore[arg-type]
    assert made is not None
    assert [(c["column"], c["from"], c["to"]) for c in made["changes"]] == wanted


def test_two_columns_change_only_where_one_is_not_enough() -> None:
    ask, said = row_of(18.0, "red")  # neither a small blue nor a large red alone turns it
    made = smallest_change(ask, said, known_values())  # type: ignore[arg-type]
    assert made is not None and {c["column"] for c in made["changes"]} == {"size", "colour"}
    assert int(ask(made["table"], said)[0][0]) == 0
    assert smallest_change(ask, said, known_values(), most_columns=1) is None  # type: ignore[arg-type]


def test_only_values_that_training_rows_held_are_proposed() -> None:
    known = known_values()
    assert known.numeric == (True, False, True) and known.whole == (True, False, False)  # type: ignore[attr-defined]
    assert {c.raw for c in known.cells if c.column == 1} == {"blue", "green", "red"}  # type: ignore[attr-defined]
    sizes = [c.raw for c in known.cells if c.column == 0]  # type: ignore[attr-defined]
    assert min(sizes) >= 0 and max(sizes) <= 20
    small = known_values(size=[5.0] * 200, colour=["blue"] * 200)
    assert smallest_change(*row_of(3.0, "blue"), small) is None  # type: ignore[arg-type]


def test_a_missing_category_can_be_filled() -> None:
    made = smallest_change(*row_of(3.0, None), known_values())  # type: ignore[arg-type]
    assert made is not None
    (change,) = made["changes"]
    assert (change["column"], change["to"]) == ("colour", "red") and math.isnan(change["from"])


def test_permutation_importance_sees_the_columns_that_count() -> None:
    task, columns = Table(), table(300)
    batch = task.encode(columns, "predict")
    told = permutation_importance(task, task.model(), columns, batch, seed=0, repeats=3, advance=lambda n: None)
    size, colour, noise = (mean for mean, _, _ in told)
    assert size > colour > 0.02 and noise == 0
    assert all(low <= mean <= high for mean, low, high in told)
    again = permutation_importance(task, task.model(), columns, batch, seed=0, repeats=3, advance=lambda n: None)
    assert again == told


def test_nearest_is_by_angle() -> None:
    references = torch.nn.functional.normalize(torch.tensor([[1.0, 0], [1, 1], [-1, 0], [2, 0.1]]), dim=1)
    index, cosine = nearest(torch.tensor([[1.0, 0.0]]), references, 3)
    assert index.tolist() == [[0, 3, 1]] and cosine[0, 2].item() == pytest.approx(math.sqrt(0.5))
    assert nearest(references, references, 9)[0].shape == (4, 4)


def test_features_are_those_declared_or_what_the_last_linear_layer_gets() -> None:
    task, model = Pictures(), Small().eval()
    batch = task.encode(pictures(5), "predict")
    declared = features_of(task, model, batch, 2)
    model_of_logits = Small().eval()
    model_of_logits.register_forward_hook(lambda module, inputs, said: {"logits": said["logits"]})
    found = features_of(task, model_of_logits, batch, 2)
    assert declared is not None and found is not None
    torch.testing.assert_close(found, declared)
    assert features_of(task, Spot(), batch, 2) is None


def test_fixed_spots() -> None:
    rng = np.random.default_rng(0)
    maps = rng.random((20, 20, 20))
    maps[:10, 0:3, 16:20] += 30
    first, second = spots(maps, ["stamped"] * 10 + ["plain"] * 10)
    assert first["answer"] == "stamped" and first["share"] > 0.5 and second["share"] < 0.15
    assert first["left"] >= 16 and first["bottom"] <= 3
    assert spots(maps[:4], ["few"] * 4) == []
    assert mass(-np.ones((1, 2, 2))).tolist() == [[[0.25, 0.25], [0.25, 0.25]]]
