"""Reading, resizing and holding pictures: modalities/image.py, picture_files.py and jpeg.py."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from lamina.data.columns import Takes, length, take
from lamina.errors import LaminaError
from lamina.modalities.image import (
    BadPicture,
    Pictures,
    convert,
    gather_inputs,
    measure,
    pictures,
    read_picture,
    resize,
    stack_of,
)
from picture_making import deep_png, encoded, folder_per_class, noise, scene

SIDES = st.integers(1, 9)
RGB = arrays.arrays(np.uint8, st.tuples(SIDES, SIDES, st.just(3)))
GRAY = arrays.arrays(np.uint8, st.tuples(SIDES, SIDES))
LOSSLESS = [
    ("PNG", {}),
    ("BMP", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("WEBP", {"lossless": True}),
    ("PPM", {}),
]


def chw(hwc: np.ndarray) -> np.ndarray:
    return hwc[None] if hwc.ndim == 2 else hwc.transpose(2, 0, 1)


@settings(max_examples=20, deadline=None)
@given(RGB, st.sampled_from(LOSSLESS))
def test_colour_survives_lossless_files(hwc: np.ndarray, kind: tuple[str, dict]) -> None:
    data = encoded(hwc, kind[0], **kind[1])
    got = read_picture(data)
    assert got.dtype == np.uint8 and got.flags.c_contiguous
    np.testing.assert_array_equal(got, chw(hwc))
    assert measure(data) == got.shape


@settings(max_examples=20, deadline=None)
@given(GRAY, st.sampled_from([k for k in LOSSLESS if k[0] != "WEBP"]))
def test_gray_survives_lossless_files(hw: np.ndarray, kind: tuple[str, dict]) -> None:
    data = encoded(hw, kind[0], **kind[1])
    np.testing.assert_array_equal(read_picture(data), hw[None])
    np.testing.assert_array_equal(read_picture(data, channels=3), np.stack([hw] * 3))
    assert measure(data) == (1, *hw.shape)


@settings(max_examples=25, deadline=None)
@given(RGB, st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "PA", "RGBa", "La", "RGBX"]))
def test_every_mode_reads_as_uint8_with_the_size_that_its_header_says(hwc: np.ndarray, mode: str) -> None:
    rgba = Image.fromarray(np.dstack([hwc, hwc[..., :1]]))
    image = (rgba if mode == "RGBa" else rgba.convert("LA") if mode == "La" else rgba.convert("RGB")).convert(mode)
    got = read_picture(image)
    assert got.dtype == np.uint8 and got.shape == measure(image) and got.shape[1:] == hwc.shape[:2]
    assert got.shape[0] == (1 if mode in ("1", "L", "LA", "La") else got.shape[0])


@settings(max_examples=20, deadline=None)
@given(arrays.arrays(np.uint16, st.tuples(SIDES, SIDES, st.sampled_from([1, 2, 3, 4]))))
def test_sixteen_bits_are_rounded_not_cut(values: np.ndarray) -> None:
    exact = values.astype(np.float64)
    if values.shape[-1] in (2, 4):
        alpha = exact[..., -1:] / 65535
        exact = np.rint(exact[..., :-1] * alpha + 65535 * (1 - alpha))
    wanted = np.rint(exact / 257)
    data = deep_png(values)
    got = read_picture(data).transpose(1, 2, 0)
    assert got.shape == wanted.shape and measure(data) == read_picture(data).shape
    assert np.abs(got - wanted).max() <= (1 if values.shape[-1] in (2, 4) else 0)  # a tie may round either way twice


def test_sixteen_bit_files_of_other_kinds() -> None:
    values = np.random.default_rng(0).integers(0, 65536, (5, 7), dtype=np.uint16)
    wanted = np.rint(values / 257).astype(np.uint8)[None]
    np.testing.assert_array_equal(read_picture(encoded(values, "PNG")), wanted)
    np.testing.assert_array_equal(read_picture(encoded(values, "TIFF")), wanted)
    big_endian = b"P5\n7 5\n65535\n" + values.astype(">u2").tobytes()
    np.testing.assert_array_equal(read_picture(big_endian), wanted)


def test_sixteen_bit_clear_colours_become_white() -> None:
    gray = np.array([[[1000], [1001]]], np.uint16)
    assert read_picture(deep_png(gray, clear=(1000,))).tolist() == [[[255, 4]]]
    color = np.array([[[1000, 2000, 3000], [1000, 2000, 3001]]], np.uint16)
    assert read_picture(deep_png(color, clear=(1000, 2000, 3000)))[:, 0, 0].tolist() == [255, 255, 255]
    assert read_picture(deep_png(color, clear=(1000, 2000, 3000)))[:, 0, 1].tolist() == [4, 8, 12]


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_transparency_is_laid_over_white(kind: str) -> None:
    rgba = np.array([[[200, 100, 0, 255], [200, 100, 0, 0], [200, 100, 0, 51]]], np.uint8)
    got = read_picture(encoded(rgba, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {})))
    assert got[:, 0].T.tolist() == [[200, 100, 0], [255, 255, 255], [244, 224, 204]]  # 0.2 of the colour, 0.8 of white


def test_palettes_with_and_without_colour_and_transparency() -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.putdata([0, 1, 2])
    assert read_picture(encoded(image))[:, 0].T.tolist() == [[10, 20, 30], [40, 50, 60], [70, 80, 90]]
    assert read_picture(encoded(image, transparency=1))[:, 0].T.tolist() == [[10, 20, 30], [255, 255, 255], [70, 80, 90]]
    image.putpalette([10, 10, 10, 40, 40, 40, 70, 70, 70])
    assert read_picture(encoded(image)).tolist() == [[[10, 40, 70]]]
    assert measure(encoded(image)) == (1, 1, 3)
    assert read_picture(encoded(image, transparency=0)).tolist() == [[[255, 40, 70]]]


def test_one_bit_pictures_are_black_and_white() -> None:
    bits = np.array([[True, False, True]])
    for kind in ("PNG", "TIFF", "BMP", "PPM"):
        assert read_picture(encoded(Image.fromarray(bits), kind)).tolist() == [[[255, 0, 255]]], kind


def test_cmyk_is_converted_and_adobe_inversion_undone() -> None:
    cmyk = Image.new("CMYK", (16, 16), (255, 0, 0, 0))  # pure cyan
    for data in (encoded(cmyk, "TIFF"), encoded(cmyk, "JPEG", quality=100)):
        got = read_picture(data)
        assert got.shape == (3, 16, 16)
        assert np.abs(got[:, 8, 8].astype(int) - [0, 255, 255]).max() <= 2
    assert b"Adobe" in encoded(cmyk, "JPEG")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_camera_orientation_is_applied(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = noise(0, 6, 4)
    for kind in ("PNG", "WEBP", "TIFF"):
        data = encoded(pixels, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
        wanted = chw(np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data)))))
        np.testing.assert_array_equal(read_picture(data), wanted, err_msg=kind)
        assert measure(data) == wanted.shape
    assert read_picture(encoded(pixels, "JPEG", exif=exif)).shape == ((3, 4, 6) if orientation > 4 else (3, 6, 4))


def test_broken_exif_does_not_make_a_picture_bad() -> None:
    data = encoded(noise(0), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    assert read_picture(data).shape == measure(data) == (3, 12, 10)


def test_floating_point_tiff_is_read_in_0_to_1_and_refused_beyond() -> None:
    got = read_picture(encoded(np.array([[0.0, 0.5, 1.0]], np.float32), "TIFF"))
    assert got.tolist() == [[[0, 128, 255]]]
    for bad in (1.5, -0.1, np.nan):
        with pytest.raises(BadPicture, match=r"0\.\.1") as caught:
            read_picture(encoded(np.array([[0.0, bad]], np.float32), "TIFF"))
        assert caught.value.code == "unsupported-image"


def test_32_bit_integers_are_refused() -> None:
    with pytest.raises(BadPicture, match="32-bit"):
        read_picture(encoded(np.array([[1, 70000]], np.int32), "TIFF"))


def test_the_first_of_several_frames_is_read_and_said() -> None:
    frames = [Image.fromarray(np.full((4, 4), v, np.uint8)) for v in (10, 200)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    notes: list[str] = []
    assert (read_picture(data, notes=notes) == 10).all()
    assert notes == ["holds 2 frames; the first is read"]
    quiet: list[str] = []
    read_picture(encoded(frames[0], "GIF"), notes=quiet)
    assert quiet == []


KINDS = [
    ("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {}), ("WEBP", {"lossless": True}), ("BMP", {}),
    ("GIF", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("TIFF", {"compression": "jpeg"}), ("PPM", {}),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning")  # PIL's remarks on cut TIFF files
@pytest.mark.parametrize(("kind", "options"), KINDS, ids=[f"{k}-{'-'.join(map(str, o))}" for k, o in KINDS])
def test_a_file_cut_anywhere_is_refused_or_whole(kind: str, options: dict) -> None:
    data = encoded(noise(1, 24, 20), kind, **options)
    whole = read_picture(data)
    for cut in {*range(0, len(data), 7), *range(max(0, len(data) - 60), len(data))}:
        try:
            got = read_picture(data[:cut])
        except BadPicture as error:
            assert error.code in ("empty-file", "not-an-image", "truncated-image", "corrupt-image", "unsupported-image")
        else:
            np.testing.assert_array_equal(got, whole, err_msg=f"cut at {cut} of {len(data)}")


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_blocks": 2}])
def test_a_jpeg_that_lacks_only_its_end_marker_is_read(options: dict) -> None:
    for pixels in (noise(2, 40, 33), scene(3), np.full((30, 30, 3), 128, np.uint8), noise(2, 40, 33, 1)):
        data = encoded(pixels, "JPEG", **options)
        whole = np.asarray(Image.open(io.BytesIO(data)))
        np.testing.assert_array_equal(read_picture(data[:-2]), chw(whole))
        np.testing.assert_array_equal(read_picture(data + b"\0" * 50), chw(whole))


def test_a_jpeg_cut_in_the_middle_and_closed_again_is_refused() -> None:
    data = encoded(noise(1, 64, 64), "JPEG")
    with pytest.raises(BadPicture) as caught:
        read_picture(data[: len(data) // 2] + b"\xff\xd9")
    assert caught.value.code == "truncated-image"


def test_a_truly_gray_corner_is_no_accusation() -> None:
    gray = np.full((32, 32, 3), 128, np.uint8)
    gray[:8] = noise(0, 8, 32)
    assert read_picture(encoded(gray, "JPEG"))[:, -1, -1].tolist() == [128, 128, 128]


def _bmp(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty-file"),
        (b"hello, this is text", "not-an-image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported-image"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "unsupported-image"),
        (encoded(noise(0), "ICO"), "unsupported-image"),
        (b"\x89PNG\r\n\x1a\n" + encoded(noise(0))[8:16] + bytes(8) + encoded(noise(0))[24:], "zero-sized-image"),
        (_bmp(20_000, 20_000), "oversized-image"),
        (_bmp(10_001, 10_000), "oversized-image"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_by_name(tmp_path: Path, content: bytes, code: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    for reader in (read_picture, measure):
        with pytest.raises(BadPicture) as caught:
            reader(str(path))
        assert caught.value.code == code
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_missing_files_folders_and_strange_objects(tmp_path: Path) -> None:
    for source in (tmp_path / "no.png", tmp_path):
        with pytest.raises(BadPicture, match="cannot be read"):
            read_picture(source)
    with pytest.raises(BadPicture, match="got int"):
        read_picture(3)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=80), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"GIF89a", b"II*\0", b"RIFF"]))
def test_no_bytes_make_a_traceback(junk: bytes, start: bytes) -> None:
    try:
        read_picture(start + junk)
    except BadPicture as error:
        assert "\n" not in str(error)


def test_arrays_and_pil_images_read_as_files_do(tmp_path: Path) -> None:
    pixels = noise(0)
    path = tmp_path / "x.png"
    Image.fromarray(pixels).save(path)
    for source in (
        path,
        str(path),
        path.read_bytes(),
        Image.open(path),
        Image.fromarray(pixels),
        pixels,
        chw(pixels),
        pixels.astype(int),
    ):
        np.testing.assert_array_equal(read_picture(source), chw(pixels))
    np.testing.assert_array_equal(read_picture(pixels[..., 0]), pixels[None, ..., 0])
    clear = np.dstack([pixels, np.zeros(pixels.shape[:2], np.uint8)])
    assert (read_picture(clear) == 255).all()


def test_arrays_that_could_be_misread_are_refused() -> None:
    for array, words in (
        (noise(0) / 255.0, "255"),
        (noise(0).astype(np.float32) - 128, "normalization"),
        (noise(0).astype(np.uint16) * 257, "257"),
        (np.zeros((3, 5, 3), np.uint8), "reads as"),
        (np.zeros((7, 5, 6), np.uint8), "channels"),
        (np.zeros((7,), np.uint8), "expected"),
        (np.zeros((0, 5, 3), np.uint8), "expected"),
        (np.array([["a"]]), "numbers"),
    ):
        with pytest.raises(LaminaError, match=words):
            read_picture(array)


# Resizing.


def test_resize_is_pil_s_where_nothing_is_cut() -> None:
    for channels in (1, 3):
        pixels = noise(0, 40, 40, channels)
        wanted = np.asarray(Image.fromarray(pixels).resize((16, 16), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(resize(chw(pixels), 16, 16), chw(wanted))


def test_resize_fits_the_shorter_side_and_keeps_the_centre() -> None:
    wide = np.zeros((1, 20, 60), np.uint8)
    wide[:, :, 20:40] = 255  # the central square
    assert (resize(wide, 10, 10)[:, :, 1:-1] == 255).all()
    np.testing.assert_array_equal(resize(wide.transpose(0, 2, 1), 10, 10), resize(wide, 10, 10).transpose(0, 2, 1))
    assert resize(wide, 20, 60) is wide


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 30), st.integers(1, 30), st.sampled_from([1, 3]))
def test_resize_keeps_flat_pictures_flat(rows: int, columns: int, height: int, width: int, channels: int) -> None:
    got = resize(np.full((channels, rows, columns), 77, np.uint8), height, width)
    assert got.shape == (channels, height, width) and (got == 77).all()


def test_gray_is_pil_s_luma() -> None:
    pixels = noise(0)
    np.testing.assert_array_equal(convert(chw(pixels), 1)[0], np.asarray(Image.fromarray(pixels).convert("L")))


# Columns of pictures.


@pytest.fixture
def held(tmp_path: Path) -> list[Pictures]:
    """The same six pictures packed, memory-mapped, and in files."""
    whole = np.stack([chw(noise(i)) for i in range(6)])
    np.save(tmp_path / "p.npy", whole)
    folder = folder_per_class(tmp_path / "set", {})
    paths = []
    for i in range(6):
        paths.append(str(folder.parent / f"{i}.png"))
        Image.fromarray(noise(i)).save(paths[-1])
    return [Pictures(whole), Pictures(np.load(tmp_path / "p.npy", mmap_mode="r")), Pictures(files=paths, shape=(3, 12, 10))]


def test_all_backings_answer_alike(held: list[Pictures]) -> None:
    whole = np.stack([chw(noise(i)) for i in range(6)])
    for column in held:
        assert isinstance(column, Takes) and len(column) == 6 and column.shape == (3, 12, 10)
        np.testing.assert_array_equal(column.array(), whole)
        np.testing.assert_array_equal(column[-1], whole[-1])
        np.testing.assert_array_equal(column.gather([5, 0, 0]), whole[[5, 0, 0]])
        some = column.take([4, 1, 3, 2]).take(np.array([2, 0]))
        np.testing.assert_array_equal(some.array(), whole[[3, 4]])
        assert len(column.take([])) == 0 and column.take([]).array().shape == (0, 3, 12, 10)
        np.testing.assert_array_equal(np.stack(list(column.take([1, 2]))), whole[[1, 2]])
        rows = take({"image": column, "label": list("abcdef")}, [2, 5])  # type: ignore[dict-item]
        assert length(rows) == 2 and rows["label"] == ["c", "f"]
        with pytest.raises(IndexError):
            column[6]


def test_the_whole_of_a_pack_is_not_copied_and_cannot_be_harmed(held: list[Pictures]) -> None:
    backing = np.stack([chw(noise(i)) for i in range(6)])
    column = Pictures(backing)
    assert np.shares_memory(column.array(), backing) and not column.array().flags.writeable
    assert np.shares_memory(column.take([2, 3, 4]).array(), backing)
    for packed in (column, *held):
        batch = pictures(packed, (3, 12, 10))
        batch[:] = 0  # an in-place augmentation must reach no example
        assert packed.array().any()


def test_a_file_that_vanished_is_named(held: list[Pictures], tmp_path: Path) -> None:
    (tmp_path / "3.png").unlink()
    with pytest.raises(BadPicture, match=r"3\.png"):
        held[2].gather(range(6))


def test_pictures_of_every_kind_come_to_one_shape(tmp_path: Path) -> None:
    pixels = noise(0, 20, 20)
    path = tmp_path / "x.png"
    Image.fromarray(pixels).save(path)
    wanted = chw(pixels)
    shape = (3, 20, 20)
    for column in (
        Pictures(wanted[None]), wanted[None], pixels[None], [pixels], [wanted], [str(path)], [path.read_bytes()],
        [Image.fromarray(pixels)], pixels[None].astype(np.float32), pixels[None].astype(np.int64),
    ):  # fmt: skip
        np.testing.assert_array_equal(pictures(column, shape), wanted[None])
    gray = pictures([pixels, pixels[..., 0]], (1, 10, 10))
    assert gray.shape == (2, 1, 10, 10)
    np.testing.assert_array_equal(gray[0], resize(convert(wanted, 1), 10, 10))
    np.testing.assert_array_equal(pictures(Pictures(wanted[None]), (1, 10, 10)), gray[:1])
    assert pictures(noise(0, 5, 7, 1)[None], (3, 5, 7)).shape == (1, 3, 5, 7)
    assert pictures([], shape).shape == (0, *shape)
    with pytest.raises(LaminaError, match="255"):
        pictures(pixels[None] / 255.0, shape)


def test_a_known_shape_settles_ambiguous_arrays() -> None:
    array = noise(0, 3, 3, 3)[None]
    np.testing.assert_array_equal(stack_of(array, (3, 3, 3)), array)
    with pytest.raises(LaminaError, match="reads as"):
        stack_of(array)


# What predict points at.


def test_inputs_from_files_folders_and_memory(tmp_path: Path) -> None:
    folder_per_class(tmp_path / "b", {"x": 2, ".hidden": 1})
    (tmp_path / "b" / "readme.txt").write_text("no picture")
    got = gather_inputs([tmp_path / "b", str(tmp_path / "b/x/001.png"), noise(0)])
    assert got["source"] == [str(tmp_path / f"b/x/{n}.png") for n in ("000", "001", "001")] + ["picture 4"]
    assert pictures(got["image"], (3, 12, 12)).shape == (4, 3, 12, 12)


class _Standard:
    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)


def test_inputs_from_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder_per_class(tmp_path, {"x": 2})
    monkeypatch.setattr("sys.stdin", _Standard(encoded(noise(0), "JPEG")))
    got = gather_inputs(["-"])
    assert got["source"] == ["standard input"] and pictures(got["image"], (3, 12, 10)).shape == (1, 3, 12, 10)
    monkeypatch.setattr("sys.stdin", _Standard(f"{tmp_path}/x/001.png\n\n{tmp_path}/x/000.png\n".encode()))
    assert gather_inputs(["-"])["source"] == [f"{tmp_path}/x/001.png", f"{tmp_path}/x/000.png"]
    for junk in (b"", b"\xfe\xfe\xfa"):
        monkeypatch.setattr("sys.stdin", _Standard(junk))
        with pytest.raises(LaminaError, match="standard input"):
            gather_inputs(["-"])


def test_inputs_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(LaminaError, match="no such file"):
        gather_inputs([tmp_path / "no.png"])
    with pytest.raises(LaminaError, match="no picture"):
        gather_inputs([tmp_path])
    with pytest.raises(LaminaError, match="question"):
        gather_inputs([tmp_path], ("image", "question"))


@pytest.mark.parametrize("photometric", [0, 1])
def test_sixteen_bits_may_count_from_white(photometric: int, tmp_path: Path) -> None:
    path = tmp_path / "x.tiff"
    values = np.arange(0, 65535, 4096, dtype=np.uint16).reshape(4, 4)
    Image.fromarray(values).save(path, tiffinfo={262: photometric})
    shown = np.rint(values / 257).astype(np.uint8)
    np.testing.assert_array_equal(read_picture(str(path))[0], 255 - shown if photometric == 0 else shown)
