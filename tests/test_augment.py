import colorsys
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from lamina.errors import LaminaError
from lamina.modalities import augment, pixels
from model_checks import pictures

quick = settings(deadline=None, max_examples=25)

LABEL = torch.arange(64) % 5

RANDOM = {
    "flip": lambda x, g: augment.flip(x, g),
    "crop": lambda x, g: augment.crop(x, 3, g),
    "crop-zero": lambda x, g: augment.crop(x, 3, g, "zero"),
    "crop-edge": lambda x, g: augment.crop(x, 3, g, "edge"),
    "resized_crop": lambda x, g: augment.resized_crop(x, g),
    "affine": lambda x, g: augment.affine(x, g, degrees=40, translate=0.2, scale=(0.5, 2), shear=20, fill=7),
    "cutout": lambda x, g: augment.cutout(x, 4, g, fill=9),
    "color": lambda x, g: augment.color(x, g, 0.8, 0.8, 0.8, 0.5),
    "trivial_augment": lambda x, g: augment.trivial_augment(x, g),
    "trivial_augment-narrow": lambda x, g: augment.trivial_augment(x, g, wide=False),
    "aug_mix": lambda x, g: augment.aug_mix(x, g, severity=8),
    "mixup": lambda x, g: augment.mixup(x, augment.one_hot(LABEL[: len(x)], 5), 0.4, g)[0],
    "cutmix": lambda x, g: augment.cutmix(x, augment.one_hot(LABEL[: len(x)], 5), 1.0, g)[0],
}
KEEPS_UINT8 = {"flip", "crop", "crop-zero", "crop-edge", "cutout", "trivial_augment", "trivial_augment-narrow", "cutmix"}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth(channels: int = 3, height: int = 19, width: int = 26) -> torch.Tensor:
    """A picture without hard edges, where interpolations that differ by a hair differ by a hair."""
    low = torch.rand(1, channels, 5, 6, generator=seeded(5)) * 255
    return F.interpolate(low, (height, width), mode="bicubic").clamp(0, 255).round().to(torch.uint8)


def to_pillow(x_CHW: torch.Tensor) -> Image.Image:
    array = x_CHW.permute(1, 2, 0).numpy()
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


def from_pillow(picture: Image.Image) -> torch.Tensor:
    array = np.asarray(picture)
    return torch.from_numpy(array.reshape(*array.shape[:2], -1).copy()).permute(2, 0, 1)


def assert_near(actual: torch.Tensor, expected: torch.Tensor, levels: int = 0, share: float = 1.0) -> None:
    """At least `share` of the values within `levels`."""
    near = (actual.int() - expected.int()).abs() <= levels
    assert near.float().mean() >= share, (near.float().mean(), (actual.int() - expected.int()).abs().max())


# Every operation against Pillow, for whole batches of which each picture has its own strength.


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "sharpness"])
def test_enhancements_equal_pillow(name, channels):
    x = pictures(6, (channels, 13, 17))
    factor = torch.tensor([0.0, 0.3, 0.9, 1.0, 1.4, 2.0])
    theirs = {"brightness": "Brightness", "contrast": "Contrast", "saturation": "Color", "sharpness": "Sharpness"}[name]
    y = getattr(pixels, name)(x, factor)
    assert y.dtype == torch.uint8
    for picture, f, out in zip(x, factor, y, strict=True):
        assert_near(out, from_pillow(getattr(ImageEnhance, theirs)(to_pillow(picture)).enhance(float(f))), levels=1)
        # Half a level apart before the last rounding, at most: nearly all must be equal.
        assert_near(out, from_pillow(getattr(ImageEnhance, theirs)(to_pillow(picture)).enhance(float(f))), share=0.97)


@pytest.mark.parametrize("channels", [1, 3])
def test_posterize_and_solarize_equal_pillow(channels):
    x = pictures(8, (channels, 9, 12))
    for bits, picture, out in zip(range(1, 9), x, pixels.posterize(x, torch.arange(1, 9)), strict=True):
        assert_near(out, from_pillow(ImageOps.posterize(to_pillow(picture), bits)))
    thresholds = torch.tensor([0, 1, 60, 127, 128, 200, 255, 256])
    for threshold, picture, out in zip(thresholds, x, pixels.solarize(x, thresholds), strict=True):
        assert_near(out, from_pillow(ImageOps.solarize(to_pillow(picture), int(threshold))))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(40, 37), (8, 9), (1, 1)])
def test_autocontrast_and_equalize_equal_pillow(channels, size):
    x = pictures(5, (channels, *size)) // 3 + 40
    x[1] = 77  # one value only
    x[2, :, :1] = 90
    x[3] = x[3] // 60 * 60  # few values
    for picture, stretched, spread in zip(x, pixels.autocontrast(x), pixels.equalize(x), strict=True):
        assert_near(stretched, from_pillow(ImageOps.autocontrast(to_pillow(picture))), levels=1)
        assert_near(spread, from_pillow(ImageOps.equalize(to_pillow(picture))))


@quick
@given(st.lists(st.floats(0, 255), min_size=3, max_size=3), st.floats(-0.5, 0.5))
def test_hue_equals_colorsys(rgb, shift):
    h, s, v = colorsys.rgb_to_hsv(*(value / 255 for value in rgb))
    expected = torch.tensor([255 * value for value in colorsys.hsv_to_rgb((h + shift) % 1, s, v)])
    actual = pixels.hue(torch.tensor(rgb).view(1, 3, 1, 1), torch.tensor([shift])).flatten()
    torch.testing.assert_close(actual, expected, atol=0.02, rtol=0)


MATRICES = [
    (1, 0.4, 0, 0, 1, 0),
    (1, 0, 0, -0.3, 1, 0),
    (1, 0, 5, 0, 1, -3),
    (0.8, 0.3, 1.2, -0.2, 1.1, 2.5),
    (1, 0, 100, 0, 1, 0),
]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_warp_equals_pillow(mode, channels):
    x = smooth(channels).repeat(len(MATRICES), 1, 1, 1)
    matrix = torch.tensor(MATRICES).view(-1, 2, 3)
    theirs = Image.Resampling.NEAREST if mode == "nearest" else Image.Resampling.BILINEAR
    for picture, row, out in zip(x, MATRICES, pixels.warp(x, matrix, mode, fill=11), strict=True):
        fill = 11 if channels == 1 else (11,) * channels
        source = to_pillow(picture)
        expected = source.transform(source.size, Image.Transform.AFFINE, row, resample=theirs, fillcolor=fill)
        # Pillow counts in fixed point: a coordinate on the border between two pixels may fall to either.
        assert_near(out, from_pillow(expected), levels=1, share=0.98)


@pytest.mark.parametrize("degrees", [0.0, 30.0, -135.0, 90.0])
def test_rotation_equals_pillow(degrees):
    x = smooth(width=27)  # odd as the height is, or a quarter turn reads between pixels and either neighbour is right
    y = pixels.warp(x, pixels.rotation(torch.tensor([degrees]), *x.shape[2:]), "nearest")
    assert_near(y[0], from_pillow(to_pillow(x[0]).rotate(degrees)), levels=1, share=0.98)


def test_operations_on_floats_equal_those_on_integers_before_rounding():
    x = pictures(4, (3, 8, 8))
    factor = torch.tensor([0.5, 0.7, 1.3, 1.9])
    for operation in (pixels.brightness, pixels.contrast, pixels.saturation, pixels.sharpness):
        exact = operation(x.float(), factor)
        assert exact.dtype == torch.float32
        assert (exact - operation(x, factor).float()).abs().max() <= 2
    for operation in (pixels.equalize, pixels.autocontrast):
        assert (operation(x.float()) - operation(x).float()).abs().max() <= 1
    assert torch.equal(
        pixels.posterize(x.float(), torch.tensor([1, 3, 5, 8])).byte(), pixels.posterize(x, torch.tensor([1, 3, 5, 8]))
    )


# What every augmentation promises.


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (1, 1, 1, 1), (5, 1, 7, 11), (6, 4, 5, 3), (0, 3, 8, 8), (3, 3, 2, 9)])
def test_shape_type_and_range_for_odd_batches(name, shape):
    x = pictures(shape[0], shape[1:])
    before = x.clone()
    y = RANDOM[name](x, seeded())
    assert y.shape == x.shape
    assert y.dtype == (torch.uint8 if name in KEEPS_UINT8 else torch.float32)
    assert torch.equal(x, before)  # the batch itself is left alone
    z = RANDOM[name](x.float() * 0.999, seeded())
    assert z.dtype == torch.float32
    for out in (y.float(), z):
        assert out.isfinite().all()
        assert ((out >= 0) & (out <= 255)).all()


@pytest.mark.parametrize("name", RANDOM)
def test_the_generator_alone_decides(name):
    x = pictures(16, (3, 8, 8))
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = RANDOM[name](x, seeded(3))
    assert torch.equal(torch.get_rng_state(), state)  # the global state is neither read nor moved
    torch.manual_seed(2)
    assert torch.equal(first, RANDOM[name](x, seeded(3)))
    assert not torch.equal(first, RANDOM[name](x, seeded(4)))


@pytest.mark.parametrize("name", RANDOM)
def test_each_example_draws_for_itself(name):
    x = pictures(1, (3, 12, 12)).repeat(40, 1, 1, 1)
    if name in ("mixup", "cutmix"):
        x = pictures(40, (3, 12, 12))
    y = RANDOM[name](x, seeded())
    distinct = {row.numpy().tobytes() for row in y.flatten(1)}
    assert len(distinct) > (1 if name == "flip" else 8)


@given(st.integers(0, 2**31), st.sampled_from([n for n in RANDOM if n not in ("mixup", "cutmix")]), st.integers(0, 255))
@quick
def test_range_is_kept(seed, name, value):
    x = (pictures(3, (3, 6, 7), seed) // 2 + value // 2).float()
    x[0] = value  # nothing but one value
    y = RANDOM[name](x, seeded(seed))
    assert ((y >= 0) & (y <= 255)).all()


# Each by itself.


def test_zero_strength_changes_nothing():
    x = pictures(5, (3, 9, 7))
    label = augment.one_hot(LABEL[:5], 5)
    g = seeded()
    same = {
        "flip": augment.flip(x, g, 0.0),
        "crop": augment.crop(x, 0, g),
        "cutout": augment.cutout(x, 0, g),
        "resized_crop": augment.resized_crop(x, g, scale=(1.0, 1.0), ratio=(1.0, 1.0)),
        "affine": augment.affine(x, g),
        "color": augment.color(x, g),
        "aug_mix": augment.aug_mix(x, g, severity=0),
        "mixup": augment.mixup(x, label, 0.0, g)[0],
        "cutmix": augment.cutmix(x, label, 0.0, g)[0],
        "hue": pixels.hue(x, torch.zeros(5)),
    }
    for name, y in same.items():
        torch.testing.assert_close(y.float(), x.float(), atol=0.01, rtol=0, msg=name)
    for name, (least, *_) in augment.TRIVIAL.items():
        if name not in ("autocontrast", "equalize"):  # these have no strength
            assert torch.equal(augment._operate(name, x, torch.full((5,), float(least)), "nearest"), x), name


def test_flip_mirrors_half():
    x = pictures(2000, (1, 2, 3))
    y = augment.flip(x, seeded())
    flipped = (y == x.flip(3)).flatten(1).all(1)
    kept = (y == x).flatten(1).all(1)
    assert (flipped | kept).all()
    assert 0.46 < flipped.float().mean() < 0.54
    assert torch.equal(augment.flip(x, seeded(), 1.0), x.flip(3))


@pytest.mark.parametrize(("fill", "mode"), [("reflect", "reflect"), ("zero", "constant"), ("edge", "replicate")])
def test_crop_takes_every_window_of_the_padded_picture(fill, mode):
    x = pictures(1, (2, 6, 5)).repeat(600, 1, 1, 1)
    y = augment.crop(x, 2, seeded(), fill)
    padded = F.pad(x[:1].float(), (2,) * 4, mode=mode)[0].byte()
    windows = {padded[:, i : i + 6, j : j + 5].numpy().tobytes(): (i, j) for i in range(5) for j in range(5)}
    seen = [windows[row.numpy().tobytes()] for row in y]  # a KeyError is a crop that is no window
    counts = np.bincount([5 * i + j for i, j in seen], minlength=25)
    assert counts.min() > 6  # each of 25 is expected 24 times
    assert counts.max() < 50


def test_crop_reflects_more_than_once_where_the_padding_exceeds_the_picture():
    assert augment._source(3, 5, "reflect", torch.device("cpu")).tolist() == [1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1]


def test_resized_crop_equals_cropping_then_stretching():
    """Position coded in the values tells which box was taken; interpolating that box by itself must give the same."""
    height, width = 24, 30
    x = torch.rand(1, 3, height, width, generator=seeded(1)).repeat(30, 1, 1, 1) * 255
    ramps = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")).float()
    x[:, :2] = ramps + 0.5
    y = augment.resized_crop(x, seeded(), scale=(0.2, 0.9))
    shares = []
    for source, out in zip(x, y, strict=True):
        top, bottom = round(float(out[0, 0, 0] - 0.5)), round(float(out[0, -1, 0] + 0.5))
        left, right = round(float(out[1, 0, 0] - 0.5)), round(float(out[1, 0, -1] + 0.5))
        box = source[None, :, top:bottom, left:right]
        expected = F.interpolate(box, (height, width), mode="bilinear", align_corners=False)[0]
        torch.testing.assert_close(out, expected, atol=0.02, rtol=0)
        shares.append((bottom - top) * (right - left) / (height * width))
    assert 0.15 < min(shares) < 0.4 < max(shares) < 0.95


def test_resized_crop_without_a_fitting_box_takes_the_whole():
    x = pictures(3, (3, 4, 40))
    y = augment.resized_crop(x, seeded(), scale=(1.0, 1.0), ratio=(9.0, 10.0))
    torch.testing.assert_close(y, x.float(), atol=0.01, rtol=0)


def test_cutout_hides_a_square_anywhere():
    x = torch.full((3000, 3, 10, 12), 200, dtype=torch.uint8)
    y = augment.cutout(x, 4, seeded(), fill=[1, 2, 3.4])
    hidden = (y != 200).all(1)
    assert set(y[:, 2].unique().tolist()) == {3, 200}
    assert torch.equal((y != 200).any(1), hidden)
    tall, wide = hidden.any(2).sum(1), hidden.any(1).sum(1)
    assert torch.equal(hidden.flatten(1).sum(1), tall * wide)  # a rectangle without holes
    assert tall.max() == wide.max() == 4
    assert 2 <= tall.min() < 4  # cut off at the edge
    assert hidden.any(0).all()  # every pixel is hidden at some time


def test_affine_moves_a_dot_as_told():
    x = torch.zeros(200, 1, 21, 21)
    x[:, :, 10, 10] = 255
    y = augment.affine(x, seeded(), translate=0.2)
    mass = y.sum((1, 2, 3))
    place = torch.arange(21.0) - 10
    dx, dy = ((y.sum((1, dim)) * place).sum(1) / mass / 21 for dim in (2, 3))
    for moved in (dx, dy):
        assert moved.abs().max() <= 0.201
        assert moved.min() < -0.15
        assert moved.max() > 0.15
    stay = augment.affine(x, seeded(), degrees=180, scale=(0.5, 2.0), shear=30)
    assert (stay[:, 0, 10, 10] > 250).all()  # the middle does not move


def test_affine_turns_and_scales_as_told():
    height, width = 41, 41
    row, column = torch.meshgrid(torch.arange(height) - 20.0, torch.arange(width) - 20.0, indexing="ij")
    disc = (255 * (row**2 + column**2 < 64)).float().expand(100, 1, -1, -1)
    area = augment.affine(disc, seeded(), degrees=180, scale=(0.5, 1.5)).sum((1, 2, 3)) / disc[0].sum()
    assert 0.2 < area.min() < 0.45
    assert 1.7 < area.max() < 2.4
    turned = augment.affine(disc, seeded(), degrees=180).sum((1, 2, 3)) / disc[0].sum()
    torch.testing.assert_close(turned, torch.ones(100), atol=0.02, rtol=0)


def test_color_leaves_gray_pictures_gray():
    x = pictures(8, (1, 6, 6)).repeat(1, 3, 1, 1)
    y = augment.color(x, seeded(), 0.5, 0.5, 0.5, 0.5)
    torch.testing.assert_close(y[:, 0], y[:, 1], atol=0.01, rtol=0)
    one = pictures(8, (1, 6, 6)).float()
    assert torch.equal(augment.color(one, seeded(), saturation=0.9, hue=0.5), one)


def test_trivial_augment_draws_every_operation_equally(monkeypatch):
    drawn: dict[str, list[torch.Tensor]] = {}

    def record(name, x, value_B, mode):
        drawn.setdefault(name, []).append(value_B)
        return x

    monkeypatch.setattr(augment, "_operate", record)
    x = torch.zeros(14 * 500, 1, 1, 1, dtype=torch.uint8)
    augment.trivial_augment(x, seeded())
    assert set(drawn) == set(augment.TRIVIAL) - {"identity"}
    for name, (value,) in drawn.items():
        least, _, greatest = augment.TRIVIAL[name]
        assert 420 < len(value) < 580  # 500 expected, deviation 22
        if name in augment.UNSIGNED:
            assert value.min() >= min(least, greatest)
            assert value.max() <= max(least, greatest)
        else:
            assert value.abs().max() == pytest.approx(greatest)
            assert 0.4 < (value > 0).float().mean() < 0.6
        if name == "rotate":
            strengths = (value.abs() / 135 * 30).round().unique()
            assert strengths.tolist() == list(range(31))
        if name == "posterize":
            assert set(value.tolist()) == set(range(2, 9))


def test_trivial_augment_applies_the_drawn_operation_to_the_drawn_example():
    """Each row must be one operation of its own picture: sorting by operation must not swap examples."""
    x = pictures(60, (3, 8, 8))
    names = list(augment.TRIVIAL)
    choice = torch.randint(len(names), (60,), generator=seeded(7))
    values = torch.stack([torch.full((60,), float(augment.TRIVIAL[n][1] or augment.TRIVIAL[n][0])) for n in names], 1)
    y = augment._operate_each(names, x, choice, values, "nearest")
    for i in range(60):
        expected = augment._operate(names[choice[i]], x[i : i + 1], values[i : i + 1, choice[i]], "nearest")
        assert torch.equal(y[i : i + 1], expected)


def test_aug_mix_stays_between_the_picture_and_its_chains():
    x = pictures(64, (3, 10, 10))
    gentle = (augment.aug_mix(x, seeded(), severity=1) - x).abs().mean()
    rough = (augment.aug_mix(x, seeded(), severity=10) - x).abs().mean()
    assert 0 < gentle < rough
    # A share from Beta(alpha, alpha) with large alpha is near a half; with chains of one picture all values stay possible.
    assert (augment.aug_mix(x, seeded(), width=1, depth=1, alpha=1e4) - x).abs().max() <= 128 + 5


# Labels.


@quick
@given(st.integers(1, 6), st.integers(2, 7), st.floats(0, 1), st.floats(0.05, 5), st.integers(0, 2**31))
def test_mixed_labels_sum_to_one(batch, classes, smoothing, alpha, seed):
    label = augment.one_hot(torch.arange(batch) % classes, classes, smoothing)
    torch.testing.assert_close(label.sum(1), torch.ones(batch))
    for mix in (augment.mixup, augment.cutmix):
        _, mixed = mix(pictures(batch, (1, 4, 5)), label, alpha, seeded(seed))
        assert mixed.shape == (batch, classes)
        assert (mixed >= 0).all()
        torch.testing.assert_close(mixed.sum(1), torch.ones(batch))


@pytest.mark.parametrize("mix", [augment.mixup, augment.cutmix])
def test_labels_are_in_the_shares_of_the_pixels(mix):
    """Every picture holds one value, its own: the values left over tell which share of it is left."""
    x = torch.zeros(8, 8, 9, 7)
    x[range(8), range(8)] = 255  # picture i is white in channel i, and its label is i
    y, label = mix(x, torch.eye(8), 1.0, seeded())
    torch.testing.assert_close(y.mean((2, 3)) / 255, label, atol=1e-5, rtol=0)
    assert ((label > 0) & (label < 1)).any()


def test_mixing_shares_follow_beta():
    x, label = torch.zeros(4000, 1, 1, 1), torch.eye(2)[torch.arange(4000) % 2]
    for alpha in (0.2, 1.0, 4.0):
        share = augment._dirichlet(x, seeded(), alpha, 4000, 2)[:, 0]
        assert share.mean().item() == pytest.approx(0.5, abs=0.03)
        assert share.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)
    assert augment.mixup(x, label, 1e-3, seeded())[1].isfinite().all()  # gammas so small that they vanish


def test_one_hot_equals_the_formula():
    assert augment.one_hot(torch.tensor([1]), 4, 0.2).tolist() == [pytest.approx([0.05, 0.85, 0.05, 0.05])]
    assert augment.one_hot(torch.tensor([2, 0], dtype=torch.uint8), 3).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert augment.one_hot(torch.empty(0, dtype=torch.int64), 3).shape == (0, 3)
    with pytest.raises(RuntimeError):
        augment.one_hot(torch.tensor([3]), 3)


@pytest.mark.parametrize(
    "call",
    [
        lambda x, g: augment.crop(x, -1, g),
        lambda x, g: augment.crop(x, 1, g, "mirror"),  # type: ignore[arg-type]
        lambda x, g: augment.resized_crop(x, g, scale=(0.0, 1.0)),
        lambda x, g: augment.resized_crop(x, g, scale=(0.5, 1.5)),
        lambda x, g: augment.resized_crop(x, g, ratio=(2.0, 1.0)),
        lambda x, g: augment.affine(x, g, scale=(-1.0, 1.0)),
        lambda x, g: augment.affine(x, g, shear=90),
        lambda x, g: augment.color(x, g, hue=0.7),
        lambda x, g: augment.color(x, g, contrast=-0.1),
        lambda x, g: augment.cutout(x, -2, g),
        lambda x, g: augment.aug_mix(x, g, severity=11),
        lambda x, g: augment.mixup(x, torch.eye(2), -1.0, g),
        lambda x, g: augment.cutmix(x, torch.eye(2), math.nan, g),
    ],
)
def test_mistakes_are_told(call):
    with pytest.raises(LaminaError, match="expected"):
        call(pictures(2, (3, 4, 4)), seeded())
