"""The leaf stands for the input: the same output, a gradient that is right, and no trace left in the model."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from faultless import Bag, Cells, Words
from lamina.data.source import Source
from lamina.errors import LaminaError
from lamina.leaf import clamp, leaf, stands_by_embedding
from lamina.task import Batch, Columns, Input, Mode, Task


@dataclasses.dataclass(frozen=True)
class Picture(Task):
    """Pictures of 2x2 pixels, and two numbers beside them."""

    modality: Any = "image"

    @property
    def inputs(self) -> tuple[Input, ...]:
        side = (Input("beside", ("B", 2), "float32", "side"), Input("code", ("B",), "int64", "side"))
        return (Input("x", ("B", 1, 2, 2), "uint8", self.modality, 0, 255), *side)


class Weighted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))

    def forward(self, x_BCHW: Tensor, beside_B2: Tensor, code_B: Tensor) -> Tensor:
        return (x_BCHW / 255 * self.weight).sum((1, 2, 3)) + beside_B2.prod(1)


def pictures() -> Batch:
    x = torch.tensor([[0, 255, 51, 102], [1, 2, 3, 4]], dtype=torch.uint8).view(2, 1, 2, 2)
    return {"x": x, "beside": torch.tensor([[2.0, 3.0], [4.0, 5.0]]), "code": torch.zeros(2, dtype=torch.int64)}


def prepared(task: Task, mode: Mode = "evaluate") -> tuple[Task, nn.Module, Batch]:
    data = task.read(Source())
    ready = task.prepare(data)
    rows: Columns = {name: list(column[:5]) for name, column in data.train.items()}
    return ready, ready.model().eval(), ready.encode(rows, mode)


def outcome(output: Any) -> Tensor:
    return output["logits"] if isinstance(output, dict) else output


def test_a_picture_is_its_own_leaf_in_raw_units() -> None:
    task, model, batch = Picture(), Weighted(), pictures()
    x, forward = leaf(task, model, batch)
    assert x.dtype == torch.float32 and x.requires_grad and torch.equal(x.detach(), batch["x"].float())
    output = outcome(forward(x))
    assert torch.equal(output, outcome(task.outputs(model, batch)))
    (gradient,) = torch.autograd.grad(output.sum(), x)
    assert torch.allclose(gradient, (model.weight / 255).detach().expand(2, 1, 2, 2))
    assert batch["x"].dtype == torch.uint8, "the batch stays as it was"


def test_another_input_may_be_the_leaf() -> None:
    x, forward = leaf(Picture(), Weighted(), pictures(), index=1)
    (gradient,) = torch.autograd.grad(outcome(forward(x)).sum(), x)
    assert gradient.tolist() == [[3.0, 2.0], [5.0, 4.0]]  # of a product, the other factor


def test_codes_beside_have_no_leaf() -> None:
    with pytest.raises(LaminaError, match="'code' holds int64 codes"):
        leaf(Picture(), Weighted(), pictures(), index=2)


@pytest.mark.parametrize("kind", [Words, Cells])
def test_embedding_stands_for_codes(kind: type[Task]) -> None:
    task, model, batch = prepared(kind())
    before = outcome(task.outputs(model, batch))
    x, forward = leaf(task, model, batch)
    assert x.requires_grad and x.is_leaf and x.dim() == 3 and len(x) == 5
    assert torch.equal(outcome(forward(x)), before)
    (gradient,) = torch.autograd.grad(outcome(forward(x)).square().sum(), x)
    assert gradient.shape == x.shape and bool((gradient != 0).any())
    moved = outcome(forward(x.detach() + 1))
    assert not torch.allclose(moved, before)
    assert torch.equal(outcome(task.outputs(model, batch)), before), "no hook is left behind"
    assert all(not m._forward_hooks for m in model.modules())


def test_gradient_is_that_of_finite_differences() -> None:
    task, model, batch = prepared(Words())
    x, forward = leaf(task, model.double(), batch)
    assert torch.autograd.gradcheck(lambda y: outcome(forward(y)), (x,))


def test_padding_has_no_gradient_where_the_model_masks_it() -> None:
    task, model, batch = prepared(Words())
    x, forward = leaf(task, model, batch)
    (gradient,) = torch.autograd.grad(outcome(forward(x)).sum(), x)
    padded_BT = torch.arange(x.shape[1])[None] >= batch["lengths"][:, None]
    assert padded_BT.any() and not gradient[padded_BT].any()


def test_gradients_flow_into_the_parameters_too() -> None:
    task, model, batch = prepared(Words())
    x, forward = leaf(task, model, batch)
    outcome(forward(x)).sum().backward()
    assert x.grad is not None and model.get_parameter("head.weight").grad is not None


class Never(Bag):
    def forward(self, x_BT: Tensor, length_B: Tensor) -> dict[str, Tensor]:
        return {"logits": self.head(nn.functional.embedding(x_BT, self.embed.weight).mean(1).repeat(1, 2))}


class Twice(Bag):
    def forward(self, x_BT: Tensor, length_B: Tensor) -> dict[str, Tensor]:
        self.embed(x_BT)
        return super().forward(x_BT, length_B)


@pytest.mark.parametrize(("kind", "times"), [(Never, 0), (Twice, 2)])
def test_the_embedding_must_run_exactly_once(kind: type[Bag], times: int) -> None:
    task, _, batch = prepared(Words())
    model = kind(8, 3)
    with pytest.raises(LaminaError, match=f"exactly once in a forward; it ran {times} times"):
        leaf(task, model, batch)
    assert not model.embed._forward_hooks


def test_hooks_go_when_the_model_stops() -> None:
    task, model, batch = prepared(Words())
    x, forward = leaf(task, model, batch)
    with pytest.raises(RuntimeError):
        forward(x[:, :, :3])
    assert not model.get_submodule("embed")._forward_hooks


class Unnamed(Words):
    @property
    def embed(self) -> str | None:
        return None


class Misnamed(Words):
    @property
    def embed(self) -> str | None:
        return "embedding"


class Pair(Words):
    @property
    def embed(self) -> str | None:
        return "pair"


def test_mistakes_in_embed_are_one_line() -> None:
    for kind, said in ((Unnamed, "expected `embed` to name the submodule"), (Misnamed, r"\(embed, head, ...\); got 'embedding'")):
        task, model, batch = prepared(kind())
        with pytest.raises(LaminaError, match=said) as caught:
            leaf(task, model, batch)
        assert "\n" not in str(caught.value)


def test_the_embedding_must_return_one_tensor() -> None:
    class Two(nn.Module):
        def forward(self, x_BT: Tensor) -> tuple[Tensor, Tensor]:
            return x_BT, x_BT

    task, model, batch = prepared(Pair())
    model.add_module("pair", Two())
    model.forward = lambda x_BT, length_B: {"logits": model.get_submodule("pair")(x_BT)[0].float()}
    with pytest.raises(LaminaError, match="to return one tensor; got tuple"):
        leaf(task, model, batch)


@pytest.mark.parametrize(
    ("modality", "dtype", "embed", "stands"),
    [
        ("image", "uint8", "embed", False), ("audio", "float32", None, False), ("observation", "float32", "embed", False),
        ("observation", "int64", "embed", True), ("text", "int64", "embed", True), ("table", "float32", "embed", True),
        ("table", "float32", None, False), ("text", "float32", None, False), ("text", "int64", None, None),
        ("observation", "int64", None, None),
    ],
)  # fmt: skip
def test_what_the_leaf_is_follows_from_the_declaration(modality: Any, dtype: str, embed: str | None, stands: bool | None) -> None:
    class Declared(Task):
        @property
        def inputs(self) -> tuple[Input, ...]:
            return (Input("x", ("B", 3), dtype, modality),)

    Declared.embed = property(lambda self: embed)  # type: ignore[method-assign]
    if stands is None:
        with pytest.raises(LaminaError, match="no gradient"):
            stands_by_embedding(Declared())
    else:
        assert stands_by_embedding(Declared()) is stands


def test_clamp_keeps_within_bounds() -> None:
    x = torch.tensor([[-5.0, 0.5], [300.0, float("nan")]], requires_grad=True)
    assert clamp(x, None, None) is x
    clamped = clamp(x, 0, 255)
    assert clamped[0].tolist() == [0.0, 0.5] and clamped[1, 0] == 255 and clamped[1, 1].isnan(), "missing stays missing"
    (gradient,) = torch.autograd.grad(clamped[0].sum(), x)
    assert gradient[0].tolist() == [0.0, 1.0]
    assert clamp(x, 0, None)[1, 0] == 300 and clamp(x, None, 255)[0, 0] == -5


def test_clamp_per_column_and_in_the_leafs_dtype() -> None:
    x = torch.tensor([[-5.0, 5.0], [5.0, -5.0]], dtype=torch.float64)
    assert clamp(x, (0.0, -1.0), (1.0, float("inf"))).tolist() == [[0.0, 5.0], [1.0, -1.0]]
    assert clamp(x, (0.0, -1.0), None).dtype == torch.float64
    pixels = torch.full((2, 3, 2, 2), 9.0)
    assert clamp(pixels, None, (1.0, 2.0, 3.0))[0, :, 0, 0].tolist() == [1.0, 2.0, 3.0], "dimension 1 is the column or channel"
