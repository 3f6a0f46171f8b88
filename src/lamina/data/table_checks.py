"""What is wrong with the rows and columns of a table: words among numbers, missing answers, copies, leaks.

N rows.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from lamina.data.source import Finding
from lamina.modalities.table import LARGEST, MISSING, category_of, number_of

NUMERIC_SHARE = 0.95
"""A column of which this share of the cells are numbers is a column of numbers, and its words are mistakes."""
MOST_CLASSES = 20
"""Whole numbers with more distinct values than this are quantities, not classes."""
ROW_NAMES = frozenset({"id", "index", "row", "row_id", "rownames", "unnamed: 0", "column_1"})
"""Names of columns that number the rows."""
REPEATING = 0.2
"""Share of rows that repeat others from which on repeating is the nature of a table."""
_COMMA = re.compile(r"[+-]?\d+(,\d+)?", re.ASCII)
Where = Callable[[int], tuple[str, int]]
Bad = list[tuple[int, str, str, str | None]]
"""(row, code, reason, fix) of rows that cannot be used."""


def typed(name: str, cells: Any, deciding: slice = slice(None), numeric: bool = False) -> tuple[Any, Bad]:
    """The cells of a column as what they are: float64 (NaN missing), a list of str or None, or a list of bool or None.

    Text that reads as numbers, in at least 95% of the cells, becomes numbers; the words among them are listed as bad.
    Only the `deciding` cells are asked; none where the column is known to be `numeric`.
    """
    if isinstance(cells, np.ndarray):
        return cells, _infinite(name, cells)
    present = {type(v) for v in cells if v is not None}
    if present and all(issubclass(t, (bool, np.bool_)) for t in present):
        return [None if v is None else bool(v) for v in cells], []
    if present == {str}:
        fast = _numbers(cells)
        if fast is not None:
            return fast, _infinite(name, fast)
    numbers = [number_of(v) if not isinstance(v, (bool, np.bool_)) else None for v in cells]
    words = [i for i, n in enumerate(numbers) if n is None]
    asked = numbers[deciding]
    filled = sum(n is None or not np.isnan(n) for n in asked)
    if numeric or sum(n is None for n in asked) <= (1 - NUMERIC_SHARE) * filled:
        values = np.array([np.nan if n is None else n for n in numbers], dtype=np.float64)
        fix = "mend the cell, or leave it empty if it is missing"
        bad = [(i, "not-a-number", f"column {name!r}: expected a number, got {cells[i]!r}", fix) for i in words]
        return values, bad + _infinite(name, values)
    return [category_of(v) for v in cells], []


def _numbers(cells: list[str | None]) -> np.ndarray | None:
    """Text cells as float64 by pyarrow, or None where some cell is neither a number nor missing: then it is named by
    the slow pass, which takes the same spellings."""
    import pyarrow as pa
    import pyarrow.compute

    pc: Any = pyarrow.compute  # its functions are made at run time, unknown to type checkers
    try:
        text = pc.utf8_trim_whitespace(pa.array(cells, pa.large_string()))
        absent = pc.is_in(pc.ascii_lower(text), value_set=pa.array(sorted(MISSING), pa.large_string()))
        return pc.fill_null(pc.cast(pc.if_else(absent, None, text), pa.float64()), float("nan")).to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, UnicodeEncodeError):  # JSON may hold half a character
        return None


def _infinite(name: str, values: np.ndarray) -> Bad:
    rows = np.flatnonzero(np.abs(values) > LARGEST).tolist()
    reason = f"column {name!r}: expected a finite number, got"
    return [(i, "infinite-value", f"{reason} {values[i]:g}", "leave the cell empty if it is missing") for i in rows]


def comma_findings(columns: Mapping[str, Any], where: str) -> list[Finding]:
    """Columns of text that are numbers with a decimal comma: read as categories, which is rarely what is meant."""
    found = []
    for name, cells in columns.items():
        texts = [v for v in cells if v is not None] if isinstance(cells, list) else []
        matched = [_COMMA.fullmatch(v) for v in texts if isinstance(v, str)]
        if any(m and m[1] for m in matched) and sum(m is not None for m in matched) >= NUMERIC_SHARE * len(texts):
            reason = f"column {name!r}: numbers with a decimal comma are read as categories"
            found.append(Finding("decimal-comma", reason, where, fix="write them with a decimal point", severity="warning"))
    return found


def is_missing(cell: Any) -> bool:
    """True for None, NaN, and the spellings of a missing cell."""
    if isinstance(cell, str):
        return cell.strip().lower() in MISSING
    return cell is None or (isinstance(cell, (float, np.floating)) and bool(np.isnan(cell)))


def answer_kind(answers: Any) -> Literal["classification", "regression"]:
    """Numbers that are not whole, or more than 20 distinct ones, are quantities; everything else is a class."""
    if not isinstance(answers, np.ndarray) or answers.dtype.kind not in "fiu":
        return "classification"
    known = answers[~np.isnan(answers.astype(np.float64))]
    if np.any(known != np.floor(known)):
        return "regression"
    return "regression" if len(np.unique(known)) > MOST_CLASSES else "classification"


def codes_of(cells: Any) -> np.ndarray:
    """Equal cells share a number (N,), from 0. Missing cells are a value of their own."""
    if isinstance(cells, np.ndarray):
        return np.unique(cells, return_inverse=True)[1].reshape(-1)
    seen: dict[Any, int] = {}
    return np.array([seen.setdefault(v, len(seen)) for v in cells], dtype=np.int64)


def row_hashes(columns: Mapping[str, Any]) -> list[bytes]:
    """A hash of each row's content (N,), the same wherever the row stands."""
    names = sorted(columns)
    cells = [columns[n].tolist() if isinstance(columns[n], np.ndarray) else columns[n] for n in names]
    head = "\x1f".join(names).encode(errors="surrogatepass")
    rows = zip(*cells, strict=True)
    return [hashlib.blake2b(repr(row).encode(), digest_size=16, key=hashlib.md5(head).digest()).digest() for row in rows]


def kept_together(whole: Sequence[bytes], given: Sequence[bytes], alone: bool) -> tuple[list[bytes], bool]:
    """(what stays together when a table is split, whether rows repeat by nature). Hashes of whole rows, and without answers.

    Rows of equal inputs stay together, whatever their answers: a copy in the test part would be known by heart. Where
    more than `REPEATING` of the rows repeat others, they are no copies but the same case again (a table of few categories):
    keeping them together would test on cases that training lacks. There, and where each row stands `alone` because groups or
    times say what stays together, the n-th occurrence of a row is a content of its own.
    """
    repeating = len(set(given)) < (1 - REPEATING) * len(given)
    if not (alone or repeating):
        return list(given), False
    seen: dict[bytes, int] = {}
    made = []
    for content in whole:
        seen[content] = seen.get(content, 0) + 1
        made.append(hashlib.blake2b(content + seen[content].to_bytes(8, "big"), digest_size=16).digest())
    return made, repeating and not alone


def useless_columns(columns: Mapping[str, Any], where: str) -> list[tuple[str, Finding]]:
    """Columns that teach nothing: constant, without a value, or a name of the row."""
    found: list[tuple[str, Finding]] = []
    for name, cells in columns.items():
        count = len(cells)
        if isinstance(cells, np.ndarray):
            known = np.sort(cells[~np.isnan(cells)])  # whatever order the rows stand in
            distinct = len(np.unique(known))
            steps = np.diff(known)
            # A count of the rows is a good input where it stands for time, so only its name can tell.
            counts = len(known) == count and bool(np.all(steps == 1)) and known[0] in (0, 1)
            identifier = count >= 20 and counts and name.lower() in ROW_NAMES
        else:
            values = [v for v in cells if v is not None]
            known, distinct = values, len(set(values))
            identifier = count >= 20 and distinct == len(values) and distinct > 0.5 * count
        if len(known) == 0:
            reason = f"column {name!r}: no row has a value; it is left out"
            found.append((name, Finding("empty-column", reason, where, severity="warning")))
        elif distinct == 1 and len(known) == count and count > 1:
            reason = f"column {name!r}: every row has the same value; it is left out"
            found.append((name, Finding("constant-column", reason, where, severity="warning")))
        elif identifier:
            reason = f"column {name!r}: every row has a value of its own, so it names rows and teaches nothing; it is left out"
            found.append((name, Finding("id-column", reason, where, severity="note")))
    return found


def column_findings(columns: Mapping[str, Any], answers: Any, kind: str, where: str) -> list[Finding]:
    """Columns that give the answer away, and numbers finer than float32 holds."""
    found: list[Finding] = []
    answer = codes_of(answers)
    for name, cells in columns.items():
        if _gives_away(cells, answers, answer, kind):
            reason = f"column {name!r}: determines the answer exactly; it may be a copy of it"
            found.append(
                Finding(
                    "leaking-column", reason, where, fix="leave the column out, unless it is known beforehand", severity="warning"
                )
            )
        if isinstance(cells, np.ndarray):
            known = cells[~np.isnan(cells)]
            exact, single = len(np.unique(known)), len(np.unique(known.astype(np.float32)))
            if single < exact / 2:
                reason = f"column {name!r}: {exact} distinct values, of which single precision can tell {single} apart"
                found.append(Finding("coarse-column", reason, where, fix="subtract an offset from it", severity="warning"))
    return found


def _gives_away(cells: Any, answers: Any, answer: np.ndarray, kind: str) -> bool:
    count = len(answer)
    if count < 20:
        return False
    if kind == "regression":
        if not isinstance(cells, np.ndarray) or np.isnan(cells).any() or np.std(cells) == 0 or np.std(answers) == 0:
            return False
        return bool(abs(np.corrcoef(cells, answers)[0, 1]) > 1 - 1e-9)
    cell = codes_of(cells)
    values = int(cell.max()) + 1
    # With many distinct values almost any column determines the answer by chance.
    if values > count / 5 or int(answer.max()) + 1 > values:
        return False
    pairs = np.unique(cell.astype(np.int64) * (int(answer.max()) + 1) + answer)
    return len(pairs) == values


def answer_findings(answers: Any, kind: str, name: str, where: str, places: Where) -> list[Finding]:
    """Answers that are all alike, classes with one row, classes much rarer than others."""
    if kind == "regression":
        return []
    texts = [category_of(v) for v in answers]
    counts: dict[str | None, int] = {}
    for text in texts:
        counts[text] = counts.get(text, 0) + 1
    found = []
    for text, count in counts.items():
        if count == 1:
            file, line = places(texts.index(text))
            found.append(
                Finding(
                    "single-row-class",
                    f"class {text!r} of column {name!r} has one row",
                    file,
                    line,
                    "add rows, or remove it",
                    "warning",
                )
            )
    most, least = max(counts, key=lambda k: counts[k]), min(counts, key=lambda k: counts[k])
    if counts[most] >= 10 * counts[least] and counts[least] > 1:
        reason = f"class {most!r} has {counts[most]} rows and class {least!r} has {counts[least]}"
        found.append(Finding("imbalance", reason, where, fix="judge by balanced accuracy", severity="warning"))
    return found


def copy_findings(hashes: Sequence[bytes], inputs: Sequence[bytes], part_of: Sequence[str], places: Where) -> list[Finding]:
    """Rows that occur twice, rows shared by two parts, and equal rows with different answers.

    `hashes` are of whole rows, `inputs` of rows without their answer, `part_of` the part of each row ("" if one whole).
    """
    first: dict[bytes, int] = {}
    copies = shared = contradictions = 0
    example: dict[str, tuple[int, int]] = {}
    answer_of: dict[bytes, tuple[bytes, int]] = {}
    for row, (whole, given, part) in enumerate(zip(hashes, inputs, part_of, strict=True)):
        earlier = first.setdefault(whole, row)
        if earlier != row:
            copies += 1
            example.setdefault("copy", (row, earlier))
            if part_of[earlier] != part:
                shared += 1
                example.setdefault("shared", (row, earlier))
        said, at = answer_of.setdefault(given, (whole, row))
        if said != whole:
            contradictions += 1
            example.setdefault("contradiction", (row, at))

    def finding(code: str, reason: str, key: str, severity: Literal["warning", "note"]) -> Finding:
        (file, line), (other, at) = places(example[key][0]), places(example[key][1])
        return Finding(code, f"{reason}; the first equals {other}:{at}", file, line, severity=severity)

    found = []
    if copies:
        found.append(finding("duplicate-rows", f"rows that occur before: {copies}", "copy", "note"))
    if shared:
        found.append(finding("rows-across-parts", f"rows that stand in another part too: {shared}", "shared", "warning"))
    if contradictions:
        found.append(
            finding(
                "contradicting-rows", f"rows equal to another but for the answer: {contradictions}", "contradiction", "warning"
            )
        )
    return found
