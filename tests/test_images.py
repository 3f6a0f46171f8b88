"""Labelled pictures of every layout: data/images.py, image_layouts.py, image_folders.py, image_tables.py, demo.py."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from PIL import Image

from lamina.data.columns import length
from lamina.data.demo import digits
from lamina.data.images import read_images
from lamina.data.source import PARTS, Data, Source
from lamina.errors import LaminaError
from lamina.modalities.image import read_picture
from picture_making import encoded, folder_per_class, idx, noise


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path_factory.mktemp("cache")))


def counts(data: Data) -> dict[str, int]:
    return {part: length(columns) for part, columns in data.parts().items()}


def examples(data: Data) -> dict[str, str]:
    """Name -> label of every example, after checking the columns of each part."""
    found = {}
    for columns in data.parts().values():
        assert set(columns) == {"image", "label", "path"} and len({len(c) for c in columns.values()}) == 1
        assert isinstance(columns["label"], np.ndarray) and columns["label"].dtype.kind == "U"
        found.update(zip(columns["path"], columns["label"].tolist(), strict=True))
    return found


def test_a_folder_per_class(tmp_path: Path) -> None:
    folder_per_class(tmp_path, {"rose": 40, "tulip": 20})
    for name in ("Thumbs.db", "readme.txt", ".hidden.png", "rose/notes.txt"):
        (tmp_path / name).write_text("x")
    folder_per_class(tmp_path / "__MACOSX", {"rose": 1})
    folder_per_class(tmp_path / ".git", {"rose": 1})
    data = read_images(Source(str(tmp_path)))
    got = examples(data)
    assert len(got) == 60 and data.findings == []
    assert all(Path(path).parent.name == label for path, label in got.items())
    assert counts(data)["test"] in range(8, 12) and all(counts(data).values())
    for columns in data.parts().values():
        for path, picture in zip(columns["path"], columns["image"], strict=True):
            np.testing.assert_array_equal(picture, read_picture(path))
    assert data.about["layout"] == "a folder per class" and data.about["classes"] == 2 and data.about["packed"]


def test_reading_again_gives_the_same_and_a_change_another_fingerprint(tmp_path: Path) -> None:
    folder_per_class(tmp_path, {"a": 20, "b": 20})
    first, again = read_images(Source(str(tmp_path))), read_images(Source(str(tmp_path)))
    assert first.fingerprint == again.fingerprint and first.train["path"] == again.train["path"]
    assert read_images(Source(str(tmp_path), split_seed=1)).fingerprint != first.fingerprint
    assert read_images(Source(str(tmp_path)), size=5).train["path"] == first.train["path"], "sizes move no example"
    Image.fromarray(noise(999)).save(tmp_path / "a/000.png")
    assert read_images(Source(str(tmp_path))).fingerprint != first.fingerprint


@pytest.mark.parametrize(
    ("folders", "brought"),
    [
        (("train", "test"), ("train", "test")),
        (("Training", "val", "Testing"), ("train", "valid", "test")),
        (("TRAIN", "valid"), ("train", "valid")),
        (("train", "validation", "calibration", "test"), PARTS),
        (("train",), ("train",)),
    ],
)
def test_parts_that_the_folders_name_are_kept(tmp_path: Path, folders: tuple[str, ...], brought: tuple[str, ...]) -> None:
    for number, folder in enumerate(folders):
        folder_per_class(tmp_path / folder, {"a": 30, "b": 30}, seed=number)
    data = read_images(Source(str(tmp_path)))
    for part in PARTS:
        inside = {Path(p).parent.parent.name for p in data.parts()[part]["path"]}
        assert inside == {folders[brought.index(part)] if part in brought else folders[0]}, part
        assert part not in brought or part == "train" or counts(data)[part] == 60
    assert set(examples(data).values()) == {"a", "b"}


def test_classes_named_like_parts_beside_other_classes(tmp_path: Path) -> None:
    folder_per_class(tmp_path, {"train": 5, "bus": 5, "test": 5})  # vehicles, not parts
    assert set(examples(read_images(Source(str(tmp_path)))).values()) == {"train", "bus", "test"}


def test_folders_beside_parts_are_said(tmp_path: Path) -> None:
    for number, part in enumerate(("train", "test", "unlabeled")):
        folder_per_class(tmp_path / part, {"a": 5, "b": 5}, seed=number)
    data = read_images(Source(str(tmp_path)))
    assert len(examples(data)) == 20
    assert {f.code for f in data.findings} == {"unlabeled-image"} and len(data.findings) == 10


def test_a_folder_that_only_wraps_and_deeper_folders(tmp_path: Path) -> None:
    folder_per_class(tmp_path / "flowers" / "rose", {"2019": 5, "2020": 5})
    folder_per_class(tmp_path / "flowers", {"tulip": 8}, seed=1)
    assert sorted(set(examples(read_images(Source(str(tmp_path)))).values())) == ["rose", "tulip"]


def test_linked_folders_are_followed_but_not_round_in_circles(tmp_path: Path) -> None:
    folder_per_class(tmp_path / "real", {"a": 5})
    folder_per_class(tmp_path / "set", {"b": 5}, seed=1)
    (tmp_path / "set" / "a").symlink_to(tmp_path / "real" / "a")
    (tmp_path / "set" / "b" / "up").symlink_to(tmp_path / "set")
    assert len(examples(read_images(Source(str(tmp_path / "set"))))) == 10


def test_a_zip_file_reads_as_the_folder_in_it(tmp_path: Path) -> None:
    folder_per_class(tmp_path / "set", {"a": 12, "b": 12})
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in sorted((tmp_path / "set").rglob("*.png")):
            archive.write(path, path.relative_to(tmp_path))
        archive.writestr("__MACOSX/set/a/._000.png", b"junk")
    zipped, plain = read_images(Source(str(tmp_path / "set.zip"))), read_images(Source(str(tmp_path / "set")))
    assert zipped.fingerprint == plain.fingerprint and zipped.findings == []
    np.testing.assert_array_equal(zipped.test["image"].array(), plain.test["image"].array())  # type: ignore[attr-defined]
    assert zipped.train["path"][0].startswith(f"{tmp_path / 'set.zip'}/set/")


def table(tmp_path: Path, kind: str, rows: list[dict[str, Any]]) -> Path:
    path = tmp_path / f"table.{kind}"
    if kind == "parquet":
        parquet.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "jsonl":
        path.write_text("\n".join(json.dumps(r) for r in rows))
    else:
        mark = {"csv": ",", "tsv": "\t"}[kind]
        path.write_text("\n".join([mark.join(rows[0]), *(mark.join(str(v) for v in r.values()) for r in rows)]) + "\n")
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_a_table_of_paths(tmp_path: Path, kind: str) -> None:
    folder_per_class(tmp_path / "pics", {"x": 30})
    rows = [{"File_Name": f"pics/x/{i:03d}.png", "target": i % 3, "split": "val" if i < 6 else "train"} for i in range(30)]
    data = read_images(Source(str(table(tmp_path, kind, rows))))
    assert examples(data) == {str(tmp_path / str(r["File_Name"])): str(r["target"]) for r in rows}
    assert counts(data)["valid"] == 6 and data.about["brought"] == ["train", "valid"]


def test_columns_are_named_when_they_cannot_be_guessed(tmp_path: Path) -> None:
    folder_per_class(tmp_path, {"x": 10})
    rows = [{"photo": f"x/{i:03d}.png", "kind": "ab"[i % 2], "who": i // 2, "day": f"2024-01-{i + 10}"} for i in range(10)]
    path = table(tmp_path, "csv", rows)
    with pytest.raises(LaminaError, match=r"photo, kind, who, day.*--image"):
        read_images(Source(str(path)))
    with pytest.raises(LaminaError, match="no column 'kin'"):
        read_images(Source(str(path), image="photo", label="kin"))
    named = Source(str(path), image="photo", label="kind", test=0.2, valid=0.2, calibration=0)
    assert len(examples(read_images(named))) == 10
    grouped = read_images(Source(str(path), image="photo", label="kind", group="who", test=0.2, valid=0.2, calibration=0))
    for columns in grouped.parts().values():
        numbers = {int(Path(p).stem) for p in columns["path"]}
        assert all({n, n ^ 1} <= numbers for n in numbers), "both pictures of each person are in one part"
    timed = read_images(Source(str(path), image="photo", label="kind", time="day", test=0.2, valid=0.2, calibration=0))
    assert [Path(p).stem for p in timed.test["path"]] == ["008", "009"]


def test_groups_need_a_table(tmp_path: Path) -> None:
    folder_per_class(tmp_path, {"x": 3, "y": 3})
    with pytest.raises(LaminaError, match="--group who"):
        read_images(Source(str(tmp_path), group="who"))


def test_bad_rows_are_named_by_line_or_set_aside(tmp_path: Path) -> None:
    folder_per_class(tmp_path, {"x": 8})
    rows = [{"image": f"x/{i:03d}.png", "label": "ab"[i % 2]} for i in range(8)]
    rows[2]["label"] = ""
    rows[4]["image"] = "x/none.png"
    rows[5]["image"] = " "
    path = table(tmp_path, "csv", rows)
    with pytest.raises(LaminaError, match=r"missing-label: .*table\.csv:4: .*\(and 2 more\)"):
        read_images(Source(str(path)))
    data = read_images(Source(str(path), bad_data="quarantine"))
    assert [(f.code, f.row) for f in data.findings] == [("missing-label", 4), ("missing-file", 6), ("missing-file", 7)]
    assert len(examples(data)) == 5 and data.about["quarantined"] == 3
    rows[2]["label"], rows[4]["image"], rows[5]["image"] = "a", "x/004.png", "x/005.png"
    bad_split = [{**r, "split": "trian"} for r in rows]
    with pytest.raises(LaminaError, match=r"table\.csv:2: .*'trian'"):
        read_images(Source(str(table(tmp_path, "csv", bad_split))))


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_metadata_beside_pictures(tmp_path: Path, kind: str) -> None:
    for number, part in enumerate(("train", "test")):
        folder_per_class(tmp_path / part, {"x": 10}, seed=number)
        rows = [{"file_name": f"x/{i:03d}.png", "label": "ab"[i % 2]} for i in range(10)]
        table(tmp_path / part, kind, rows).rename(tmp_path / part / f"metadata.{kind}")
    data = read_images(Source(str(tmp_path)))
    assert data.about["layout"] == "metadata beside pictures" and counts(data)["test"] == 10
    assert set(examples(data).values()) == {"a", "b"}


def test_metadata_without_labels_leaves_the_folders_to_tell(tmp_path: Path) -> None:
    folder_per_class(tmp_path, {"x": 5, "y": 5})
    (tmp_path / "metadata.csv").write_text("file_name,caption\nx/000.png,hello\n")
    assert set(examples(read_images(Source(str(tmp_path)))).values()) == {"x", "y"}


def test_parquet_with_the_pictures_inside(tmp_path: Path) -> None:
    rows = [{"image": {"bytes": encoded(noise(i)), "path": None}, "label": i % 2} for i in range(12)]
    data = read_images(Source(str(table(tmp_path, "parquet", rows))))
    assert len(examples(data)) == 12 and data.train["image"].shape == (3, 12, 10)  # type: ignore[attr-defined]


def mnist(folder: Path, zipped: bool, names: tuple[str, str] = ("train", "t10k")) -> tuple[np.ndarray, np.ndarray]:
    pixels = np.random.default_rng(0).integers(0, 256, (70, 6, 5), dtype=np.uint8)
    labels = np.arange(70, dtype=np.uint8) % 10
    folder.mkdir(exist_ok=True)
    for name, rows in zip(names, (slice(0, 60), slice(60, 70)), strict=True):
        for kind, array in (("images-idx3", pixels[rows]), ("labels-idx1", labels[rows])):
            path = folder / f"{name}-{kind}-ubyte{'.gz' if zipped else ''}"
            path.write_bytes(gzip.compress(idx(array)) if zipped else idx(array))
    return pixels, labels


@pytest.mark.parametrize("zipped", [True, False])
def test_idx_files(tmp_path: Path, zipped: bool) -> None:
    pixels, labels = mnist(tmp_path, zipped)
    data = read_images(Source(str(tmp_path)))
    np.testing.assert_array_equal(data.test["image"].array(), pixels[60:, None])  # type: ignore[attr-defined]
    assert data.test["label"].tolist() == [str(y) for y in labels[60:]] and data.about["brought"] == ["train", "test"]  # type: ignore[attr-defined]
    rows = [int(p.split("[")[1][:-1]) for p in data.train["path"]]
    np.testing.assert_array_equal(data.train["image"].array(), pixels[rows, None])  # type: ignore[attr-defined]
    one_file = next(tmp_path.glob("train-images*"))
    assert read_images(Source(str(one_file))).fingerprint == data.fingerprint


def test_damaged_idx_files_are_named(tmp_path: Path) -> None:
    def damaged(change: Any, words: str, zipped: bool = False) -> None:
        shutil.rmtree(tmp_path / "set", ignore_errors=True)
        mnist(tmp_path / "set", zipped)
        change(tmp_path / "set")
        with pytest.raises(LaminaError, match=words) as caught:
            read_images(Source(str(tmp_path / "set")))
        assert "\n" not in str(caught.value)

    def rewrite(name: str, change: Any) -> Any:
        return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))

    damaged(rewrite("train-images-idx3-ubyte", lambda d: d[:-3]), r"train-images.* promises 1800 bytes")
    damaged(rewrite("train-images-idx3-ubyte", lambda d: d + b"x"), r"promises")
    damaged(rewrite("train-labels-idx1-ubyte", lambda d: b"\0\0\x0d\x01" + d[4:]), r"train-labels.*magic 00000801")
    damaged(rewrite("t10k-images-idx3-ubyte", lambda d: b""), r"t10k-images.*nothing")
    damaged(rewrite("t10k-images-idx3-ubyte.gz", lambda d: d[:-20]), r"t10k-images.*cut short", zipped=True)
    damaged(rewrite("t10k-images-idx3-ubyte.gz", lambda d: b"junk"), r"t10k-images.*cut short", zipped=True)
    damaged(lambda f: (f / "t10k-labels-idx1-ubyte").unlink(), r"t10k-labels-idx1-ubyte")
    damaged(lambda f: (f / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(59, np.uint8))), r"59 labels for 60 pictures")


def saved_dataset(folder: Path, count: int, start: int, names: list[str] | None) -> None:
    """What `Dataset.save_to_disk` writes."""
    folder.mkdir(parents=True)
    images = [{"bytes": encoded(noise(start + i)), "path": f"{i}.png"} for i in range(count)]
    arrow = pa.table({"img": images, "label": [i % 2 for i in range(count)]})
    with pa.OSFile(str(folder / "data-00000-of-00001.arrow"), "wb") as sink, pa.ipc.new_stream(sink, arrow.schema) as writer:
        writer.write_table(arrow)
    label = {"_type": "ClassLabel", "names": names} if names else {"_type": "Value", "dtype": "int64"}
    (folder / "dataset_info.json").write_text(json.dumps({"features": {"img": {"_type": "Image"}, "label": label}}))
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))


def test_saved_datasets_folders(tmp_path: Path) -> None:
    saved_dataset(tmp_path / "one", 20, 0, None)
    assert set(examples(read_images(Source(str(tmp_path / "one")))).values()) == {"0", "1"}
    saved_dataset(tmp_path / "two" / "train", 20, 0, ["cat", "dog"])
    saved_dataset(tmp_path / "two" / "test", 6, 100, ["cat", "dog"])
    (tmp_path / "two" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    data = read_images(Source(str(tmp_path / "two")))
    assert counts(data)["test"] == 6 and set(examples(data).values()) == {"cat", "dog"}
    np.testing.assert_array_equal(data.test["image"][5], noise(105).transpose(2, 0, 1))
    (tmp_path / "two" / "test" / "data-00000-of-00001.arrow").write_bytes(b"junk")
    with pytest.raises(LaminaError, match="not a readable saved dataset"):
        read_images(Source(str(tmp_path / "two")))


def test_arrays_from_python() -> None:
    pixels = np.stack([noise(i) for i in range(40)])
    labels = np.arange(40) % 4
    whole = read_images(Source((pixels, labels)))
    assert len(examples(whole)) == 40 and whole.train["image"].shape == (3, 12, 10)  # type: ignore[attr-defined]
    parts = read_images(Source({"train": (pixels[:30], labels[:30]), "test": (list(pixels[30:]), labels[30:].tolist())}))
    np.testing.assert_array_equal(parts.test["image"].array(), pixels[30:].transpose(0, 3, 1, 2))  # type: ignore[attr-defined]
    assert parts.test["path"][3] == "test[3]"
    columns = read_images(Source({"image": pixels, "label": labels}))
    assert columns.fingerprint == whole.fingerprint
    again = read_images(Source({"image": whole.train["image"], "label": whole.train["label"]}))
    assert len(examples(again)) == length(whole.train)
    for bad, words in (
        ((pixels, labels[:-1]), "40 pictures but 39 labels"),
        ((pixels / 255.0, labels), "255"),
        ({"a": 1, "b": 2}, "a, b"),
        ({"train": 3}, "train: expected"),
        (5, "got int"),
    ):
        with pytest.raises(LaminaError, match=words):
            read_images(Source(bad))


def test_lists_of_paths_from_python(tmp_path: Path) -> None:
    folder_per_class(tmp_path, {"x": 10})
    paths = sorted(tmp_path.glob("x/*"))
    data = read_images(Source((paths, ["a", "b"] * 5)))
    assert examples(data) == {str(p): "ab"[i % 2] for i, p in enumerate(paths)}


def test_strict_names_the_first_bad_file_and_quarantine_lists_them(tmp_path: Path) -> None:
    folder_per_class(tmp_path, {"a": 10, "b": 10})
    cut = tmp_path / "a" / "003.png"
    cut.write_bytes(cut.read_bytes()[:-100])
    (tmp_path / "b" / "005.png").write_bytes(b"<html>404</html>")
    (tmp_path / "b" / "photo.heic").write_bytes(b"x")
    with pytest.raises(LaminaError, match=r"and 2 more\).*quarantine") as caught:
        read_images(Source(str(tmp_path)))
    assert "\n" not in str(caught.value)
    data = read_images(Source(str(tmp_path), bad_data="quarantine"))
    found = {(f.code, f.file) for f in data.findings}
    assert found == {
        ("truncated-image", str(cut)),
        ("not-an-image", str(tmp_path / "b" / "005.png")),
        ("unsupported-image", str(tmp_path / "b" / "photo.heic")),
    }
    assert len(examples(data)) == 18 and str(cut) not in examples(data)


def test_all_bad_is_refused_even_in_quarantine(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.png").write_bytes(b"")
    with pytest.raises(LaminaError, match="no usable picture"):
        read_images(Source(str(tmp_path), bad_data="quarantine"))


def test_duplicates_across_parts_that_the_data_brings_are_told_not_moved(tmp_path: Path) -> None:
    folder_per_class(tmp_path / "train", {"a": 20, "b": 20})
    folder_per_class(tmp_path / "test", {"a": 5, "b": 5}, seed=1)
    shutil.copy(tmp_path / "train/a/007.png", tmp_path / "test/a/001.png")
    data = read_images(Source(str(tmp_path)))
    assert [(f.code, f.severity) for f in data.findings] == [("leaking-duplicate", "warning")]
    assert data.findings[0].file == str(tmp_path / "test/a/001.png")
    assert "train/a/007.png" in data.findings[0].reason
    assert len(examples(data)) == 50 and counts(data)["test"] == 10


def test_duplicates_within_training_stay_on_one_side_of_the_split(tmp_path: Path) -> None:
    folder_per_class(tmp_path, {"a": 30, "b": 30})
    for i in range(30):
        Image.open(tmp_path / f"a/{i:03d}.png").save(tmp_path / f"a/{i:03d}_copy.bmp")
    data = read_images(Source(str(tmp_path)))
    for columns in data.parts().values():
        stems = [Path(p).stem for p in columns["path"] if "/a/" in p]
        assert len(stems) == 2 * len({s.replace("_copy", "") for s in stems})


def test_shares_and_no_calibration(tmp_path: Path) -> None:
    folder_per_class(tmp_path, {"a": 50, "b": 50})
    data = read_images(Source(str(tmp_path), valid=0.2, test=0.3, calibration=0))
    assert counts(data) == {"train": 50, "valid": 20, "calibration": 0, "test": 30}
    assert data.calibration["image"].array().shape == (0, 3, 12, 12)  # type: ignore[attr-defined]


def test_only_a_test_folder(tmp_path: Path) -> None:
    folder_per_class(tmp_path / "test", {"a": 5, "b": 5})
    assert counts(read_images(Source(str(tmp_path)))) == {"train": 0, "valid": 0, "calibration": 0, "test": 10}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: None, "no picture found"),
        (lambda p: Image.fromarray(noise(0)).save(p / "x.png"), "directly in the folder"),
        (lambda p: [folder_per_class(p, {"train": 2, "test": 2})], "directly in test, train"),
    ],
)
def test_folders_that_hold_no_classes(tmp_path: Path, make: Any, words: str) -> None:
    make(tmp_path)
    with pytest.raises(LaminaError, match=words):
        read_images(Source(str(tmp_path)))


def test_paths_that_are_no_data(tmp_path: Path) -> None:
    (tmp_path / "x.xyz").write_text("x")
    for data, words in ((tmp_path / "none", "no such"), (tmp_path / "x.xyz", "expected a folder")):
        with pytest.raises(LaminaError, match=words):
            read_images(Source(str(data)))
    with pytest.raises(LaminaError, match="size"):
        read_images(Source(str(tmp_path)), size=0)


def test_the_demo_is_real_digits() -> None:
    pixels, labels = digits()
    assert pixels.shape == (1797, 1, 8, 8) and pixels.dtype == np.uint8 and pixels.min() == 0 and pixels.max() == 255
    data = read_images(Source())
    assert data.about["classes"] == 10 and len(examples(data)) == 1797 and data.train["image"].shape == (1, 8, 8)  # type: ignore[attr-defined]
    assert set(labels) == set(map(str, range(10)))
    for part in ("valid", "calibration", "test"):
        assert len(set(data.parts()[part]["label"].tolist())) == 10  # type: ignore[attr-defined]


def test_the_cache_knows_columns_and_folders_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def picture(value: int) -> bytes:
        made = io.BytesIO()
        Image.fromarray(np.full((8, 8), value, dtype=np.uint8)).save(made, format="BMP")
        return made.getvalue()

    rows = [{"image": {"bytes": picture(10 + i)}, "depth": {"bytes": picture(200 + i)}, "label": "ab"[i % 2]} for i in range(20)]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "two.parquet")
    for column, least in (("image", 10), ("depth", 200)):
        pixels = read_images(Source(str(tmp_path / "two.parquet"), image=column)).train["image"].array()  # type: ignore[attr-defined]
        assert least <= pixels.min() and pixels.max() < least + 20
    for folder, least in (("v1", 10), ("v2", 200)):
        for i in range(20):
            path = tmp_path / folder / "data" / "ab"[i % 2] / f"{i}.bmp"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(least + i))
            os.utime(path, (1, 1))
        monkeypatch.chdir(tmp_path / folder)
        pixels = read_images(Source("data")).train["image"].array()  # type: ignore[attr-defined]
        assert least <= pixels.min() and pixels.max() < least + 20
