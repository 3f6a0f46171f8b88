"""Fifteen corruptions: harder with severity, of each picture's own, for any size and colour, and as the published code does them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from lamina.errors import LaminaError
from lamina.modalities.corrupt_draws import Draws, disk, enlarged, moved, plasma, sampled
from lamina.modalities.corrupt_image import KINDS, corrupt, glass_blur
from lamina.modalities.corrupt_strengths import SIDES, strength
from picture_making import scene


def scenes(count: int, channels: int, side: int) -> np.ndarray:
    """uint8 (N, C, H, W) of smooth pictures."""
    made = np.stack([scene(seed, side) for seed in range(count)]).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(made[:, :channels])


# The published affine part of this one shrinks while its bending grows: severities differ in kind, not in distance.
NOT_MONOTONE = {"elastic_transform"}


@pytest.fixture(scope="module")
def colour() -> np.ndarray:
    return scenes(6, 3, 32)


@pytest.fixture(scope="module")
def gray() -> np.ndarray:
    return scenes(6, 1, 28)


def distance(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.abs(x.astype(float) - y).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_severity_five_is_farther_than_one(kind: str, colour: np.ndarray, gray: np.ndarray) -> None:
    for x in (colour, gray):
        one, five = (corrupt(x, kind, severity) for severity in (1, 5))
        assert one.dtype == five.dtype == np.uint8 and one.shape == five.shape == x.shape
        assert distance(x, five) > 1.0
        if kind not in NOT_MONOTONE:
            assert distance(x, five) > distance(x, one)


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_is_corrupted_the_same_in_any_company(kind: str, colour: np.ndarray) -> None:
    together = corrupt(colour, kind, 3)
    assert np.array_equal(corrupt(colour[[4, 2]], kind, 3), together[[4, 2]])
    assert np.array_equal(corrupt(colour, kind, 3), together)


@pytest.mark.parametrize(
    "kind", sorted(set(KINDS) - {"defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"})
)
def test_another_seed_draws_anew(kind: str, colour: np.ndarray) -> None:
    assert not np.array_equal(corrupt(colour, kind, 3, seed=1), corrupt(colour, kind, 3, seed=2))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 20, 36), (3, 72, 56), (1, 2, 2)])
def test_any_size(kind: str, shape: tuple[int, int, int]) -> None:
    x = np.random.default_rng(0).integers(0, 256, (2, *shape), dtype=np.uint8)
    assert corrupt(x, kind, 5).shape == x.shape


@pytest.mark.parametrize("kind", KINDS)
def test_black_white_and_none(kind: str) -> None:
    for value in (0, 255):
        made = corrupt(np.full((1, 3, 32, 32), value, np.uint8), kind, 4)
        assert made.dtype == np.uint8
    assert corrupt(np.empty((0, 3, 32, 32), np.uint8), kind, 1).shape == (0, 3, 32, 32)


def test_mistakes_are_named() -> None:
    x = np.zeros((1, 1, 8, 8), np.uint8)
    with pytest.raises(LaminaError, match="expected one of gaussian_noise"):
        corrupt(x, "rain", 1)
    for severity in (0, 6):
        with pytest.raises(LaminaError, match="from 1 to 5"):
            corrupt(x, "fog", severity)


def test_the_tables_are_those_of_the_nearest_published_size() -> None:
    assert all(set(table) == set(KINDS) and all(len(row) == 5 for row in table.values()) for table in SIDES.values())
    assert strength("gaussian_noise", 5, 32, 32) == (0.10, 1.0)
    assert strength("gaussian_noise", 5, 64, 64) == (0.18, 1.0)
    assert strength("gaussian_noise", 5, 224, 224) == (0.38, 1.0)
    assert strength("motion_blur", 1, 28, 28) == ((6, 1), 1.0)  # lengths never fall below those of 32 pixels
    assert strength("motion_blur", 1, 96, 128) == ((10, 1), 1.5)
    assert strength("jpeg_compression", 1, 448, 600)[1] == 2.0


def test_noise_has_the_published_deviation_and_share() -> None:
    middle = np.full((4, 3, 32, 32), 128, np.uint8)
    made = corrupt(middle, "gaussian_noise", 5).astype(float)
    assert made.std() == pytest.approx(0.10 * 255, rel=0.03) and made.mean() == pytest.approx(128, abs=1)
    shots = corrupt(middle, "shot_noise", 5) / 255
    assert shots.std() == pytest.approx((128 / 255 / 50) ** 0.5, rel=0.05)  # a Poisson's variance is its mean
    hit = corrupt(middle, "impulse_noise", 5)
    assert np.mean(hit != 128) == pytest.approx(0.07, abs=0.01) and set(np.unique(hit)) == {0, 128, 255}


def test_contrast_brightness_pixelate_and_jpeg_equal_plain_code(colour: np.ndarray) -> None:
    """Against the lines of the published code, picture by picture."""
    x = colour[0].transpose(1, 2, 0)
    mean = (x / 255).mean((0, 1), keepdims=True)
    assert (
        distance(corrupt(colour[:1], "contrast", 3)[0].transpose(1, 2, 0), np.clip((x / 255 - mean) * 0.4 + mean, 0, 1) * 255)
        < 0.51
    )
    file = io.BytesIO()
    Image.fromarray(x).save(file, "JPEG", quality=58)
    assert np.array_equal(corrupt(colour[:1], "jpeg_compression", 3)[0].transpose(1, 2, 0), np.asarray(Image.open(file)))
    coarse = Image.fromarray(x).resize((27, 27), Image.Resampling.BOX).resize((32, 32), Image.Resampling.BOX)
    assert np.array_equal(corrupt(colour[:1], "pixelate", 3)[0].transpose(1, 2, 0), np.asarray(coarse))
    hsv = Image.fromarray(x).convert("HSV")
    brighter = Image.fromarray(corrupt(colour[:1], "brightness", 3)[0].transpose(1, 2, 0)).convert("HSV")
    was, now = np.asarray(hsv).astype(int), np.asarray(brighter).astype(int)
    assert np.abs(now[..., 2] - np.minimum(was[..., 2] + 0.15 * 255, 255)).max() <= 1


def test_a_disk_of_one_pixel_and_more() -> None:
    assert disk(0.3, 0.01).max() == pytest.approx(1.0)
    wide = disk(3, 0.1)
    assert wide.sum() == pytest.approx(1.0) and np.sum(wide > 1e-3) == 29  # whole points within 3 of the middle


def test_enlarging_equals_scipys_zoom() -> None:
    """The published clipped_zoom, on a square."""
    x = np.random.default_rng(0).random((32, 32)).astype(np.float32)
    for factor in (1.0, 1.05, 1.11, 1.25, 2.25):
        kept = int(np.ceil(32 / factor))
        top = (32 - kept) // 2
        big = ndimage.zoom(x[top : top + kept, top : top + kept], factor, order=1)
        trim = (big.shape[0] - 32) // 2
        assert np.allclose(enlarged(x, factor), big[trim : trim + 32, trim : trim + 32], atol=1e-4)


def test_sampling_equals_scipys_with_a_mirrored_border() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((2, 1, 9, 7)).astype(np.float32)
    row, column = rng.uniform(-12, 20, (2, 2, 9, 7))
    for i in range(2):
        expected = ndimage.map_coordinates(x[i, 0], [row[i], column[i]], order=1, mode="mirror")
        assert np.allclose(sampled(x, row, column)[i, 0], expected, atol=1e-4)


def test_motion_keeps_a_flat_picture_and_goes_one_way() -> None:
    flat = np.full((1, 1, 16, 16), 0.5, np.float32)
    assert np.allclose(moved(flat, np.array([0.7]), 6, 2), flat, atol=1e-5)
    point = np.zeros((1, 1, 16, 16), np.float32)
    point[0, 0, 8, 8] = 1.0
    trail = moved(point, np.array([0.0]), 6, 2)[0, 0]
    assert (
        trail[8, 8] == trail.max()
        and trail[8, :8].sum() > 0.5
        and trail[8, 9:].sum() == 0
        and trail.sum() == pytest.approx(1, abs=1e-3)
    )


def test_clouds_fill_their_range_and_differ() -> None:
    x = scenes(3, 1, 28)
    clouds = plasma(Draws(x, 0, "fog"), 28, 40, 2.0)
    assert clouds.shape == (3, 28, 40) and clouds.min() == 0 and clouds.max() == 1
    assert not np.allclose(clouds[0], clouds[1])


def test_glass_moves_pixels_about_as_far_as_swapping_them_one_after_another() -> None:
    """The published loop against rounds of swaps that do not touch: the same pixels, moved by similar distances."""
    side, reach = 32, 2
    ramp = np.arange(side * side, dtype=np.float32).reshape(1, 1, side, side) / side**2
    moved_by = []
    for seed in range(4):
        order = np.rint(glass_blur(ramp, (1e-3, reach, 1), 1.0, Draws(ramp, seed, "g")) * side**2).astype(int).ravel()
        assert sorted(order) == list(range(side * side)), "nothing is lost or doubled"
        here = np.arange(side * side)
        moved_by.append(np.mean(np.abs(order // side - here // side) + np.abs(order % side - here % side)))
    rng, one_by_one = np.random.default_rng(0), []
    for _ in range(4):
        x = np.arange(side * side).reshape(side, side)
        for h in range(side - reach, reach, -1):
            for w in range(side - reach, reach, -1):
                dx, dy = rng.integers(-reach, reach, 2)
                x[h, w], x[h + dy, w + dx] = x[h + dy, w + dx], x[h, w]
        here = np.arange(side * side)
        order = x.ravel()
        one_by_one.append(np.mean(np.abs(order // side - here // side) + np.abs(order % side - here % side)))
    assert np.mean(moved_by) == pytest.approx(np.mean(one_by_one), rel=0.35)
