import re

import pytest
import torch

from lamina.errors import LaminaError
from lamina.models.vit import ViT, vit
from model_checks import MEAN, STD, check_model, count, pictures, randomize

SHAPE = (3, 16, 24)


def tiny(**options) -> ViT:
    return ViT(SHAPE, 5, MEAN, STD, **{"patch": 8, "width": 24, "depth": 3, "heads": 4, "ratio": 2.0, **options})


@pytest.mark.parametrize(("size", "expected"), [("tiny", 5_717_416), ("small", 22_050_664), ("base", 86_567_656)])
def test_published_parameter_counts(size, expected):
    with torch.device("meta"):
        assert count(vit(size, (3, 224, 224), 1000, MEAN, STD)) == expected


@pytest.mark.parametrize("pool", ["class", "mean"])
def test_keeps_the_promises_of_a_picture_model(pool):
    check_model(lambda: tiny(pool=pool, dropout=0.1, drop_path=0.1), SHAPE, 5, varies=False)


def test_equals_transformers():
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        image_size=SHAPE[1:],
        patch_size=8,
        num_channels=3,
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=48,
        layer_norm_eps=1e-6,
        num_labels=5,
    )
    theirs = transformers.ViTForImageClassification(config).eval()
    ours = randomize(tiny())
    state = {name: our_weight(ours.state_dict(), name) for name in theirs.state_dict()}
    theirs.load_state_dict(state, strict=True)
    assert sum(v.numel() for v in state.values()) == count(ours)  # every weight of ours was compared
    x = pictures(3, SHAPE)
    with torch.no_grad():
        expected = theirs(ours.normalize(x), output_hidden_states=True)
        actual = ours(x)
    torch.testing.assert_close(actual["logits"], expected.logits, rtol=1e-5, atol=1e-5)


def our_weight(ours: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    """The tensor of ours that theirs names so; both generations of their names (transformers 4 and 5)."""
    kind = name.rsplit(".", 1)[-1]
    block = re.search(r"layers?\.(\d+)\.", name)
    if block is None:
        outside = {
            r"cls_token$": "token",
            r"position_embeddings$": "positions",
            r"projection\.": f"embed.{kind}",
            r"layernorm\.": f"norm.{kind}",
            r"classifier\.": f"head.{kind}",
        }
        return next(ours[mine] for pattern, mine in outside.items() if re.search(pattern, name))
    front = f"blocks.{block.group(1)}"
    for third, pattern in enumerate((r"(q_proj|query)\.", r"(k_proj|key)\.", r"(v_proj|value)\.")):
        if re.search(pattern, name):
            return ours[f"{front}.attention.qkv.{kind}"].chunk(3)[third]
    inside = {
        r"(o_proj|attention\.output\.dense)\.": "attention.project",
        r"layernorm_before\.": "norm1",
        r"layernorm_after\.": "norm2",
        r"(fc1|intermediate\.dense)\.": "mlp.0",
        r"(fc2|output\.dense)\.": "mlp.3",
    }
    return next(ours[f"{front}.{mine}.{kind}"] for pattern, mine in inside.items() if re.search(pattern, name))


def test_mean_pooling_has_no_class_token():
    model = tiny(pool="mean")
    assert model.token is None
    assert model.positions.shape == (1, 6, 24)
    assert tiny().positions.shape == (1, 7, 24)


def test_without_positions_patches_may_change_places():
    """What attention promises: only the positions tell one place from another."""
    model = randomize(tiny(pool="mean"))
    x = pictures(2, SHAPE).float()
    swapped = torch.cat([x[:, :, 8:], x[:, :, :8]], 2)
    assert not torch.allclose(model(x)["logits"], model(swapped)["logits"], atol=1e-3)
    torch.nn.init.zeros_(model.positions)
    torch.testing.assert_close(model(x)["logits"], model(swapped)["logits"], rtol=1e-4, atol=1e-4)


def test_queries_keys_and_values_start_as_square_matrices():
    torch.manual_seed(0)
    model = ViT((3, 8, 8), 5, MEAN, STD, patch=8, width=192, depth=1, heads=3)
    weight = model.blocks[0].attention.qkv.weight
    assert weight.std().item() == pytest.approx((2 / (192 + 192)) ** 0.5, rel=0.02)


def test_mistakes_are_told():
    with pytest.raises(LaminaError, match="vit patch: expected a divisor of 16 and 24, got 7"):
        tiny(patch=7)
    with pytest.raises(LaminaError, match="vit heads"):
        tiny(heads=5)
    with pytest.raises(LaminaError, match="vit pool"):
        tiny(pool="max")
    with pytest.raises(LaminaError, match=r"vit size.*'huge'"):
        vit("huge", SHAPE, 5, MEAN, STD)  # type: ignore[arg-type]


def test_a_small_one_learns_the_digits():
    """Two blocks of width 48: in this size a Transformer learns in seconds what vit-tiny takes minutes for."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = torch.from_numpy(digits.images * 15.9).to(torch.uint8)[:, None]
    y = torch.from_numpy(digits.target)
    torch.manual_seed(0)
    model = ViT((1, 8, 8), 10, [78.0], [96.0], patch=2, width=48, depth=2, heads=4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(12):
        for rows in torch.randperm(1400).split(100):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[rows])["logits"], y[rows]).backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        accuracy = (model(x[1400:])["logits"].argmax(1) == y[1400:]).float().mean()
    assert accuracy > 0.8, accuracy
