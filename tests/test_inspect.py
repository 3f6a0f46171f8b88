"""What `lamina inspect` finds inside a network: parity with independent counts, and planted faults that must be found.

Legend: B examples, D features.
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import nn

from lamina.ask import Asked
from lamina.data.source import Data
from lamina.errors import LaminaError
from lamina.inspect import excite, gradients, layers, neurons, probes, trace
from lamina.inspect.api import inspect
from lamina.inspect.settings import Settings, check
from lamina.task import Columns, Input
from tiny_task import Tiny, TinyRun, rows

SIDE, D, K = 12, 6, 3
COLORS = ("red", "green", "blue")


@dataclass(frozen=True)
class Vectors(Tiny):
    """Numbers (B, D) and a class of K; the network is given by the test."""

    modality: str = "observation"
    shape: tuple[int, ...] = (D,)

    @property
    def inputs(self) -> tuple[Input, ...]:
        return (Input("x", ("B", *self.shape), "float32", self.modality, 0.0, 1.0),)  # type: ignore[arg-type]

    def encode(self, columns: Columns, mode: Any) -> dict[str, torch.Tensor]:
        x = torch.tensor(np.asarray(columns["x"]), dtype=torch.float32)
        return {"x": x, "label": torch.tensor(np.asarray(columns["label"]), dtype=torch.int64)}


class Logits(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.net(x)}


class Held(TinyRun):
    """A run whose model is given."""

    def model(self) -> nn.Module:
        return self.network.eval()  # type: ignore[attr-defined]


def examples(count: int, shape: tuple[int, ...], seed: int) -> Columns:
    """The class is the place of the greatest of the first K numbers."""
    x = np.random.default_rng(seed).random((count, *shape)).astype(np.float32)
    return {"x": x, "label": x.reshape(count, -1)[:, :K].argmax(1)}


def run_of(net: nn.Module, folder: Any, modality: str = "observation", shape: tuple[int, ...] = (D,)) -> Held:
    data = Data(examples(200, shape, 1), examples(60, shape, 2), rows(0, 3), examples(60, shape, 4), fingerprint="given")
    run = Held(folder, Vectors(modality=modality, shape=shape), data)
    run.network = Logits(net)  # type: ignore[attr-defined]
    return run


@dataclass(frozen=True)
class Named(Vectors):
    """The classes have names, as files hold them."""

    def encode(self, columns: Columns, mode: Any) -> dict[str, torch.Tensor]:
        return super().encode({**columns, "label": [COLORS.index(name) for name in columns["label"]]}, mode)


def batch_of(shape: tuple[int, ...] = (D,), count: int = 16) -> dict[str, torch.Tensor]:
    return Vectors(shape=shape).encode(examples(count, shape, 5), "evaluate")


def mlp(activation: type[nn.Module] = nn.ReLU, depth: int = 2, width: int = 16) -> nn.Sequential:
    torch.manual_seed(0)
    sizes = [D] + [width] * depth
    parts: list[nn.Module] = []
    for i, o in itertools.pairwise(sizes):
        parts += [nn.Linear(i, o), activation()]
    return nn.Sequential(*parts, nn.Linear(width, K))


class Residual(nn.Module):
    """A 5x5 kernel beside a path of 3x3 with stride 2 undone by nothing: the widest branch counts."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.wide = nn.Conv2d(4, 4, 5, padding=2)
        self.after = nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.last = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, K)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = torch.relu(x + self.wide(x))
        return self.head(self.last(self.after(x)).mean((2, 3)))


class WrongSquare(torch.autograd.Function):
    """x squared, whose gradient forgets the factor 2."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return grad * ctx.saved_tensors[0]


class Squared(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return WrongSquare.apply(x)  # type: ignore[no-any-return]


def test_flops_by_formula_are_those_of_the_operators():
    shape = (1, 32, 32)
    found, formula, counted = layers.layers_of(Vectors(modality="image", shape=shape), Logits(Residual()).eval(), batch_of(shape))
    assert formula == counted == 2 * (9 * 4 * 1024 + 4 * 25 * 4 * 1024 + 2 * 4 * 9 * 4 * 256 + 4 * K)
    assert sum(f.parameters for f in found) == sum(p.numel() for p in Residual().parameters())


class Attends(nn.Module):
    """Attention over D positions of width 8, in one head, by torch's own function."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(1, 24)
        self.head = nn.Linear(8, K)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x.unsqueeze(-1)).unsqueeze(1).chunk(3, -1)
        return self.head(nn.functional.scaled_dot_product_attention(q, k, v)[:, 0].mean(1))


def test_flops_of_attention_are_counted_beside_those_of_layers():
    _, formula, counted = layers.layers_of(Vectors(), Logits(Attends()).eval(), batch_of())
    assert formula == 2 * (D * 24 + 8 * K)
    assert counted - formula == 2 * 2 * D * D * 8  # the scores, and what they weigh


def test_the_receptive_field_is_where_gradients_come_from():
    """Independent: with every weight positive, the pixels with a gradient are those that a value in the middle sees."""
    shape, net = (1, 32, 32), Residual()
    found, _, _ = layers.layers_of(Vectors(modality="image", shape=shape), Logits(net).eval(), batch_of(shape))
    said = {f.name.removeprefix("net."): f.receptive for f in found}
    for p in net.parameters():
        p.data = p.data.abs() + 0.1
    for name in ("stem", "wide", "after", "last"):
        x = torch.rand(1, *shape, requires_grad=True)
        with trace.watched(net, [name]) as seen:
            net(x)
        middle = seen[name].shape[-1] // 2
        (grad,) = torch.autograd.grad(seen[name][0, :, middle, middle].sum(), x)
        assert int((grad[0, 0].abs().sum(0) > 0).sum()) == said[name]
    assert said["head"] == float("inf")


def test_a_shared_module_is_counted_once():
    shared = nn.Linear(D, D)
    found, formula, counted = layers.layers_of(
        Vectors(), Logits(nn.Sequential(shared, shared, nn.Linear(D, K))).eval(), batch_of()
    )
    assert [f.parameters for f in found] == [D * D + D, 0, D * K + K]
    assert formula == counted


@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU, nn.SiLU])
def test_a_dead_layer_is_found_and_named(tmp_path, activation):
    net = mlp(activation)
    nn.init.constant_(net[2].bias, -1e3)  # type: ignore[arg-type]
    verdict = inspect(Asked(run_of(net, tmp_path), Settings(quick=True)))
    dead = {row["where"]: row["dead"] for row in verdict.details["units"]}
    assert dead["net.3 #1"] == 16
    assert dead["net.1 #1"] < 16
    assert verdict.figures["dead_units"]["value"] == sum(dead.values())
    assert any("net.3" in line and "16 of 16 units are dead" in line for line in verdict.warnings)


@pytest.mark.parametrize("activation", [nn.Sigmoid, nn.Tanh])
def test_a_saturated_layer_is_found_and_a_healthy_one_is_not(tmp_path, activation):
    net = mlp(activation)
    assert inspect(Asked(run_of(net, tmp_path), Settings(quick=True))).figures["saturated_units"]["value"] == 0
    nn.init.constant_(net[0].bias, 50.0)  # type: ignore[arg-type]
    verdict = inspect(Asked(run_of(net, tmp_path), Settings(quick=True)))
    assert verdict.figures["saturated_units"]["value"] == 16
    assert any("net.1" in line and "saturated" in line for line in verdict.warnings)


def test_activations_written_as_functions_count_like_modules():
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 3)
            nn.init.constant_(self.conv.bias[:1].detach(), -1e3)  # type: ignore[index]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.relu(self.conv(x)).mean((2, 3))[:, :K]

    shape = (1, SIDE, SIDE)
    (row,) = neurons.units_of(Vectors(shape=shape), Logits(Plain()).eval(), [batch_of(shape), batch_of(shape)])
    assert row["activation"] == "ReLU"
    assert row["units"] == 4
    assert 0 in row["dead_units"]


def test_the_numerical_check_passes_what_is_right_and_finds_what_is_wrong(tmp_path):
    good = gradients.numerical_check(Vectors(), Logits(mlp()).eval(), batch_of(), 3, 0)
    assert all(row["agrees"] and row["large_enough"] for row in good)
    assert len(good) == 1 + 6
    first = mlp()
    bad = nn.Sequential(first[0], Squared(), first[2], first[4])
    found = {
        row["parameter"]: row["agrees"] for row in gradients.numerical_check(Vectors(), Logits(bad).eval(), batch_of(), 3, 0)
    }
    assert not found["net.0.weight"]  # before the fault, toward the input
    assert not found["(the input)"]
    assert found["net.2.weight"]  # after it
    assert found["net.3.bias"]
    verdict = inspect(Asked(run_of(bad, tmp_path), Settings(quick=True)))
    assert verdict.figures["wrong_gradients"]["value"] == 3
    assert "Backpropagation is wrong for 3 of" in verdict.warnings[0]


def test_the_check_leaves_the_model_as_it_was():
    model = Logits(mlp()).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    gradients.numerical_check(Vectors(), model, batch_of(), 1, 0)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_float64_survives_a_model_that_asks_for_float32():
    class Cautious(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.line = nn.Linear(D, K)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.line(x.to(torch.float32)).float()

    assert all(row["greatest_error"] < 1e-4 for row in gradients.numerical_check(Vectors(), Logits(Cautious()), batch_of(), 2, 0))


def test_a_deep_sigmoid_network_vanishes_and_a_shallow_relu_does_not(tmp_path):
    deep = inspect(Asked(run_of(mlp(nn.Sigmoid, depth=12), tmp_path), Settings(quick=True)))
    assert any("Gradients vanish" in line for line in deep.warnings)
    assert deep.figures["gradient_first_to_last"]["value"] < gradients.VANISHING
    assert "neither vanish nor explode" in gradients.flow_in_words(gradients.flow(Vectors(), Logits(mlp()), batch_of()))[0]


def test_exploding_gradients_are_said():
    rows_ = [{"matrix": True, "per_value": size} for size in (1e5, 1e3, 1.0)]
    assert "explode" in gradients.flow_in_words(rows_)[0]
    assert gradients.flow_in_words(rows_[:1])[1] is None


def test_the_probe_is_ridge_regression():
    """Against scikit-learn's, at the penalty of least leave-one-out error computed by leaving one out."""
    generator = np.random.default_rng(0)
    x, z = generator.normal(size=(40, 5)), generator.normal(size=(10, 5))
    y = x @ generator.normal(size=(5, 1)) + generator.normal(size=(40, 1))
    scaled, judged = (x - x.mean(0)) / x.std(0), (z - x.mean(0)) / x.std(0)

    def left_out(penalty: float) -> float:
        masks = [np.arange(40) != i for i in range(40)]
        return sum(
            float((y[i] - Ridge(penalty).fit(scaled[m], y[m]).predict(scaled[i : i + 1])).item() ** 2)
            for i, m in enumerate(masks)
        )

    best = min(probes.PENALTIES, key=left_out)
    np.testing.assert_allclose(
        probes.ridge(x, y, z).ravel(), Ridge(best).fit(scaled, y).predict(judged).ravel(), rtol=1e-3, atol=1e-3
    )


def test_the_probe_sees_which_depth_separates_which_class():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 400)
    noise, clear = generator.normal(size=(400, 4)), generator.normal(size=(400, 4)) + 6 * labels[:, None]
    depths = {"noise": noise, "clear": clear}
    rows_, by_class = probes.probe(
        {n: x[:200] for n, x in depths.items()}, labels[:200], {n: x[200:] for n, x in depths.items()}, labels[200:], 0.95
    )
    assert rows_[0]["accuracy"] < 0.65
    assert rows_[1]["accuracy"] == 1.0
    assert [row["separable_from"] for row in by_class] == ["clear", "clear"]


def test_what_a_wide_layer_keeps_of_its_input_is_seen_by_the_probe():
    """A convolution of 1x1 loses nothing: the pixels must follow linearly from what the probe is given of 40 channels."""
    torch.manual_seed(0)
    x = torch.rand(300, 1, 8, 8)
    given = probes.narrowed(nn.Conv2d(1, 40, 1)(x))
    assert given.shape[1] <= probes.WIDEST < 40 * 64
    solved = torch.linalg.lstsq(torch.cat([given, torch.ones(300, 1)], 1).double()[:200], x.flatten(1).double()[:200]).solution
    told = torch.cat([given, torch.ones(300, 1)], 1).double()[200:] @ solved
    assert float((told - x.flatten(1)[200:]).abs().max()) < 1e-3


@pytest.mark.parametrize("shape", [(3000,), (65, 192), (2048, 4, 4), (8, 64, 64)])
def test_a_probe_is_never_given_more_than_it_can_take(shape):
    given = probes.narrowed(torch.rand(4, *shape))
    assert given.shape[0] == 4 and given.shape[1] <= probes.WIDEST and bool(given.isfinite().all())
    torch.manual_seed(1)
    x = torch.rand(4, *shape)
    assert torch.equal(probes.narrowed(x)[1:], probes.narrowed(x[1:]))  # the same whatever the batch


def test_classes_are_called_by_their_names(tmp_path):
    parts = [examples(count, (D,), seed) for count, seed in ((200, 1), (60, 2), (60, 4))]
    named = [{**part, "label": [COLORS[k] for k in part["label"]]} for part in parts]
    run = Held(tmp_path, Named(modality="observation"), Data(named[0], named[1], rows(0, 3), named[2], fingerprint="given"))
    run.network = Logits(mlp())  # type: ignore[attr-defined]
    verdict = inspect(Asked(run, Settings(quick=True)))
    by_class = verdict.tables["classes by depth"]
    assert {row["class"] for row in by_class} == set(COLORS) and list(by_class[0])[:2] == ["class", "separable_from"]
    late = [row["class"] for row in by_class if row["separable_from"] == "nowhere"]
    assert any(", ".join(late) in line for line in verdict.sentences) if late else True
    for row in verdict.tables["examples that excite a unit"]:
        shown = [named[1]["label"][int(number) - 1] for number in row["rows"].split()]  # rows of the validation part, from 1
        assert {f"{name} ({shown.count(name)})" for name in shown} == set(row["classes"].split(", "))
        if row["depth"] == "net.4":  # what gives the logits: its units are the classes
            assert row["unit"] in {f"{k} ({name})" for k, name in enumerate(COLORS)}
        else:
            assert row["unit"].isdigit()
    assert {row["depth"] for row in verdict.tables["examples that excite a unit"]} >= {"net.0", "net.4"}


def test_another_precision_is_told_to_change_nothing_and_an_unknown_device_is_refused(tmp_path):
    run, settings = run_of(mlp(), tmp_path), Settings(quick=True)
    plain, told = (inspect(Asked(run, settings, precision=precision)) for precision in ("float32", "bfloat16"))
    assert plain.figures == told.figures
    assert [line for line in told.warnings if line not in plain.warnings] == [
        "everything is computed in float32: --precision bfloat16 changes nothing here"
    ]
    with pytest.raises(LaminaError, match="--device: expected auto or a device"):
        inspect(Asked(run, settings, device="abacus"))


def test_modules_that_never_run_or_know_no_examples_are_left_out(tmp_path):
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.place = nn.Parameter(torch.zeros(D))

        def forward(self) -> torch.Tensor:
            return self.place[None]

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.spare, self.positions, self.head = nn.Linear(D, D), Positions(), nn.Linear(D, K)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x + self.positions())

    verdict = inspect(Asked(run_of(Odd(), tmp_path), Settings(quick=True)))
    assert {row["depth"] for row in verdict.tables["examples that excite a unit"]} == {"net.head"}
    assert [row["depth"] for row in verdict.tables["probes by depth"]] == ["(the input)", "net.head"]
    assert any("no gradient reaches net.spare.weight" in line for line in verdict.warnings)


def test_numbers_are_judged_by_r2():
    x = np.random.default_rng(0).normal(size=(200, 3))
    (row,), none = probes.probe({"a": x[:100]}, x[:100, 0] * 2, {"a": x[100:]}, x[100:, 0] * 2, 0.95)
    assert row["r2"] > 0.99
    assert not none


def test_features_that_never_change_tell_the_mean():
    said = probes.ridge(np.ones((4, 2)), np.array([[0.0], [1.0], [1.0], [0.0]]), np.ones((2, 2)))
    assert said.tolist() == [[0.5], [0.5]]


def test_the_made_picture_excites_more_than_any_example_and_stays_in_range(tmp_path):
    torch.manual_seed(0)
    shape = (1, SIDE, SIDE)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 100, K))
    task, model, batch = Vectors(modality="image", shape=shape), Logits(net).eval(), batch_of(shape, 40)
    best = excite.exciting(task, model, ["net.0"], [batch], 3, 5)["net.0"]
    made, most = excite.maximizing(task, model, "net.0", list(best), batch, 40, 0)
    assert float(made.min()) >= 0
    assert float(made.max()) <= 1
    with torch.no_grad():
        said = excite.by_unit(net[0](batch["x"]))
    for place, (unit, chosen) in enumerate(best.items()):
        assert chosen == said[:, unit].argsort(descending=True)[:5].tolist()
        assert float(most[place]) > float(said[:, unit].max())
    verdict = inspect(Asked(run_of(net, tmp_path, "image", shape), Settings(quick=True)))
    assert all(path.is_file() and path.stat().st_size for path in verdict.pictures.values())
    assert any(path.name.startswith("made_") for path in verdict.pictures.values())


def test_a_table_has_no_pictures_and_says_so(tmp_path):
    verdict = inspect(Asked(run_of(mlp(), tmp_path), Settings(quick=True)))
    assert "pictures that excite a unit" in verdict.skipped
    assert {path.suffix for path in verdict.pictures.values()} == {".svg"}


def test_a_network_without_activations_or_parameters_is_answered_in_words(tmp_path):
    verdict = inspect(Asked(run_of(nn.Identity(), tmp_path), Settings(quick=True)))
    assert {"dead and saturated units", "gradients"} <= verdict.skipped.keys()


def test_the_same_seed_gives_the_same_figures(tmp_path):
    first, second = (inspect(Asked(run_of(mlp(), tmp_path), Settings(quick=True))).figures for _ in range(2))
    assert first == second


@pytest.mark.parametrize("wrong", [{"examples": 1}, {"directions": 0}, {"confidence": 1.0}, {"steps": -1}, {"seed": -1}])
def test_a_setting_out_of_range_is_refused_by_its_flag(wrong):
    with pytest.raises(LaminaError, match=f"--{next(iter(wrong))}"):
        check(dataclasses.replace(Settings(), **wrong))


def test_rounding_is_not_taken_for_a_wrong_gradient() -> None:
    """A loss that differs from zero by its rounding alone, as of a network that is very sure: every step finds another slope."""
    torch.manual_seed(0)
    weight = torch.randn(200, dtype=torch.float64, requires_grad=True)
    inputs = torch.randn(200, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)

    def loss() -> torch.Tensor:
        return 3e-8 * (inputs * weight).sum() + (1e3 * torch.sin(1e8 * weight.detach().sum())).detach() * 1e-13

    row = gradients._checked("weight", weight, loss, 4, generator)
    assert row["agrees"] and not row["large_enough"]
    assert gradients._settled([1.0, 1.2, 1.0005]) and not gradients._settled([1.0, 1.2, 0.9]) and not gradients._settled([1.0])
