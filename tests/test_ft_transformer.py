"""The networks for tables: parity with plain implementations, and what both promise."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.models.ft_transformer import FTTransformer
from lamina.models.table_mlp import TableMLP
from lamina.nn.table_embedding import BEND, TableEmbedding, bend

COLUMNS: list[dict[str, Any]] = [
    {"kind": "number", "center": 2.0, "scale": 0.5, "edges": [0.0, 1.0, 2.0, 4.0], "missing": True},
    {"kind": "category", "count": 3, "missing": False},
    {"kind": "number", "center": -1.0, "scale": 3.0, "edges": [-4.0, 5.0], "missing": False},
    {"kind": "category", "count": 2, "missing": True},
]
NAN = float("nan")


def rows(count: int = 6, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    number = torch.randn(count, 2, generator=g) * torch.tensor([0.5, 3.0]) + torch.tensor([2.0, -1.0])
    a, b = torch.randint(0, 4, (count,), generator=g), torch.randint(0, 3, (count,), generator=g)
    x_BC = torch.stack([number[:, 0], a.float(), number[:, 1], b.float()], dim=1)
    x_BC[0, 0] = x_BC[1, 3] = NAN
    return x_BC


def randomized(module: nn.Module, seed: int = 0) -> nn.Module:
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=g) * (0.5 if p.ndim < 2 else 1 / math.sqrt(p.shape[-1])))
    return module.eval()


MODELS = [
    lambda classes: TableMLP(COLUMNS, classes, width=16, embedding=4, members=3),
    lambda classes: FTTransformer(COLUMNS, classes, width=16, depth=2, heads=4),
]


def embedded(e: TableEmbedding, row: list[float]) -> Tensor:
    """A row cell by cell, with a loop where the module has tensors: (C, D)."""
    cells, number, category, gap = [], 0, 0, 0
    offset = 0
    for i, (column, x) in enumerate(zip(COLUMNS, row, strict=True)):
        cell = e.bias[i].clone()
        if column["kind"] == "number":
            if not math.isnan(x):
                v = (x - column["center"]) / column["scale"]
                cell += v / math.sqrt(1 + (v / BEND) ** 2) * e.value_weight[number]
                for t, (low, high) in enumerate(zip(column["edges"], column["edges"][1:], strict=False)):
                    cell += min(max((x - low) / (high - low), 0), 1) * e.bin_weight[number, t]
            number += 1
        else:
            if not math.isnan(x) and 1 <= x <= column["count"]:
                cell += e.codes[offset + int(x) - 1]
            offset += column["count"]
            category += 1
        if column["missing"]:
            if math.isnan(x):
                cell += e.missing[gap]
            gap += 1
        cells.append(cell)
    return torch.stack(cells)


def test_embedding_equals_a_loop_over_cells() -> None:
    e = TableEmbedding(COLUMNS, 5)
    randomized(e)
    x_BC = torch.cat([rows(8), torch.tensor([[1e9, 0, -1e9, 7], [NAN, NAN, NAN, NAN]])])
    with torch.no_grad():
        expected = torch.stack([embedded(e, row) for row in x_BC.tolist()])
        torch.testing.assert_close(e(x_BC), expected, rtol=1e-4, atol=1e-4)


def plain_ft(p: dict[str, Tensor], cells_BCD: Tensor, depth: int, heads: int) -> Tensor:
    """Gorishniy et al. 2021, section 3.3, in functions: every token asks in every block, and keys have a bias.

    Neither may change the answer of the CLS token, which is what our shortcuts claim.
    """
    B, _, D = cells_BCD.shape
    x = torch.cat([p["cls"].expand(B, 1, D), cells_BCD], 1)
    S = x.shape[1]
    for i in range(depth):
        q = {k.removeprefix(f"blocks.{i}."): v for k, v in p.items() if k.startswith(f"blocks.{i}.")}
        n = x if i == 0 else F.layer_norm(x, (D,), q["norm_attention.weight"], q["norm_attention.bias"])
        key_bias = torch.linspace(-1, 1, D)
        Q = F.linear(n, q["attention.query.weight"], q["attention.query.bias"]).view(B, S, heads, -1)
        K = F.linear(n, q["attention.key.weight"], key_bias).view(B, S, heads, -1)
        V = F.linear(n, q["attention.value.weight"], q["attention.value.bias"]).view(B, S, heads, -1)
        weights = torch.softmax(torch.einsum("bqhd,bkhd->bhqk", Q, K) / math.sqrt(D / heads), -1)
        said = torch.einsum("bhqk,bkhd->bqhd", weights, V).reshape(B, S, D)
        x = x + F.linear(said, q["attention.out.weight"], q["attention.out.bias"])
        n = F.layer_norm(x, (D,), q["norm_hidden.weight"], q["norm_hidden.bias"])
        h = F.linear(n, q["hidden_in.weight"], q["hidden_in.bias"])
        half = h.shape[-1] // 2
        x = x + F.linear(F.relu(h[..., :half]) * h[..., half:], q["hidden_out.weight"], q["hidden_out.bias"])
    return F.linear(F.relu(F.layer_norm(x[:, 0], (D,), p["norm.weight"], p["norm.bias"])), p["head.weight"], p["head.bias"])


@pytest.mark.parametrize("depth", [1, 3])
def test_ft_transformer_equals_a_plain_one(depth: int) -> None:
    model = FTTransformer(COLUMNS, 3, width=16, depth=depth, heads=4)
    randomized(model)
    x_BC = rows()
    with torch.no_grad():
        expected = plain_ft(dict(model.named_parameters()), model.embed(x_BC), depth, 4)
        torch.testing.assert_close(model(x_BC)["logits"], expected, rtol=1e-4, atol=1e-5)


def test_mlp_equals_its_members_one_by_one() -> None:
    model = TableMLP(COLUMNS, 3, width=8, depth=2, embedding=4, members=3)
    randomized(model)
    x_BC = rows()
    with torch.no_grad():
        flat = model.embed(x_BC).flatten(1)
        probabilities = []
        for m in range(3):
            h = flat
            for layer in model.layers:
                matrix = layer.scale_out[m][:, None] * layer.shared.weight * layer.scale_in[m]  # type: ignore[operator, union-attr, index]
                h = F.relu(h @ matrix.T + layer.bias[m])  # type: ignore[index]
            logits = h @ model.head.weight[m] + model.head.bias[m]
            torch.testing.assert_close(model(x_BC)["member_logits"][:, m], logits, rtol=1e-4, atol=1e-5)
            probabilities.append(logits.softmax(1))
        mean = torch.stack(probabilities).mean(0)
        torch.testing.assert_close(model(x_BC)["logits"].softmax(1), mean, rtol=1e-4, atol=1e-5)
        assert torch.allclose(model(x_BC)["logits"].exp().sum(1), torch.ones(6), atol=1e-5)


@pytest.mark.parametrize("build", MODELS)
@pytest.mark.parametrize("classes", [3, None])
def test_what_every_model_of_tables_promises(build: Any, classes: int | None) -> None:
    with torch.device("meta"):
        said = build(classes)(torch.empty(5, 4))
    main = "logits" if classes else "value"
    assert said[main].shape == (5, classes or 1) and said["features"].shape[0] == 5

    torch.manual_seed(0)
    model = build(classes)
    x_BC = rows()
    out = model(x_BC)
    sum(o.square().sum() for o in out.values()).backward()
    dead = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not dead, dead
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())  # missing cells poison no gradient

    randomized(model)
    with torch.no_grad():
        whole = model(x_BC)
        torch.testing.assert_close(model(x_BC), whole, rtol=0, atol=0)
        for i in range(6):
            torch.testing.assert_close(model(x_BC[i : i + 1])[main], whole[main][i : i + 1], rtol=1e-4, atol=1e-5)
        wild = model(torch.tensor([[3e38, 99.0, -3e38, -5.0], [NAN] * 4]))
    assert all(torch.isfinite(v).all() for v in wild.values())
    assert all(v.dtype == torch.float32 for v in whole.values())


@pytest.mark.parametrize("build", MODELS)
def test_the_table_is_seen_through_embed_alone(build: Any) -> None:
    model = randomized(build(3))
    x_BC = rows()
    kept = model.embed(x_BC).detach()  # type: ignore[operator]
    model.embed.register_forward_hook(lambda *_: kept)  # type: ignore[union-attr]
    with torch.no_grad():
        torch.testing.assert_close(model(torch.full_like(x_BC, NAN)), model(x_BC), rtol=0, atol=0)


def test_values_come_in_the_units_of_the_target() -> None:
    plain = randomized(TableMLP(COLUMNS, None, width=8, embedding=4, members=3))
    scaled = TableMLP(COLUMNS, None, width=8, embedding=4, members=3, target_mean=100.0, target_std=7.0)
    scaled.load_state_dict({k: v for k, v in plain.state_dict().items() if not k.startswith("target_")}, strict=False)
    x_BC = rows()
    with torch.no_grad():
        torch.testing.assert_close(scaled.eval()(x_BC)["value"], plain(x_BC)["value"] * 7 + 100)
        torch.testing.assert_close(plain(x_BC)["member_values"].mean(1, keepdim=True), plain(x_BC)["value"])


def test_bending_is_the_identity_near_zero_and_bounded() -> None:
    v = torch.tensor([0.0, 0.01, -0.01, 1e6, -1e6])
    assert torch.allclose(bend(v)[:3], v[:3], atol=1e-6) and torch.allclose(bend(v)[3:], torch.tensor([BEND, -BEND]))


def test_degenerate_columns_are_embedded() -> None:
    empty = {"kind": "number", "center": 0.0, "scale": 1.0, "edges": [], "missing": True}
    for columns in ([empty], [{"kind": "category", "count": 0, "missing": True}], [COLUMNS[1]]):
        out = TableEmbedding(columns, 3)(torch.tensor([[NAN], [1.0]]))
        assert out.shape == (2, 1, 3) and torch.isfinite(out).all()
