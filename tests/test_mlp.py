import pytest
import torch

from lamina.errors import LaminaError
from lamina.models.mlp import ACTIVATIONS, MLP
from model_checks import MEAN, STD, check_model, count, pictures

SHAPE = (3, 5, 4)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_keeps_the_promises_of_a_picture_model(activation):
    check_model(lambda: MLP(SHAPE, 4, [12, 8], activation, 0.1, MEAN, STD), SHAPE, 4, varies=False)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_equals_matrix_products(activation):
    model = MLP(SHAPE, 4, [12, 8], activation, 0.5, MEAN, STD).eval()
    w = model.state_dict()
    x = pictures(3, SHAPE)
    h = ((x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]).reshape(3, -1)
    function = {"relu": torch.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "gelu": torch.nn.functional.gelu}[activation]
    for layer in (1, 4):
        h = function(h @ w[f"hidden.{layer}.weight"].T + w[f"hidden.{layer}.bias"])
    out = model(x)
    torch.testing.assert_close(out["features"], h)
    torch.testing.assert_close(out["logits"], h @ w["head.weight"].T + w["head.bias"])


def test_without_hidden_layers_it_is_logistic_regression():
    model = MLP(SHAPE, 4, [], "relu", 0.0, MEAN, STD)
    assert count(model) == 4 * (3 * 5 * 4 + 1)
    assert model(pictures(2, SHAPE))["features"].shape == (2, 60)


@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh"])
def test_signals_keep_their_size_through_ten_layers(activation):
    torch.manual_seed(0)
    model = MLP((1, 16, 16), 10, [256] * 10, activation, 0.0, [127.5], [73.9])
    features = model(pictures(64, (1, 16, 16)))["features"]
    assert 0.05 < features.std() < 5


def test_dropout_acts_only_while_training():
    model = MLP(SHAPE, 4, [64], "relu", 0.5, MEAN, STD)
    x = pictures(2, SHAPE)
    assert not torch.equal(model(x)["features"], model(x)["features"])
    model.eval()
    assert torch.equal(model(x)["features"], model(x)["features"])


def test_unknown_activation():
    with pytest.raises(LaminaError, match=r"mlp activation.*'swish'"):
        MLP(SHAPE, 4, [8], "swish", 0.0, MEAN, STD)  # type: ignore[arg-type]
