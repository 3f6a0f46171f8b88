import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lamina.errors import LaminaError
from lamina.models.resnet import CIFAR, LEAST_WIDTH, ResNet, resnet
from model_checks import MEAN, STD, check_model, count, pictures, randomize


@pytest.mark.parametrize(
    ("depth", "classes", "expected"),
    [
        (18, 1000, 11_689_512),
        (34, 1000, 21_797_672),
        (50, 1000, 25_557_032),
        (101, 1000, 44_549_160),
        (152, 1000, 60_192_808),
        (20, 10, 272_474),  # 0.27M in the paper; its option A has 2,752 fewer, the two projections and their norms
    ],
)
def test_published_parameter_counts(depth, classes, expected):
    with torch.device("meta"):
        assert count(resnet(depth, classes, 3, MEAN, STD)) == expected


@pytest.mark.parametrize(
    "options",
    [
        {"depth": 20, "width": 0.25, "drop_path": 0.1, "dropout": 0.1},
        {"depth": 18, "width": 0.125, "drop_path": 0.1},
        {"depth": 50, "width": 0.0625, "small": True, "zero_init": False},
    ],
)
def test_keeps_the_promises_of_a_picture_model(options):
    options = json.loads(json.dumps(options))
    check_model(lambda: resnet(classes=5, channels=3, mean=MEAN, std=STD, **options), (3, 32, 32), 5, varies=True)


@pytest.mark.parametrize("bottleneck", [False, True])
def test_equals_transformers(bottleneck):
    transformers = pytest.importorskip("transformers")
    sizes = [16, 24, 32] if bottleneck else [8, 16, 24]
    config = transformers.ResNetConfig(
        num_channels=3,
        embedding_size=sizes[0] // (4 if bottleneck else 1),
        hidden_sizes=sizes,
        depths=[1, 2, 2],
        layer_type="bottleneck" if bottleneck else "basic",
        num_labels=5,
    )
    theirs = transformers.ResNetForImageClassification(config).eval()
    widths = [size // (4 if bottleneck else 1) for size in sizes]
    ours = randomize(ResNet([1, 2, 2], widths, bottleneck, classes=5, channels=3, mean=MEAN, std=STD))
    weights = {k: v for k, v in ours.state_dict().items() if not k.startswith("normalize.")}
    theirs.load_state_dict({their_name(k): v for k, v in weights.items()}, strict=True)
    x = pictures(3, (3, 45, 38))
    with torch.no_grad():
        expected = theirs(ours.normalize(x), output_hidden_states=True)
        actual = ours(x)
    scale = expected.logits.abs().max()
    torch.testing.assert_close(actual["logits"] / scale, expected.logits / scale, rtol=0, atol=1e-5)
    pooled = expected.hidden_states[-1].mean((2, 3))
    torch.testing.assert_close(actual["features"] / pooled.max(), pooled / pooled.max(), rtol=0, atol=1e-5)


def their_name(name: str) -> str:
    kinds = {"conv": "convolution", "norm": "normalization", "0": "convolution", "1": "normalization"}
    parts = name.split(".")
    if parts[0] == "head":
        return f"classifier.1.{parts[1]}"
    if parts[0] == "stem":
        return f"resnet.embedder.embedder.{kinds[parts[1]]}.{parts[2]}"
    _, stage, block, layer, *rest = parts
    front = f"resnet.encoder.stages.{stage}.layers.{block}"
    if layer == "shortcut":
        return f"{front}.shortcut.{kinds[rest[0]]}.{rest[1]}"
    return f"{front}.layer.{int(layer[-1]) - 1}.{kinds[layer[:-1]]}.{rest[0]}"


def test_resnet20_equals_the_formulas_of_the_paper():
    """Section 4.2 written out with functions: 3x3 stem, three stages of n = 3 blocks, mean, linear."""
    model = randomize(resnet(20, 10, 3, MEAN, STD))
    weights = model.state_dict()

    def norm(x, name):
        mean, var, gamma, beta = (
            weights[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * gamma + beta

    x = pictures(2, (3, 32, 32))
    mean, std = (torch.tensor(v)[:, None, None] for v in (MEAN, STD))
    h = norm(F.conv2d((x - mean) / std, weights["stem.0.weight"], padding=1), "stem.1").clamp(min=0)
    for stage in range(3):
        for block in range(3):
            name = f"stages.{stage}.{block}"
            stride = 2 if stage > 0 and block == 0 else 1
            y = norm(F.conv2d(h, weights[f"{name}.conv1.weight"], stride=stride, padding=1), f"{name}.norm1").clamp(min=0)
            y = norm(F.conv2d(y, weights[f"{name}.conv2.weight"], padding=1), f"{name}.norm2")
            if stride == 2:
                h = norm(F.conv2d(h, weights[f"{name}.shortcut.0.weight"], stride=2), f"{name}.shortcut.1")
            h = (h + y).clamp(min=0)
    expected = h.mean((2, 3)) @ weights["head.weight"].T + weights["head.bias"]
    with torch.no_grad():
        actual = model(x)["logits"]
    torch.testing.assert_close(actual / expected.abs().max(), expected / expected.abs().max(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("depth", CIFAR)
def test_depth_counts_the_layers_with_weights(depth):
    with torch.device("meta"):
        model = resnet(depth, 10, 3, MEAN, STD)
    on_the_way = [k for k in model.state_dict() if k.endswith(".weight") and "norm" not in k and "shortcut" not in k]
    assert len([k for k in on_the_way if k != "stem.1.weight"]) == depth


def test_blocks_start_as_their_shortcuts():
    start = resnet(20, 10, 3, MEAN, STD)
    block = start.stages[0][1].eval()
    x = torch.rand(2, 16, 8, 8)
    assert torch.equal(block(x), x)
    block = resnet(20, 10, 3, MEAN, STD, zero_init=False).stages[0][1].eval()
    assert not torch.equal(block(x), x)


def test_stem_for_small_pictures_keeps_the_resolution():
    x = torch.zeros(1, 3, 32, 32)
    assert resnet(18, 10, 3, MEAN, STD, width=0.125, small=True).stem(x).shape[2:] == (32, 32)
    assert resnet(18, 10, 3, MEAN, STD, width=0.125).stem(x).shape[2:] == (8, 8)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 2)])
def test_tiny_gray_pictures(size):
    model = resnet(18, 2, 1, MEAN[:1], STD[:1], width=0.125, small=True).eval()
    assert model(pictures(1, (1, *size)))["logits"].isfinite().all()


def test_drop_rates_rise_with_depth():
    model = resnet(20, 10, 3, MEAN, STD, drop_path=0.4)
    rates = [block.drop_path.rate for stage in model.stages for block in stage]
    assert rates == pytest.approx([0.05 * i for i in range(9)])


def test_mistakes_are_told():
    with pytest.raises(LaminaError, match=r"resnet depth: expected one of .*got 19"):
        resnet(19, 10, 3, MEAN, STD)
    with pytest.raises(LaminaError, match="width"):
        resnet(20, 10, 3, MEAN, STD, width=0.0)
    with pytest.raises(LaminaError, match="mean and std"):
        resnet(20, 10, 3, MEAN, STD[:2])


@pytest.mark.parametrize("depth", [18, 20, 50])
def test_the_narrowest_network_has_layers_of_eight_channels(depth):
    model = resnet(depth, 3, 3, MEAN, STD, width=0.01, small=True)
    assert min(m.out_channels for m in model.modules() if isinstance(m, nn.Conv2d)) == LEAST_WIDTH
