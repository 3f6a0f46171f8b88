"""Texts with labels as examples: files, folders and lists -> four parts of a column of texts and `label`.

Layouts are detected, see `text_files.py`. A text has one label, or several: then a cell of labels is a list, or names with a
separator between them. Texts that are equal but for case, punctuation and white space fall into one part.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from lamina.data.columns import length, take
from lamina.data.source import PARTS, Data, Finding, Source, refused
from lamina.data.splits import empty_findings, shares_for, split, strangers
from lamina.data.text_checks import MANY_LABELS, content_of, row_finding, set_findings
from lamina.data.text_files import Rows, Wanted, load
from lamina.errors import LaminaError
from lamina.modalities.table import category_of

LABEL = "label"
Several = Literal["auto", "off", "on"]


@dataclasses.dataclass
class _Texts:
    """All parts laid end to end, without the rows that cannot be used."""

    texts: list[str]
    labels: list[Any]
    parts: list[str]
    places: list[tuple[str | None, int | None]]
    more: dict[str, list[Any]]
    """The columns that say what stays together, and when a row was written."""


def read_texts(
    source: Source,
    demo: Callable[[], Any] | None = None,
    usual: tuple[str, str] = ("", ""),
    several: Several = "auto",
    separator: str = "",
    classes: Sequence[str] = (),
) -> Data:
    """Labelled texts in four parts: the column of texts, and `label`, strings or, where texts have several, lists of them.

    usual: what the columns of texts and labels were called in training: the texts are called so again. several: auto is on where
    cells of labels are lists, or a `separator` stands between names. classes: other labels are mistakes; without these, labels
    that no training text has. `about` says what was found: `layout`, `text`, `several`.

    Raises LaminaError where the data cannot be read, or, with `bad_data="strict"`, at the first bad row; with "quarantine",
    bad rows are left out and listed in `findings`.
    """
    data = demo() if source.data is None and demo is not None else source.data
    loaded, where = load(data, Wanted(source.text, source.label, *usual))
    first = next(iter(loaded.values()))
    many = several == "on" or (several == "auto" and (bool(separator) or _holds_lists(loaded)))
    findings = [finding for rows in loaded.values() for finding in rows.findings]
    laid = _laid(loaded, source, many, separator, findings, where)
    errors = refused(findings, source)
    if not laid.texts:
        raise LaminaError(f"{where}: expected texts; none can be used: {errors[0] if errors else 'there are none'}")
    _refuse_strange_labels(laid, many, where)
    contents = [content_of(text) for text in laid.texts]
    brought = [part or "train" for part in laid.parts]
    findings += set_findings(laid.texts, laid.labels, contents, brought, lambda row: laid.places[row], where)
    rows = _parts(source, laid, contents, many, findings, where)
    unknown = _strangers(laid, rows, classes, many)
    if unknown:
        findings += [
            Finding("unknown-class", f"label {laid.labels[row]!r} is none of those that were trained on", *laid.places[row],
                    fix="add it to the training texts, or remove the row")
            for row in unknown
        ]  # fmt: skip
        refused(findings, source)
        rows = {part: chosen[~np.isin(chosen, unknown)] for part, chosen in rows.items()}
    name = usual[0] or first.names[0] or "text"
    name = name if name != LABEL else "text"
    columns: dict[str, Any] = {name: laid.texts, LABEL: laid.labels, **{n: c for n, c in laid.more.items() if n == source.group}}
    parts = {part: take(columns, rows[part]) for part in PARTS}
    if not length(parts["train"]):
        raise LaminaError(f"{where}: expected texts to train on; {len(laid.texts)} are not enough to split")
    about = {
        "layout": first.layout,
        "text": name,
        "label": first.names[1] or LABEL,
        "several": many,
        "rows": {part: len(rows[part]) for part in PARTS},
    }
    if source.group:
        about["group"] = source.group
    return Data(**parts, fingerprint=_fingerprint(parts, name), findings=findings, about=about)


def scan_texts(source: Source) -> list[Finding]:
    """Everything that `read_texts` would find. Raises nothing for bad data: that is a finding too."""
    try:
        return read_texts(dataclasses.replace(source, bad_data="quarantine")).findings
    except LaminaError as error:
        return [Finding("unreadable-texts", str(error))]


def _laid(loaded: dict[str, Rows], source: Source, many: bool, separator: str, findings: list[Finding], where: str) -> _Texts:
    """The usable rows of all parts; the others become findings."""
    wanted = [name for name in (source.group, source.time) if name is not None]
    laid = _Texts([], [], [], [], {name: [] for name in wanted})
    for part, rows in loaded.items():
        for flag, name in (("group", source.group), ("time", source.time)):
            if name is not None and name not in rows.columns:
                there = ", ".join(list(rows.columns)[:20]) or "no columns"
                raise LaminaError(f"{where}: --{flag}: expected one of the columns of a table ({there}); got {name!r}")
        for row, (text, cell) in enumerate(zip(rows.texts, rows.labels, strict=True)):
            place = rows.place(row)
            label = labels_of(cell, separator) if many else _label_of(cell)
            wrong = row_finding(text, label, place)
            if wrong is not None:
                findings.append(wrong)
                continue
            laid.texts.append(text)
            laid.labels.append(label)
            laid.parts.append(part)
            laid.places.append(place)
            for name in wanted:
                laid.more[name].append(rows.columns[name][row])
    return laid


def _label_of(cell: Any) -> str | None:
    if isinstance(cell, (list, tuple)):
        cell = cell[0] if len(cell) == 1 else None
    return category_of(cell)


def labels_of(cell: Any, separator: str = "") -> list[str] | None:
    """The labels of a text that may have several, in order, each once; None where the cell is missing. An empty list is none of
    the labels, which is an answer too."""
    if cell is None or (isinstance(cell, float) and np.isnan(cell)):
        return None
    if isinstance(cell, np.ndarray):
        cell = cell.tolist()
    parts = cell if isinstance(cell, (list, tuple)) else str(cell).split(separator) if separator else [cell]
    return sorted({name for name in map(category_of, parts) if name is not None})


def _holds_lists(loaded: dict[str, Rows]) -> bool:
    return any(isinstance(cell, (list, tuple)) for rows in loaded.values() for cell in rows.labels[:1000])


def _refuse_strange_labels(laid: _Texts, many: bool, where: str) -> None:
    names = Counter(name for label in laid.labels for name in (label if many else [label]))
    if len(names) > MANY_LABELS * len(laid.labels) and len(laid.labels) >= 20:
        raise LaminaError(f"{where}: expected labels that texts share; {len(laid.labels)} texts have {len(names)} different ones")


def _strangers(laid: _Texts, rows: dict[str, np.ndarray], classes: Sequence[str], many: bool) -> list[int]:
    """Rows with a label that no training text has."""
    if not many:
        return strangers(laid.labels, rows, classes)
    known = set(classes) or {name for row in rows["train"].tolist() for name in laid.labels[row]}
    return sorted(row for part in rows.values() for row in part.tolist() if not set(laid.labels[row]) <= known)


def _parts(
    source: Source, laid: _Texts, contents: Sequence[bytes], many: bool, findings: list[Finding], where: str
) -> dict[str, np.ndarray]:
    """Rows of each part: as the data says, the missing ones split off from its training rows."""
    brought = [part for part in PARTS if part in laid.parts] or ["train"]
    pool = [row for row, part in enumerate(laid.parts) if part in ("", "train")]
    chosen = {part: np.asarray([row for row, p in enumerate(laid.parts) if p == part], np.int64) for part in PARTS}
    groups, times = (laid.more[name] if name else None for name in (source.group, source.time))

    def of(column: Sequence[Any] | None) -> Any:
        return None if column is None else [column[row] for row in pool]

    shares = shares_for(len(pool), source, brought)
    strata = [", ".join(label) if many else label for label in laid.labels]
    made = split(of(contents), of(strata), of(groups), of(times), shares, source.split_seed)
    findings += empty_findings(made, shares, where)
    whole = np.asarray(pool, np.int64)
    return {part: whole[made[part]] if part == "train" or part not in brought else chosen[part] for part in PARTS}


def _fingerprint(parts: dict[str, Any], name: str) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in PARTS:
        digest.update(f"{part} {length(parts[part])}\n".encode())
        for text, label in zip(parts[part].get(name, ()), parts[part].get(LABEL, ()), strict=True):
            digest.update(f"{len(text)} {text}\n{label}\n".encode(errors="surrogatepass"))
    return digest.hexdigest()
