import pytest
import torch

from lamina.errors import LaminaError
from lamina.models.convnext import ConvNeXt, convnext
from model_checks import MEAN, STD, check_model, count, pictures, randomize


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("atto", 3_695_520),  # the blocks of the first version at the second's sizes
        ("tiny", 28_589_128),
        ("small", 50_223_688),
        ("base", 88_591_464),
    ],
)
def test_published_parameter_counts(size, expected):
    with torch.device("meta"):
        assert count(convnext(size, 1000, 3, MEAN, STD)) == expected


@pytest.mark.parametrize("layer_scale", [1e-6, 0.0])
def test_keeps_the_promises_of_a_picture_model(layer_scale):
    def build():
        return ConvNeXt(
            [1, 1, 2, 1], [8, 12, 16, 20], 5, 3, MEAN, STD, patch=2, drop_path=0.1, dropout=0.1, layer_scale=layer_scale
        )

    check_model(build, (3, 32, 32), 5, varies=True)


@pytest.mark.parametrize("patch", [2, 4])
def test_equals_transformers(patch):
    transformers = pytest.importorskip("transformers")
    blocks, widths = [1, 2, 2, 1], [8, 12, 16, 20]
    config = transformers.ConvNextConfig(
        num_channels=3, patch_size=patch, depths=blocks, hidden_sizes=widths, layer_norm_eps=1e-6, num_labels=5
    )
    theirs = transformers.ConvNextForImageClassification(config).eval()
    ours = randomize(ConvNeXt(blocks, widths, 5, 3, MEAN, STD, patch=patch))
    weights = {k: v for k, v in ours.state_dict().items() if not k.startswith("normalize.")}
    theirs.load_state_dict({their_name(k): v for k, v in weights.items()}, strict=True)
    x = pictures(3, (3, 70, 64))
    with torch.no_grad():
        expected = theirs(ours.normalize(x)).logits
        for layout in (torch.contiguous_format, torch.channels_last):
            actual = ours.to(memory_format=layout)(x.contiguous(memory_format=layout))["logits"]
            torch.testing.assert_close(actual / expected.abs().max(), expected / expected.abs().max(), rtol=0, atol=1e-5)


def their_name(name: str) -> str:
    layers = {
        "depthwise": "dwconv",
        "norm": "layernorm",
        "expand": "pwconv1",
        "project": "pwconv2",
        "scale": "layer_scale_parameter",
    }
    parts = name.split(".")
    if parts[0] == "head":
        return f"classifier.{parts[1]}"
    if parts[0] == "norm":
        return f"convnext.layernorm.{parts[1]}"
    if parts[0] == "stem":
        return f"convnext.embeddings.{'patch_embeddings' if parts[1] == '0' else 'layernorm'}.{parts[2]}"
    stage, layer, rest = int(parts[1]), int(parts[2]), parts[3:]
    front = f"convnext.encoder.stages.{stage}"
    first = 0 if stage == 0 else 2  # a norm and a convolution stand before the blocks of later stages
    if layer < first:
        return f"{front}.downsampling_layer.{layer}.{rest[0]}"
    return ".".join([f"{front}.layers.{layer - first}", layers[rest[0]], *rest[1:]])


def test_blocks_start_near_their_shortcuts():
    model = convnext("atto", 10, 3, MEAN, STD)
    x = torch.randn(2, 40, 8, 8)
    assert (model.stages[0][0](x) - x).abs().max() < 1e-4


@pytest.mark.parametrize("size", [(28, 28), (33, 50)])
def test_small_patches_fit_small_gray_pictures(size):
    model = ConvNeXt([1, 1, 1, 1], [4, 8, 8, 8], 2, 1, MEAN[:1], STD[:1], patch=1).eval()
    assert model(pictures(1, (1, *size)))["logits"].isfinite().all()


def test_unknown_size():
    with pytest.raises(LaminaError, match=r"convnext size.*'huge'"):
        convnext("huge", 10, 3, MEAN, STD)  # type: ignore[arg-type]
