"""Reading every picture once: data/pack.py."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lamina.data import pack as packing
from lamina.data.pack import cache_folder, pack, pack_array
from lamina.modalities.image import fit, read_picture
from picture_making import encoded, folder_per_class, noise


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "packs"


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    folder_per_class(tmp_path / "set", {"a": 5, "b": 4})
    return sorted(map(str, (tmp_path / "set").glob("*/*.png")))


def stamps(files: list[str]) -> list[str]:
    return [f"{f}|{os.stat(f).st_size}|{os.stat(f).st_mtime_ns}" for f in files]  # noqa: PTH116


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many pictures have been decoded since it was last asked."""
    seen: list[object] = []
    monkeypatch.setattr(packing, "read_picture", lambda source, **rest: (seen.append(source), read_picture(source, **rest))[1])

    def count() -> int:
        number = len(seen)
        seen.clear()
        return number

    return count


def test_a_pack_holds_the_pixels_and_is_used_again(files: list[str], cache: Path, reads: Callable[[], int]) -> None:
    pictures, facts = pack(files, stamps(files))
    assert reads() == 9 and pictures.packed and pictures.shape == facts.shape == (3, 12, 12)
    np.testing.assert_array_equal(pictures.array(), np.stack([read_picture(f) for f in files]))
    again, same = pack(files, stamps(files))
    assert reads() == 0 and same == facts
    np.testing.assert_array_equal(again.array(), pictures.array())
    assert len(list(cache.iterdir())) == 1, "nothing temporary is left"
    assert cache_folder() == cache


def test_changed_files_and_another_size_make_another_pack(files: list[str], reads: Callable[[], int]) -> None:
    pack(files, stamps(files))
    Image.fromarray(noise(99)).save(files[0])
    pack(files, stamps(files))
    assert reads() == 18
    small, facts = pack(files, stamps(files), size=6)
    assert small.shape == (3, 6, 6)
    assert facts.hashes == pack(files, stamps(files), size=7)[1].hashes, "contents do not depend on the size asked for"
    np.testing.assert_array_equal(small[3], fit(read_picture(files[3]), (3, 6, 6)))


@pytest.mark.parametrize("harm", ["flip", "cut", "facts", "no pixels", "no facts"])
def test_a_damaged_pack_is_made_again(files: list[str], cache: Path, reads: Callable[[], int], harm: str) -> None:
    whole = pack(files, stamps(files))[0].array().copy()
    folder = next(cache.iterdir())
    pixels, facts = folder / "pixels.npy", folder / "facts.json"
    if harm == "flip":
        data = bytearray(pixels.read_bytes())
        data[-100] ^= 1
        pixels.write_bytes(data)
    elif harm == "cut":
        pixels.write_bytes(pixels.read_bytes()[:-1])
    elif harm == "facts":
        facts.write_text(facts.read_text().replace('"bad": {}', '"bad": {"0": ["x", "y"]}'))
    else:
        (pixels if harm == "no pixels" else facts).unlink()
    reads()
    pictures, facts_again = pack(files, stamps(files))
    assert reads() == 9 and not facts_again.bad
    np.testing.assert_array_equal(pictures.array(), whole)
    pack(files, stamps(files))
    assert reads() == 0


def test_an_interrupted_packing_leaves_nothing(files: list[str], cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(packing, "sync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pack(files, stamps(files))
    assert list(cache.iterdir()) == []
    assert pack(files, stamps(files))[0].packed


def test_two_packers_at_once(files: list[str], cache: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: pack(files, stamps(files)), range(4)))
    for pictures, facts in results:
        np.testing.assert_array_equal(pictures.array(), results[0][0].array())
        assert facts == results[0][1]
    assert len(list(cache.iterdir())) == 1


def test_bad_files_are_told_and_their_rows_kept(files: list[str], cache: Path, reads: Callable[[], int]) -> None:
    Path(files[2]).write_bytes(Path(files[2]).read_bytes()[:-200])
    Path(files[5]).write_bytes(b"")
    for _ in range(2):  # the second time from the pack
        pictures, facts = pack(files, stamps(files))
        assert {row: code for row, (code, _) in facts.bad.items()} == {2: "truncated-image", 5: "empty-file"}
        assert len(pictures) == 9 and facts.hashes[2] == facts.hashes[5] == "" and all(facts.hashes[i] for i in (0, 1, 3, 4))
        np.testing.assert_array_equal(pictures[6], read_picture(files[6]))


def test_sets_too_large_are_streamed_with_facts_kept(
    files: list[str], monkeypatch: pytest.MonkeyPatch, reads: Callable[[], int]
) -> None:
    monkeypatch.setattr(packing, "LARGEST", 100)
    Path(files[0]).write_bytes(b"")
    pictures, facts = pack(files, stamps(files))
    assert reads() == 8 and not pictures.packed and len(facts.hashes) == 9
    again, same = pack(files, stamps(files))
    assert reads() == 0 and same == facts and not again.packed
    np.testing.assert_array_equal(again.take(range(1, 9)).array(), np.stack([read_picture(f) for f in files[1:]]))


def test_no_room_to_write_is_no_failure(files: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file where the folder should be")
    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path / "file"))
    pictures, facts = pack(files, stamps(files))
    assert len(facts.hashes) == 9 and not pictures.packed
    np.testing.assert_array_equal(pictures.array(), np.stack([read_picture(f) for f in files]))


def test_pictures_from_memory_need_no_cache(files: list[str], cache: Path) -> None:
    pictures, facts = pack([Path(f).read_bytes() for f in files], None)
    assert pictures.packed and not cache.exists() and len(facts.hashes) == 9


def test_content_is_pixels_not_bytes() -> None:
    same = [encoded(noise(0), "PNG"), encoded(noise(0), "BMP"), encoded(noise(1), "PNG"), noise(0)]
    _, facts = pack(same, None)
    assert len(set(facts.hashes)) == 2 and facts.hashes[0] == facts.hashes[1] == facts.hashes[3]
    _, from_array = pack_array(np.stack([noise(0).transpose(2, 0, 1)]))
    assert from_array.hashes[0] == facts.hashes[0]
    flat = [np.zeros((1, 4, 9), np.uint8), np.zeros((1, 9, 4), np.uint8)]
    assert len(set(pack([f[0] for f in flat], None)[1].hashes)) == 2


@pytest.mark.parametrize(
    ("pixels", "size", "shape"),
    [
        ([noise(0, 8, 8, 1), noise(1, 8, 8, 1)], None, (1, 8, 8)),
        ([noise(0, 8, 8, 1), noise(1, 8, 8, 3)], None, (3, 8, 8)),
        ([noise(0, 96, 40)], None, (3, 96, 40)),
        ([noise(0, 97, 40)], None, (3, 128, 128)),
        ([noise(0, 8, 8), noise(1, 8, 9)], None, (3, 128, 128)),
        ([noise(0, 8, 8), noise(1, 8, 9)], 16, (3, 16, 16)),
        ([], None, (3, 128, 128)),
    ],
)  # fmt: skip
def test_the_shape_of_a_set(pixels: list[np.ndarray], size: int | None, shape: tuple[int, int, int]) -> None:
    pictures, facts = pack([encoded(p) for p in pixels], None, size)
    assert facts.shape == pictures.shape == shape
