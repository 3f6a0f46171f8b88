"""Parallel text: what is read from each layout, what is found wrong, and what stays together."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.data.columns import length
from lamina.data.parallel import holds_pairs, read_parallel, scan_parallel
from lamina.data.source import Source
from lamina.errors import LaminaError

EN = [f"the house number {i} is old" for i in range(40)]
DE = [f"das Haus Nummer {i} ist alt" for i in range(40)]


def folder(path, name="train", en=EN, de=DE):
    path.mkdir(exist_ok=True)
    (path / f"{name}.en").write_bytes("".join(f"{line}\n" for line in en).encode())
    (path / f"{name}.de").write_bytes("".join(f"{line}\n" for line in de).encode())
    return path


def pairs_of(data):
    return {pair for part in data.parts().values() for pair in zip(part["text"], part["translation"], strict=True)}


def codes(findings):
    return {f.code for f in findings}


def table(path, rows, how):
    if how == "csv":
        path.write_text("en,de\n" + "".join(f'"{a}","{b}"\n' for a, b in rows))
    elif how == "tsv":
        path.write_text("en\tde\n" + "".join(f"{a}\t{b}\n" for a, b in rows))
    elif how == "jsonl":
        path.write_text("".join(json.dumps({"en": a, "de": b}) + "\n" for a, b in rows))
    elif how == "nested.jsonl":
        path.write_text("".join(json.dumps({"id": 1, "translation": {"en": a, "de": b}}) + "\n" for a, b in rows))
    else:
        import pyarrow as pa
        import pyarrow.parquet as parquet

        parquet.write_table(pa.table({"en": [a for a, _ in rows], "de": [b for _, b in rows]}), path)
    return path


def test_a_folder_brings_its_parts(tmp_path):
    folder(tmp_path)
    folder(tmp_path, "dev", EN[:3], DE[:3])
    folder(tmp_path, "test", ["another one"], ["noch eins"])
    data = read_parallel(Source(str(tmp_path)), "en", "de")
    assert data.train == {"text": EN, "translation": DE}
    assert length(data.valid) == 3 and data.test == {"text": ["another one"], "translation": ["noch eins"]}
    assert data.calibration == {"text": [], "translation": []}
    assert data.about["languages"] == ["en", "de"]
    other = read_parallel(Source(str(tmp_path)), "de", "en")
    assert other.train == {"text": DE, "translation": EN} and other.fingerprint != data.fingerprint


@pytest.mark.parametrize("how", ["csv", "tsv", "jsonl", "nested.jsonl", "parquet"])
def test_tables_hold_the_same(tmp_path, how):
    path = table(tmp_path / f"pairs.{how}", list(zip(EN, DE, strict=True)), how)
    data = read_parallel(Source(str(path)), "en", "de")
    assert pairs_of(data) == set(zip(EN, DE, strict=True))
    assert length(data.valid) and length(data.test) and not length(data.calibration)


def test_saved_datasets_hold_the_same(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = [{"en": a, "de": b} for a, b in zip(EN, DE, strict=True)]
    nested = datasets.Dataset.from_dict({"translation": rows})
    nested.save_to_disk(tmp_path / "nested")
    flat = datasets.DatasetDict({"train": datasets.Dataset.from_list(rows), "validation": datasets.Dataset.from_list(rows[:4])})
    flat.save_to_disk(tmp_path / "flat")
    assert pairs_of(read_parallel(Source(str(tmp_path / "nested")), "en", "de")) == set(zip(EN, DE, strict=True))
    data = read_parallel(Source(str(tmp_path / "flat")), "en", "de")
    assert length(data.valid) == 4 and length(data.train) + length(data.test) == 40


def test_memory_holds_the_same(tmp_path):
    one = read_parallel(Source((EN, DE)))
    two = read_parallel(Source({"source": EN, "target": DE}))
    three = read_parallel(Source([{"source": a, "target": b} for a, b in zip(EN, DE, strict=True)]))
    assert one.parts() == two.parts() == three.parts()
    assert one.fingerprint == two.fingerprint == three.fingerprint


def test_the_other_language_is_found_and_nothing_is_guessed(tmp_path):
    folder(tmp_path)
    assert read_parallel(Source(str(tmp_path)), "de").train["text"][0].startswith("das")
    assert read_parallel(Source(str(tmp_path)), None, "en").train["text"][0].startswith("das")
    with pytest.raises(LaminaError, match=r"expected --source and --target.* de, en"):
        read_parallel(Source(str(tmp_path)))
    with pytest.raises(LaminaError, match="--source: expected one of de, en; got 'fr'"):
        read_parallel(Source(str(tmp_path)), "fr", "de")
    with pytest.raises(LaminaError, match="another language"):
        read_parallel(Source(str(tmp_path)), "de", "de")


def test_files_of_unequal_length_are_never_paired(tmp_path):
    folder(tmp_path, de=DE[:-1])
    for bad_data in ("strict", "quarantine"):
        with pytest.raises(LaminaError, match=r"as many lines in train.en as in train.de; lines: train.en 40 and train.de 39"):
            read_parallel(Source(str(tmp_path), bad_data=bad_data), "en", "de")
    assert codes(scan_parallel(Source(str(tmp_path)))) == {"unreadable-pairs"}


def test_a_missing_side_is_named(tmp_path):
    folder(tmp_path)
    (tmp_path / "test.en").write_text("only this\n")
    with pytest.raises(LaminaError, match=r"expected test.de beside test.en"):
        read_parallel(Source(str(tmp_path)), "en", "de")


def test_only_a_newline_ends_a_line(tmp_path):
    odd = ["a b", "c\x0bd", "e\x85f", "g\x0ch", "i\x1cj"]
    data = read_parallel(Source(str(folder(tmp_path, en=odd, de=list("vwxyz")))), "en", "de")
    assert pairs_of(data) == set(zip(odd, "vwxyz", strict=True))


def test_windows_files(tmp_path):
    (tmp_path / "train.en").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    (tmp_path / "train.de").write_bytes(b"eins\nzwei")
    assert pairs_of(read_parallel(Source(str(tmp_path)), "en", "de")) == {("one", "eins"), ("two", "zwei")}
    (tmp_path / "train.en").write_bytes("one\ntwo\n".encode("utf-16"))
    with pytest.raises(LaminaError, match="UTF-16"):
        read_parallel(Source(str(tmp_path)), "en", "de")


BAD = {
    "not-utf-8": b"gr\xfcn",
    "empty-side": b"  ",
    "nul": b"gr\0n",
    "too-long": b"long " * 5000,
}


@pytest.mark.parametrize("code", BAD)
def test_what_cannot_be_used_stops_or_is_set_aside(tmp_path, code):
    folder(tmp_path)
    lines = [line.encode() for line in DE]
    lines[6] = BAD[code]
    (tmp_path / "train.de").write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(LaminaError, match=rf"{code}: .*train.*:7: "):
        read_parallel(Source(str(tmp_path)), "en", "de")
    data = read_parallel(Source(str(tmp_path), bad_data="quarantine"), "en", "de")
    assert pairs_of(data) == set(zip(EN, DE, strict=True)) - {(EN[6], DE[6])}
    (finding,) = [f for f in data.findings if f.code == code]
    assert finding.row == 7 and finding.severity == "error"
    assert code in codes(scan_parallel(Source(str(tmp_path))))


def test_doubtful_pairs_are_told_and_set_aside_only_in_quarantine(tmp_path):
    en, de = [*EN, "yes", "this was never translated at all"], [*DE, "ja " * 40, "this was never translated at all"]
    folder(tmp_path, en=en, de=de)
    data = read_parallel(Source(str(tmp_path)), "en", "de")
    assert {"absurd-ratio", "identical-sides"} <= codes(data.findings)
    assert sum(map(length, data.parts().values())) == 42
    kept = read_parallel(Source(str(tmp_path), bad_data="quarantine"), "en", "de")
    assert pairs_of(kept) == set(zip(EN, DE, strict=True))


def test_names_and_short_answers_are_not_doubted(tmp_path):
    data = read_parallel(
        Source(str(folder(tmp_path, en=[*EN, "Berlin", "OK"], de=[*DE, "Berlin", "einverstanden, so sei es"]))), "en", "de"
    )
    assert not {"absurd-ratio", "identical-sides"} & codes(data.findings)


def test_leaks_between_parts_that_the_data_brings(tmp_path):
    folder(tmp_path)
    folder(tmp_path, "test", ["THE house  number 3 is old", "something new"], ["anders", DE[5]])
    found = {f.code: f for f in read_parallel(Source(str(tmp_path)), "en", "de").findings}
    assert "1 of 2 pairs of test have a sentence that training has too" in found["leaking-sentence"].reason
    assert "1 of 2 pairs of test have a translation" in found["leaking-translation"].reason


def test_tab_separated_marks_that_never_close(tmp_path):
    rows = [('a 5" disk', 'eine 5"-Platte'), ('"Hello"', "Hallo"), *zip(EN, DE, strict=True)]
    (tmp_path / "t.tsv").write_text("en\tde\n" + "".join(f"{a}\t{b}\n" for a, b in rows) + '"say ""yes"""\tsage ja\n')
    assert ('a 5" disk', 'eine 5"-Platte') in pairs_of(read_parallel(Source(str(tmp_path / "t.tsv")), "en", "de"))
    assert ('say "yes"', "sage ja") in pairs_of(read_parallel(Source(str(tmp_path / "t.tsv")), "en", "de"))
    (tmp_path / "t.tsv").write_text("en\tde\none\teins\ntwo\n")
    with pytest.raises(LaminaError, match=r"t.tsv:3: expected 2 fields"):
        read_parallel(Source(str(tmp_path / "t.tsv")), "en", "de")


@pytest.mark.parametrize(
    ("write", "match"),
    [
        (lambda p: None, "expected files such as train.en"),
        (lambda p: (p / "train.en").write_text("one\n"), "expected"),
        (lambda p: (p / "train.csv").write_text("en\none\n"), "--target: expected one of en"),
        (lambda p: (p / "train.jsonl").write_text("[1]\n"), "expected JSON objects"),
        (lambda p: (p / "train.parquet").write_text("no"), "expected a Parquet file"),
        (lambda p: folder(p, en=[], de=[]), "expected pairs"),
        (lambda p: (p / "train.tsv").write_text(""), "expected a line of column names"),
    ],
)
def test_what_is_no_parallel_text_is_one_line(tmp_path, write, match):
    write(tmp_path)
    with pytest.raises(LaminaError, match=match) as told:
        read_parallel(Source(str(tmp_path)), "en", "de")
    assert "\n" not in str(told.value)


def test_parallel_text_is_known_by_its_names(tmp_path):
    assert holds_pairs(Source(str(folder(tmp_path / "a"))))
    (tmp_path / "t.csv").write_text("id,en,de\n1,a house,ein Haus\n")
    assert holds_pairs(Source(str(tmp_path / "t.csv")))
    (tmp_path / "u.csv").write_text("id,is,to\n1,2,3\n")
    assert not holds_pairs(Source(str(tmp_path / "u.csv")))
    assert not holds_pairs(Source({"text": EN, "label": DE}))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=8, max_size=80), st.integers(0, 5))
def test_either_side_stays_in_one_part(numbers, seed):
    sources, targets = (
        [f"{side} {n}" for n in column] for side, column in zip(("s", "t"), zip(*numbers, strict=True), strict=True)
    )
    data = read_parallel(Source((sources, targets), valid=0.2, test=0.2, split_seed=seed))
    told = any(f.code == "repeating-pairs" for f in data.findings)
    parts = list(data.parts().values())
    for name in ("text",) if told else ("text", "translation"):
        for i, one in enumerate(parts):
            for other in parts[i + 1 :]:
                assert not set(one[name]) & set(other[name])
    assert sum(map(length, parts)) == len(numbers)


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=200), other=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_in_one_line(tmp_path_factory, content, other):
    path = tmp_path_factory.mktemp("bytes")
    (path / "train.en").write_bytes(content)
    (path / "train.de").write_bytes(other)
    try:
        read_parallel(Source(str(path), bad_data="quarantine"), "en", "de")
    except LaminaError as error:
        assert "\n" not in str(error)
    assert scan_parallel(Source(str(path))) is not None


def test_scan_finds_what_is_wrong_without_being_told_the_languages(tmp_path):
    import lamina

    lines = [*DE[:-1], ""]
    assert codes(lamina.scan(str(folder(tmp_path, de=lines)))) == {"empty-side"}
