"""Defects planted in sets of pictures must be found, and nothing else: data/scan.py, data/defects.py."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from PIL import Image

from lamina.data.scan import holds_pictures, scan, summary
from lamina.data.source import Finding, Source
from lamina.errors import LaminaError
from picture_making import encoded, folder_per_class, noise, scene


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return folder_per_class(tmp_path / "set", {"a": 12, "b": 12})


def found(path: Path) -> list[Finding]:
    return scan(Source(str(path)))


def one(path: Path, code: str) -> Finding:
    """The only finding, which must have this code."""
    findings = found(path)
    assert [f.code for f in findings] == [code], [str(f) for f in findings]
    assert "\n" not in str(findings[0])
    return findings[0]


def test_a_good_set_is_not_accused(good: Path) -> None:
    assert found(good) == []


def test_good_files_of_every_kind_are_not_accused(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    files = {
        "a.jpg": encoded(scene(1), "JPEG"),
        "b.jpg": encoded(scene(2), "JPEG", progressive=True)[:-2],  # lacks only its end marker
        "c.jpg": encoded(scene(3), "JPEG", exif=exif) + b"trailing bytes of a camera",
        "d.png": encoded(scene(4), "PNG"),
        "e.png": encoded(Image.fromarray(scene(5)).convert("P"), "PNG"),
        "f.png": encoded(Image.fromarray(scene(6)).convert("RGBA"), "PNG"),
        "g.webp": encoded(scene(7), "WEBP"),
        "h.bmp": encoded(scene(8), "BMP"),
        "i.gif": encoded(scene(9), "GIF"),
        "j.tif": encoded(scene(10), "TIFF", compression="tiff_lzw"),
        "k.jpg": encoded(Image.fromarray(scene(11)).convert("CMYK"), "JPEG"),
        "l.JPEG": encoded(scene(12), "PNG"),  # another format than its name says reads well all the same
    }
    for label in ("x", "y"):
        (tmp_path / label).mkdir()
    for i, (name, data) in enumerate(files.items()):
        (tmp_path / "xy"[i % 2] / name).write_bytes(data)
    assert found(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (encoded(noise(0))[:-60], "truncated-image"),
        (encoded(noise(0, 40, 40), "JPEG")[:-300], "truncated-image"),
        (b"", "empty-file"),
        (b"GIF89a\0\0\0\0\0\0\0", "zero-sized-image"),
        (b"<html>not found</html>", "not-an-image"),
        (encoded(noise(0), "ICO"), "unsupported-image"),
        (b"P5 20000 20000 255\n", "oversized-image"),
        (encoded(np.full((4, 4), 1.5, np.float32), "TIFF"), "unsupported-image"),
    ],
)
def test_bad_files_are_named(good: Path, content: bytes, code: str) -> None:
    path = good / "a" / "004.png"
    path.write_bytes(content)
    finding = one(good, code)
    assert finding.severity == "error" and finding.file == str(path)


def test_pictures_of_a_kind_that_is_not_read(good: Path) -> None:
    (good / "a" / "photo.heic").write_bytes(b"x")
    (good / "a" / "notes.docx").write_bytes(b"x")
    assert [(f.code, f.severity) for f in found(good)] == [("unsupported-image", "error"), ("skipped-files", "note")]


def test_duplicates_in_one_part(good: Path) -> None:
    Image.open(good / "a/003.png").save(good / "a/zzz.bmp")  # other bytes, same pixels
    finding = one(good, "duplicate")
    assert finding.file == str(good / "a/zzz.bmp") and str(good / "a/003.png") in finding.reason and finding.severity == "warning"


def test_one_picture_under_two_labels(good: Path) -> None:
    shutil.copy(good / "a/003.png", good / "b/copy.png")
    assert [f.code for f in found(good)] == ["duplicate", "conflicting-label"]
    assert "'b'" in found(good)[1].reason and "'a'" in found(good)[1].reason


def test_leaks_across_parts(tmp_path: Path) -> None:
    folder_per_class(tmp_path / "train", {"a": 8, "b": 8})
    folder_per_class(tmp_path / "test", {"a": 4, "b": 4}, seed=1)
    shutil.copy(tmp_path / "train/b/001.png", tmp_path / "test/b/003.png")
    assert one(tmp_path, "leaking-duplicate").file == str(tmp_path / "test/b/003.png")


def test_near_duplicates_are_pairs_that_look_alike(tmp_path: Path) -> None:
    for label in ("x", "y"):
        (tmp_path / label).mkdir()
    for i in range(40):
        Image.fromarray(scene(i)).save(tmp_path / "xy"[i % 2] / f"{i:02d}.png")
    assert found(tmp_path) == [], "40 different scenes"
    (tmp_path / "x" / "again.jpg").write_bytes(encoded(scene(0), "JPEG", quality=60))
    brighter = np.clip(scene(1).astype(int) + 4, 0, 255).astype(np.uint8)
    Image.fromarray(brighter).save(tmp_path / "x" / "brighter.png")
    findings = found(tmp_path)
    assert [(f.code, f.severity) for f in findings] == [("near-duplicate", "warning"), ("near-duplicate", "note")]
    assert "01.png" in findings[0].reason + str(findings[0].file) and "brighter.png" in findings[0].reason + str(findings[0].file)


def test_tiny_and_flat_pictures_are_not_called_alike(tmp_path: Path) -> None:
    base = noise(0, 8, 8, 1)
    for i in range(8):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        changed = base.copy()
        changed.flat[i] ^= 1
        Image.fromarray(changed).save(tmp_path / "ab"[i % 2] / f"{i}.png")
    assert found(tmp_path) == []
    flat = tmp_path / "flat"
    for i in range(8):
        (flat / "ab"[i % 2]).mkdir(exist_ok=True, parents=True)
        Image.new("RGB", (64, 64), (i * 20, 0, 0)).save(flat / "ab"[i % 2] / f"{i}.png")
    assert found(flat) == []


def test_classes_too_small_uneven_or_empty(tmp_path: Path) -> None:
    folder_per_class(tmp_path, {"many": 30, "few": 2, "single": 1, "none": 0})
    findings = found(tmp_path)
    assert [f.code for f in findings] == ["empty-class", "single-example-class", "imbalance"]
    assert findings[0].file == str(tmp_path / "none") and "'many' has 30" in findings[2].reason


def test_an_uneven_but_usable_set_is_not_accused(tmp_path: Path) -> None:
    assert found(folder_per_class(tmp_path, {"a": 30, "b": 3})) == []


def test_a_class_that_training_never_sees(tmp_path: Path) -> None:
    folder_per_class(tmp_path / "train", {"a": 4, "b": 4})
    folder_per_class(tmp_path / "test", {"a": 4, "c": 4}, seed=1)
    assert "'c'" in one(tmp_path, "unknown-class").reason


def test_pictures_outside_the_class_folders(good: Path) -> None:
    Image.fromarray(noise(500)).save(good / "stray.png")
    assert one(good, "unlabeled-image").file == str(good / "stray.png")


def test_notes_on_frames_sizes_and_colours(good: Path) -> None:
    frames = [Image.fromarray(noise(i, 12, 12)) for i in (900, 901)]
    frames[0].save(good / "a" / "moving.gif", save_all=True, append_images=frames[1:])
    assert one(good, "several-frames").severity == "note"
    (good / "a" / "moving.gif").unlink()
    Image.fromarray(noise(902, 20, 20)).save(good / "a" / "large.png")
    assert "24 of 12 x 12" in one(good, "mixed-sizes").reason
    (good / "a" / "large.png").unlink()
    Image.fromarray(noise(903, 12, 12, 1)).save(good / "a" / "gray.png")
    assert one(good, "mixed-colors").severity == "note"


def test_long_lists_are_cut_with_a_count(tmp_path: Path) -> None:
    folder_per_class(tmp_path, {"a": 30, "b": 30})
    for i in range(30):
        shutil.copy(tmp_path / f"a/{i:03d}.png", tmp_path / f"a/{i:03d}b.png")
    findings = found(tmp_path)
    assert len(findings) == 20 and findings[-1].reason.endswith("and 10 more of these")


def test_errors_come_first_and_the_order_is_fixed(good: Path) -> None:
    (good / "b" / "011.png").write_bytes(b"")
    shutil.copy(good / "a/003.png", good / "a/copy.png")
    (good / "c").mkdir()
    findings = found(good)
    assert [f.severity for f in findings] == ["error", "warning", "warning"] and findings == found(good)
    assert summary(findings) == {"empty-file": 1, "duplicate": 1, "empty-class": 1}
    assert list(summary(findings)) == ["empty-file", "duplicate", "empty-class"]


def test_arrays_are_scanned_too() -> None:
    pixels = np.stack([noise(i) for i in range(10)])
    pixels[7] = pixels[2]
    findings = scan(Source((pixels, ["a", "b"] * 5)))
    assert [f.code for f in findings] == ["duplicate", "conflicting-label"] and findings[0].file == "train[7]"


def test_pictures_and_tables_are_told_apart(tmp_path: Path, good: Path) -> None:
    def write(name: str, text: str) -> str:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return str(path)

    parquet.write_table(pa.table({"image": [{"bytes": encoded(noise(0)), "path": "x"}], "label": ["a"]}), tmp_path / "p.parquet")
    parquet.write_table(pa.table({"x": [1.0], "label": ["a"]}), tmp_path / "t.parquet")
    of_pictures = [
        str(good), write("a.csv", "path,label\nx/1.png,a\n"), write("b.jsonl", json.dumps({"image": "1.jpg", "label": 1})),
        str(tmp_path / "p.parquet"), "hf:someone/something",
    ]  # fmt: skip
    for data in of_pictures:
        assert holds_pictures(Source(data)), data
    write("folder/train.csv", "x,y\n1,2\n")
    of_tables = [
        write("c.csv", "x,label\n1.5,a\n"),
        write("d.csv", "path,label\nsome words,a\n"),
        write("e.csv", ""),
        write("f.jsonl", "junk"),
        str(tmp_path / "t.parquet"),
        str(tmp_path / "folder"),
        str(tmp_path / "none.csv"),
    ]
    for data in of_tables:
        assert not holds_pictures(Source(data)), data
    assert holds_pictures(Source(of_tables[0], image="x"))
    assert holds_pictures(Source((np.zeros((2, 3, 3)), [0, 1]))) and not holds_pictures(Source((np.zeros((2, 3)), [0, 1])))
    with pytest.raises(LaminaError, match="nothing to scan"):
        scan(Source())


def test_a_table_goes_to_the_table_s_own_scan(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x,label\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(60)))
    assert all(isinstance(f, Finding) and f.severity != "error" for f in scan(Source(str(tmp_path / "t.csv"), label="label")))
