"""The parts of shrink by themselves: channels against a masked network, bits, ranks, held zeros, surgeries from JSON.

Legend: B examples, K classes, O outputs, I inputs.
"""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lamina.errors import LaminaError
from lamina.models.convnet import ConvNet
from lamina.models.convnext import ConvNeXt
from lamina.models.ft_transformer import FTTransformer
from lamina.models.mlp import MLP
from lamina.models.resnet import resnet
from lamina.models.table_mlp import TableMLP
from lamina.models.vit import ViT
from lamina.run import load_tensors, named_tensors
from lamina.shrink import few_bits, low_rank, select_channels, sparse
from lamina.shrink.channels import Channels, channels_of
from lamina.shrink.narrow import narrow
from lamina.surgery import apply, baked

COLUMNS = [{"kind": "number", "center": 0.0, "scale": 1.0, "edges": [-1.0, 0.0, 1.0], "missing": True}] * 3 + [
    {"kind": "category", "count": 3, "missing": False}
]


def networks() -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
    """One small network of every family, and the shape of its input."""
    torch.manual_seed(0)
    three = ([0.0] * 3, [1.0] * 3)
    return {
        "convnet": (ConvNet(10, 1, [0.0], [1.0], (8, 16, 16)), (1, 28, 28)),
        "resnet20": (resnet(20, 10, 3, *three, zero_init=False), (3, 16, 16)),
        "resnet50": (resnet(50, 10, 3, *three, width=0.125, small=True, zero_init=False), (3, 16, 16)),
        "vit": (ViT((3, 16, 16), 10, *three, 4, 32, 2, 2), (3, 16, 16)),
        "convnext": (ConvNeXt((1, 1), (8, 16), 10, 3, *three, 1, layer_scale=1.0), (3, 16, 16)),
        "mlp": (MLP((1, 8, 8), 10, [16, 16], "sigmoid", 0.0, [0.0], [1.0]), (1, 8, 8)),
        "ft-transformer": (FTTransformer(COLUMNS, 3, 16, 2, 2), (4,)),
        "table-mlp": (TableMLP(COLUMNS, 3, 16, 2, 4, 4), (4,)),
    }


def lively(model: nn.Module) -> nn.Module:
    """Norms whose statistics are not zeros and ones, so that a wrong index shows."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.running_var, module.weight.data, module.bias.data):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))  # type: ignore[union-attr]
    return model.eval()


@pytest.mark.parametrize("name", list(networks()))
def test_a_network_without_channels_answers_as_the_whole_one_with_those_channels_at_zero(name: str) -> None:
    model, shape = networks()[name]
    lively(model)
    x = torch.rand(5, *shape) * 3
    channels = channels_of(model, (x[:2],))
    keep = np.random.default_rng(0).random(channels.count) < 0.5
    keep = select_channels.rounded(channels, keep, np.arange(channels.count), 1)
    assert 0 < keep.sum() < channels.count
    masked = copy.deepcopy(model)
    select_channels.mask(masked, channels, keep)
    whole = model(x)
    smaller = apply(copy.deepcopy(model), select_channels.surgeries_of(channels, keep))
    for key, value in masked(x).items():
        if key != "features":
            torch.testing.assert_close(smaller(x)[key], value, rtol=1e-4, atol=1e-5)
    assert select_channels.difference(whole, masked(x)) > 1e-3, "the channels that went did something"
    assert sum(p.numel() for p in smaller.parameters()) < sum(p.numel() for p in model.parameters())


def test_a_residual_sum_ties_its_channels_and_a_norm_over_them_holds_them() -> None:
    model, shape = networks()["resnet20"]
    channels = channels_of(model.eval(), (torch.rand(2, *shape),))
    group = channels.group
    np.testing.assert_array_equal(group["stem.0.weight", 0], group["stages.0.0.conv2.weight", 0])
    np.testing.assert_array_equal(group["stem.0.weight", 0], group["stages.1.0.conv1.weight", 1])
    assert not set(group["stem.0.weight", 0]) & set(group["stages.0.0.conv1.weight", 0])
    assert ("head.weight", 0) not in group, "the answer keeps its classes"
    model, shape = networks()["vit"]
    names = {name for name, _ in channels_of(model.eval(), (torch.rand(2, *shape),)).group}
    assert names == {f"blocks.{i}.mlp.{n}" for i in (0, 1) for n in ("0.weight", "0.bias", "3.weight")}


class Flattened(nn.Module):
    """A convolution, flattened, before a linear layer; and a concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 4, 3), nn.Conv2d(1, 3, 3)
        self.head = nn.Linear(7 * 4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.cat([self.one(x).relu(), self.two(x).relu()], 1).flatten(1))


def test_flattened_pixels_go_with_their_channel_across_a_concatenation() -> None:
    model = Flattened().eval()
    x = torch.randn(3, 1, 4, 4)
    channels = channels_of(model, (x[:2],))
    assert channels.count == 7
    keep = np.array([True, False, True, True, False, True, True])
    masked, smaller = copy.deepcopy(model), apply(copy.deepcopy(model), select_channels.surgeries_of(channels, keep))
    select_channels.mask(masked, channels, keep)
    assert smaller.head.in_features == 5 * 4  # type: ignore[union-attr]
    torch.testing.assert_close(smaller(x), masked(x), rtol=1e-5, atol=1e-6)


class Sorting(nn.Module):
    """What it does to its channels is not known to the walk."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.first(x).sort(1).values)


def test_channels_that_enter_an_unknown_operation_stay() -> None:
    with pytest.raises(LaminaError, match="every one is tied"):
        channels_of(Sorting().eval(), (torch.rand(2, 4),))


def test_taylor_finds_the_channels_that_do_nothing() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 2)).eval()
    with torch.no_grad():
        model[2].weight[:, 3:6] = 0.0  # type: ignore[index]
    channels = channels_of(model, (torch.rand(2, 6),))
    x, y = torch.randn(64, 6), torch.randint(0, 2, (64,))
    losses = [lambda i=i: nn.functional.cross_entropy(model(x[i : i + 8]), y[i : i + 8]) for i in range(0, 64, 8)]
    importance = select_channels.taylor(model, channels, losses)
    dead = channels.group["2.weight", 1][3:6]
    assert set(np.argsort(importance)[:3]) == set(dead) and (np.delete(importance, dead) > 0).all()


def test_taylor_is_the_change_of_the_loss_to_first_order() -> None:
    """Against the definition: the loss at weights w * (1 - e) of one channel, differentiated numerically."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double().eval()
    x, y = torch.randn(8, 3).double(), torch.randint(0, 2, (8,))
    channels = channels_of(model, (x[:2],))
    importance = select_channels.taylor(model, channels, [lambda: nn.functional.cross_entropy(model(x), y)])
    for column in range(4):
        changed = copy.deepcopy(model)
        step = 1e-6
        with torch.no_grad():
            changed[2].weight[:, column] *= 1 - step  # type: ignore[index, operator]
            slope = float(nn.functional.cross_entropy(changed(x), y) - nn.functional.cross_entropy(model(x), y)) / step
        assert importance[channels.group["2.weight", 1][column]] == pytest.approx(slope**2, rel=1e-3)


@pytest.mark.parametrize("multiple", [1, 4])
def test_the_share_of_flops_is_what_a_counter_finds(multiple: int) -> None:
    from lamina.shrink.measure import flops_of

    model, shape = networks()["convnet"]
    x = torch.rand(1, *shape)
    channels = channels_of(model.eval(), (torch.rand(2, *shape),))
    full = flops_of(model, (x,))
    assert select_channels.flops_of(channels, np.ones(channels.count, bool)) == full
    keep = select_channels.chosen(channels, select_channels.l1(model, channels), 0.5, multiple, 0, False)
    smaller = apply(copy.deepcopy(model), select_channels.surgeries_of(channels, keep))
    assert 0.3 < flops_of(smaller, (x,)) / full <= 0.5
    assert select_channels.flops_of(channels, keep) == pytest.approx(flops_of(smaller, (x,)), abs=2)
    if multiple == 4:
        assert smaller.blocks[1].conv1.out_channels % 4 == 0  # type: ignore[index, union-attr]
    with pytest.raises(LaminaError, match="expected a share of"):
        select_channels.chosen(channels, np.ones(channels.count), 1e-4, 1, 0, False)


@given(st.integers(1, 6), st.integers(1, 40), st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_four_bits_come_back_as_they_went(outputs: int, halves: int, seed: int) -> None:
    numbers = torch.randint(-8, 8, (outputs, 2 * halves), generator=torch.Generator().manual_seed(seed), dtype=torch.int8)
    packed = few_bits.pack4(numbers)
    assert packed.dtype == torch.uint8 and packed.shape == (outputs, halves)
    assert torch.equal(few_bits.unpack4(packed), numbers)


@given(st.integers(1, 5), st.integers(1, 70), st.sampled_from([2, 8, 32]), st.floats(1e-6, 1e4))
@settings(max_examples=50, deadline=None)
def test_rounded_weights_lie_within_half_a_step(outputs: int, inputs: int, group: int, size: float) -> None:
    weight = torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(inputs)) * size
    packed, scale_OS = few_bits.quantized4(weight, group)
    step = scale_OS.repeat_interleave(group, 1)[:, :inputs]
    assert ((few_bits.dequantized4(packed, scale_OS)[:, :inputs] - weight).abs() <= 0.5001 * step).all()
    numbers, scale_O = few_bits.quantized8(weight)
    assert ((numbers * scale_O[:, None] - weight).abs() <= 0.5001 * scale_O[:, None]).all()


@pytest.mark.parametrize("surgery", [{"surgery": "int8-weights"}, {"surgery": "int4-weights", "group_size": 8}])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_of_few_bits_is_the_layer_of_the_rounded_weights(surgery: dict[str, object], bias: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(19, 7, bias=bias))
    old = copy.deepcopy(model[0])
    apply(model, [{**surgery, "module": "0"}])
    new = model[0]
    if isinstance(new, few_bits.Int8Linear):
        rounded = new.weight.float() * new.scale[:, None]
    else:
        rounded = few_bits.dequantized4(new.packed, new.scale)[:, :19]  # type: ignore[arg-type]
    x = torch.randn(2, 3, 19)
    torch.testing.assert_close(model(x), nn.functional.linear(x, rounded, old.bias))  # type: ignore[arg-type]
    assert not torch.equal(model(x), old(x))


@pytest.mark.parametrize("layer", [nn.Linear(20, 33), nn.Conv2d(6, 17, 3, 2, 1), nn.Conv2d(6, 17, 1, bias=False)], ids=str)
def test_full_rank_is_exact_and_less_is_the_nearest(layer: nn.Linear | nn.Conv2d) -> None:
    x = torch.randn(2, 20) if isinstance(layer, nn.Linear) else torch.randn(2, 6, 9, 9)
    matrix = layer.weight.detach().flatten(1)
    full = min(matrix.shape)
    torch.testing.assert_close(low_rank.factored(layer, full)(x), layer(x), rtol=1e-4, atol=1e-5)
    left, right = low_rank.factors(matrix, 3)
    lost = torch.linalg.svdvals(matrix)[3:].square().sum()
    torch.testing.assert_close((matrix - left @ right).square().sum(), lost, rtol=1e-3, atol=1e-5)


def test_the_rank_is_the_least_that_keeps_the_energy() -> None:
    q, _ = torch.linalg.qr(torch.randn(8, 8).double())
    matrix = q @ torch.diag(torch.tensor([4.0, 2.0, 1.0, 0, 0, 0, 0, 0]).double())  # energies 16, 4, 1 of 21
    assert [low_rank.rank_for(matrix, e) for e in (0.7, 16 / 21, 0.8, 0.96, 1.0)] == [1, 1, 2, 3, 3]


def test_zeros_are_held_while_the_others_learn() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(16, 2))
    assert sparse.zero_smallest(model, 0.75) == round(0.75 * (36 + 32)) == sparse.zeros(model)
    before = {n: m.weight == 0 for n, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
    apply(model, [{"surgery": "sparse", "modules": ["0", "2"]}])
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    x = torch.randn(8, 1, 4, 4)
    for _ in range(3):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    tensors = baked(named_tensors(model), "held")
    plain = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(16, 2))
    load_tensors(plain, tensors)
    assert torch.equal(plain(x), model(x))
    assert all(torch.equal(plain.get_submodule(n).weight == 0, zero) for n, zero in before.items())


def test_the_smallest_weights_of_all_layers_go_first() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    with torch.no_grad():
        model[0].weight.fill_(0.1)
        model[1].weight.fill_(1.0)
    sparse.zero_smallest(model, 0.5)
    assert not model[0].weight.any() and model[1].weight.all()


DAMAGED = {
    "no list": ({"surgery": "narrow"}, "to be a list"),
    "another name": ([{"surgery": "lobotomy", "module": "0"}], "surgery 1 of 1: expected one of"),
    "no name": ([{"module": "0"}], "got None"),
    "no mapping": (["narrow"], "got None"),
    "argument missing": ([{"surgery": "low-rank", "module": "0"}], "rank"),
    "argument unknown": ([{"surgery": "int8-weights", "module": "0", "bits": 3}], "bits"),
    "module missing": ([{"surgery": "int8-weights", "module": "7"}], "7"),
    "module of another kind": ([{"surgery": "int8-weights", "module": "1"}], "expected 1 to be a linear layer; got ReLU"),
    "rank too high": ([{"surgery": "low-rank", "module": "0", "rank": 99}], "from 1 to 4"),
    "rank no number": ([{"surgery": "low-rank", "module": "0", "rank": "2"}], "got '2'"),
    "tensor missing": ([{"surgery": "narrow", "tensor": "0.scale", "dim": 0, "keep": [0], "of": 6}], "name of a tensor"),
    "index beyond": ([{"surgery": "narrow", "tensor": "0.weight", "dim": 0, "keep": [0, 6], "of": 6}], "below 6"),
    "indices unsorted": ([{"surgery": "narrow", "tensor": "0.weight", "dim": 0, "keep": [2, 1], "of": 6}], "rising"),
    "indices empty": ([{"surgery": "narrow", "tensor": "0.weight", "dim": 0, "keep": [], "of": 6}], "rising"),
    "another size": ([{"surgery": "narrow", "tensor": "0.weight", "dim": 0, "keep": [0], "of": 5}], "of size 5"),
    "dimension beyond": ([{"surgery": "narrow", "tensor": "0.weight", "dim": 2, "keep": [0], "of": 6}], "which has 2"),
    "odd groups": ([{"surgery": "int4-weights", "module": "0", "group_size": 3}], "even group_size"),
}


@pytest.mark.parametrize(("surgeries", "words"), DAMAGED.values(), ids=list(DAMAGED))
def test_damaged_surgeries_are_told_in_words(surgeries: object, words: str) -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    with pytest.raises(LaminaError, match=words):
        apply(model, surgeries)  # type: ignore[arg-type]


def test_surgeries_replay_on_meta_and_from_json() -> None:
    model, shape = networks()["convnet"]
    channels = channels_of(model.eval(), (torch.rand(2, *shape),))
    keep = np.arange(channels.count) % 2 == 0
    surgeries = [*select_channels.surgeries_of(channels, keep), {"surgery": "int4-weights", "module": "head", "group_size": 4}]
    apply(model, surgeries)
    with torch.device("meta"):
        skeleton = ConvNet(10, 1, [0.0], [1.0], (8, 16, 16))
    apply(skeleton, json.loads(json.dumps(surgeries)))
    shapes = {n: (t.shape, t.dtype) for n, t in named_tensors(model).items()}
    assert {n: (t.shape, t.dtype) for n, t in skeleton.state_dict().items()} == shapes


def test_a_shared_tensor_stays_shared() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    narrow(model, "0.weight", 0, [0, 2], of=4)
    assert model[1].weight is model[0].weight and model[1].out_features == 2


def test_nothing_to_remove_is_said() -> None:
    assert isinstance(channels_of(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).eval(), (torch.rand(2, 3),)), Channels)
    with pytest.raises(LaminaError, match="every one is tied"):
        channels_of(nn.Linear(3, 2).eval(), (torch.rand(2, 3),))
