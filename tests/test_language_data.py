"""The sets of texts of the benchmarks: indexes and mail as they are written, pairs that belong together, parts that share nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks/ is no part of the installed package

from benchmarks import language_data as data
from benchmarks.language_data import Labelled, Pair

ENGLISH = """\
Package: apples
Description-md5: 11
Description-en: counts  apples
 Apples are counted one by one, and what is read from a file is counted cross-
 platform.
 .
 It can:
  * count red apples, even those
    that hang high
  * count green apples
 .
 Nobody translated this.

Package: apples-dev
Description-md5: 22
Description-en: counts pears (development)
 One.
 .
 Two paragraphs.

Package: plums
Description-md5: 33
Description-en: counts apples
"""
GERMAN = """\
Package: apples
Description-md5: 11
Description-de: zählt Äpfel
 Äpfel werden einzeln gezählt, und was aus einer Datei zur Ein- und
 Ausgabe gelesen wird, zählt das Obst-
 Programm überall.
 .
 Es kann:
  * rote Äpfel zählen
  * grüne Äpfel
    zählen
 .
 <trans>

Package: apples-dev
Description-md5: 22
Description-de: zählt Birnen (Entwicklung)
 Nur ein Absatz.

Package: plums
Description-md5: 33
Description-de: Zählt Äpfel
"""


def test_stanzas_keep_wrapped_lines_and_skip_empty_ones():
    found = list(data.stanzas("A: 1\nB: x: y\n more\n  .\n\n\n stray\nA: 2".splitlines(keepends=True)))
    assert found == [{"A": "1", "B": "x: y\nmore\n ."}, {"A": "2"}]
    assert list(data.stanzas([])) == []


def test_blocks_of_a_description():
    text = data.descriptions(ENGLISH.splitlines(), "en")["11"][1]
    assert data.blocks(text) == [
        ["counts apples"],
        ["Apples are counted one by one, and what is read from a file is counted cross-platform."],
        ["It can:", "count red apples, even those that hang high", "count green apples"],
        ["Nobody translated this."],
    ]
    assert data.blocks("only a first line") == [["only a first line"]]
    assert data.blocks("first\n.\n.\n - one\nand more\n - two\n.") == [["first"], ["one and more", "two"]]


def test_pairs_are_aligned_where_counts_agree_and_come_once():
    english, german = (data.descriptions(t.splitlines(), x) for t, x in ((ENGLISH, "en"), (GERMAN, "de")))
    assert data.pairs(english, german, {"apples": "fruit", "apples-dev": "fruit"}) == [
        Pair("fruit", "counts apples", "zählt Äpfel"),
        Pair(
            "fruit",
            "Apples are counted one by one, and what is read from a file is counted cross-platform.",
            "Äpfel werden einzeln gezählt, und was aus einer Datei zur Ein- und Ausgabe gelesen wird, zählt das Obst-Programm überall.",
        ),
        Pair("fruit", "It can:", "Es kann:"),
        Pair("fruit", "count red apples, even those that hang high", "rote Äpfel zählen"),
        Pair("fruit", "count green apples", "grüne Äpfel zählen"),
        Pair("fruit", "counts pears (development)", "zählt Birnen (Entwicklung)"),  # the paragraphs do not agree
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [("same", "same"), ("1.0", "2.0"), ("a word", "fÃ¼r alle"), ("a word", "<trans>"), ("short", "sehr " * 20), ("", "leer")],
)
def test_pairs_that_are_none(first, second):
    assert not data.plausible(first, second)


def test_a_source_is_named_only_where_it_differs():
    assert data.source_of({"Package": "a", "Source": "b (1.0)"}) == "b"
    assert data.source_of({"Package": "a"}) == "a"


def test_parts_of_pairs_share_no_source_and_no_text():
    rows = [Pair(f"s{i // 30}", f"text {chr(97 + i % 26)} {i * 'x'}", f"Text {i * 'y'}") for i in range(600)]
    rows += [Pair(f"t{i}", "the same Text", f"Nummer {'z' * i}") for i in range(200)]
    parts = data.split_pairs(rows, held_out=45)
    assert [len(parts[p]) for p in ("valid", "test")] == [45, 45]
    of = {part: {row.source for row in chosen} for part, chosen in parts.items()}
    assert not of["train"] & of["valid"] and not of["train"] & of["test"] and not of["valid"] & of["test"]
    for held in ("valid", "test"):
        assert max(sum(row.source == s for row in parts[held]) for s in of[held]) <= data.OF_A_SOURCE
        kept = {data.alike(row.first) for row in parts[held]}
        assert not kept & {data.alike(row.first) for row in parts["train"]}
    assert data.split_pairs(rows[::-1], held_out=45)["test"] == parts["test"]  # whatever the order of the index
    with pytest.raises(SystemExit, match="more than 1,000 pairs"):
        data.split_pairs(rows, held_out=500)


LABELLED = st.lists(
    st.builds(Labelled, st.sampled_from("abcdefghijkl"), st.text("xyz", min_size=1, max_size=4), st.sampled_from("KLM")),
    min_size=1,
)


@given(LABELLED)
def test_parts_of_labelled_texts(rows):
    parts = data.split_labelled(rows, share=0.25)
    every = [row for chosen in parts.values() for row in chosen]
    assert len({data.alike(row.text) for row in every}) == len(every) == len({data.alike(row.text) for row in rows})
    groups = [{row.group for row in chosen} for chosen in parts.values()]
    assert sum(map(len, groups)) == len(set().union(*groups))
    assert {row.label for row in parts["train"]} == {row.label for row in every}


HTML = "<html><head><title>no</title><style>p {}</style></head><body><p>Buy &amp; <b>win</b></p>now</body></html>"


def test_messages():
    plain = b"Received: by x\nSubject: =?iso-8859-1?q?gr=FC=DFe?=\n an alle\nContent-Type: text/plain; charset=nonsense\n\na  b\r\n\n\n\nc\xe9\n"
    assert data.message_text(plain) == "grüße an alle\n\na b\n\ncé"
    assert data.message_text(b"Subject: s\nContent-Type: text/html\n\n" + HTML.encode()) == "s\n\nBuy & win\nnow"
    assert data.message_text(b"Subject: s\n\n" + HTML.encode()) == "s\n\nBuy & win\nnow"  # calls itself plain
    coded = b"Subject: s\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\nZ3LDvMOfZQ==\n"
    assert data.message_text(coded) == "s\n\ngrüße"
    both = b'Content-Type: multipart/alternative; boundary="x"\n\n--x\nContent-Type: text/plain\n\nplain\n--x\nContent-Type: text/html\n\n<p>page\n--x--\n'
    assert data.message_text(both) == "plain"
    assert data.message_text(b"") == ""


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message(raw):
    data.message_text(b"Subject: " + raw).encode("utf-8")


def test_messages_are_labelled_by_their_folder(tmp_path):
    for kind, text in (("spam-1", "Subject: x\n\nbuy"), ("easy-ham-1", "Subject: y\n\nhello"), ("hard-ham-1", "")):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "1.txt").write_text(text)
    assert [(row.text, row.label) for row in data.messages(tmp_path)] == [("y\n\nhello", "ham"), ("x\n\nbuy", "spam")]


def test_a_set_is_made_once_from_indexes_that_are_there(tmp_path, monkeypatch):
    lists = tmp_path / "apt" / "lists"
    lists.mkdir(parents=True)
    (lists / "mirror_bookworm_main_i18n_Translation-en").write_text(ENGLISH)
    (lists / "mirror_bookworm_main_binary-amd64_Packages").write_text(
        "Package: apples\nSource: fruit (2)\nDescription-md5: 11\nSection: food\n\nPackage: nothing\nSection: food\n"
    )
    monkeypatch.setattr(data.subprocess, "run", lambda *_, **__: pytest.fail("nothing is fetched"))
    folder = data.made("sections", tmp_path)
    (row,) = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    assert row["label"] == "food" and row["source"] == "fruit" and row["text"].startswith("counts apples\n\nApples are")
    (lists / "mirror_bookworm_main_i18n_Translation-en").unlink()
    assert data.made("sections", tmp_path) == folder
    with pytest.raises(SystemExit, match="expected en-de"):
        data.made("klingon", tmp_path)
