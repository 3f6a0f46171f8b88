import pytest
import torch
from torch import nn

from lamina.errors import LaminaError
from lamina.nn.drop_path import DropPath, linear_rates
from lamina.nn.norm import LayerNorm2d
from lamina.nn.normalize import Normalize
from lamina.nn.precision import full_precision
from model_checks import MEAN, STD, pictures


def test_normalize_gives_mean_zero_and_deviation_one():
    x = pictures(8, (3, 9, 7))
    flat = x.float().transpose(0, 1).flatten(1)
    y = Normalize(flat.mean(1).tolist(), flat.std(1).tolist())(x).transpose(0, 1).flatten(1)
    torch.testing.assert_close(y.mean(1), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.std(1), torch.ones(3), atol=1e-5, rtol=0)


def test_normalize_is_saved_and_follows_the_type_of_the_model():
    normalize = Normalize(MEAN, STD)
    assert {k: v.tolist() for k, v in normalize.state_dict().items()} == {"mean": MEAN, "std": STD}
    assert not list(normalize.parameters())
    x = pictures(2, (3, 4, 4))
    assert normalize(x).dtype == torch.float32
    assert normalize(x.double()).dtype == torch.float32
    assert normalize.double()(x).dtype == torch.float64
    other = Normalize([0.0] * 3, [1.0] * 3)
    other.load_state_dict(normalize.state_dict())
    assert other.mean.tolist() == MEAN


def test_normalize_under_autocast_keeps_full_precision():
    normalize, x = Normalize(MEAN, STD), pictures(2, (3, 4, 4))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(normalize(x), Normalize(MEAN, STD)(x))
        assert normalize(x).dtype == torch.float32


@pytest.mark.parametrize(
    ("mean", "std"), [([1.0], [1.0, 2.0]), ([], []), ([0.0], [0.0]), ([0.0], [-1.0]), ([0.0], [float("nan")])]
)
def test_normalize_refuses(mean, std):
    with pytest.raises(LaminaError):
        Normalize(mean, std)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(2, 5, 3, 4), (1, 8, 1, 1), (0, 4, 2, 2)])
def test_layer_norm_2d_equals_the_formula(shape, layout):
    torch.manual_seed(0)
    norm = LayerNorm2d(shape[1])
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = (torch.randn(shape) * 3 + 2).contiguous(memory_format=layout)
    mean = x.mean(1, keepdim=True)
    var = (x - mean).square().mean(1, keepdim=True)
    expected = (x - mean) / (var + 1e-6).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(norm(x), expected)


def test_layer_norm_2d_keeps_channels_last():
    x = torch.randn(2, 8, 4, 4).contiguous(memory_format=torch.channels_last)
    assert LayerNorm2d(8)(x).is_contiguous(memory_format=torch.channels_last)


def test_drop_path_drops_whole_examples_and_keeps_the_mean():
    torch.manual_seed(0)
    layer, x = DropPath(0.25), torch.ones(4000, 2, 3)
    y = layer(x)
    per_example = y.flatten(1)
    assert (per_example == per_example[:, :1]).all()
    assert sorted(set(per_example[:, 0].tolist())) == pytest.approx([0, 4 / 3])
    assert y.mean() == pytest.approx(1, abs=0.03)


def test_drop_path_is_the_identity_when_evaluating_and_at_rate_zero():
    x = torch.randn(3, 2)
    assert DropPath(0.9).eval()(x) is x
    assert DropPath(0.0).train()(x) is x
    assert DropPath(0.5)(torch.empty(0, 2)).shape == (0, 2)


@pytest.mark.parametrize("rate", [-0.1, 1.0, 2.0])
def test_drop_path_refuses(rate):
    with pytest.raises(LaminaError, match="drop_path"):
        DropPath(rate)


def test_linear_rates():
    assert linear_rates(0.3, 4) == pytest.approx([0, 0.1, 0.2, 0.3])
    assert linear_rates(0.3, 1) == [0]
    assert linear_rates(0.3, 0) == []


def test_full_precision_keeps_a_numbers_digits() -> None:
    layer, x = nn.Linear(8, 1), torch.randn(64, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
        with full_precision(x.device):
            assert torch.equal(layer(x), nn.functional.linear(x, layer.weight, layer.bias)) and layer(x).dtype == torch.float32
    with full_precision(torch.device("meta")):  # where networks are only measured
        pass
