"""Parallel text: sentences and their translations -> four parts of the columns `text` and `translation`.

Read as it is found: a folder of files, one sentence a line, whose endings name the languages (`train.en`, `train.de`,
`valid.en`, ...; or one pair, `corpus.en` and `corpus.de`); two columns of a table, of a folder of tables or of a saved
`datasets` folder, also inside its usual column `translation`; and (sources, targets) that a program holds.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lamina.data.columns import length, take
from lamina.data.parallel_checks import copies_of, copy_findings, pair_findings, together
from lamina.data.parallel_files import language_files, pair_files, table_pairs, told_names
from lamina.data.source import PARTS, Data, Finding, Source, refused
from lamina.data.splits import empty_findings, shares_for, split
from lamina.errors import LaminaError

TEXT, TRANSLATION = "text", "translation"
"""The columns of every part."""
MOST_VALID, MOST_TEST = 1000, 2000
"""Pairs set aside where nobody says how many: a translation is written token by token, and a corpus is judged as one."""


@dataclass
class Pairs:
    """Sentences of one part, or of a whole that is still to be split (part "")."""

    sources: list[Any]
    targets: list[Any]
    place: Callable[[int], tuple[str | None, int]]
    """The file and the line of a row, for messages."""
    findings: list[Finding] = field(default_factory=list)
    layout: str = ""


def read_parallel(
    source: Source, source_name: str | None = None, target_name: str | None = None, demo: Callable[[], Any] | None = None
) -> Data:
    """Pairs in four parts: `text` and `translation`, stripped of white space at both ends and otherwise as they were.

    source_name, target_name: the endings of the files, or the columns. Where just two are there and one is named, the
    other is found; where none is named, columns `source` and `target` are. `about["languages"]` holds both.
    Pairs that are the same on either side stay in one part. Nothing is calibrated on translations: no part is set aside
    for it unless `source.calibration` says so.

    Raises LaminaError where nothing can be read, or files of one part differ in length, or, with `bad_data="strict"`, at
    the first pair that cannot be used; with "quarantine" these are left out and listed, and so are doubtful ones.
    """
    for flag in ("group", "time"):
        if getattr(source, flag) is not None:
            raise LaminaError(f"--{flag}: pairs are split by what they say; bring valid and test files to split them otherwise")
    parts, names, where = load(source.data if source.data is not None or demo is None else demo(), source_name, target_name)
    texts: list[str] = []
    translations: list[str] = []
    part_of: list[str] = []
    places: list[tuple[str | None, int]] = []
    findings: list[Finding] = []
    for part, pairs in parts.items():
        findings += pairs.findings
        found, unusable, doubtful = pair_findings(pairs.sources, pairs.targets, pairs.place, names)
        findings += found
        left_out = unusable | (doubtful if source.bad_data == "quarantine" else set())
        for row, (one, other) in enumerate(zip(pairs.sources, pairs.targets, strict=True)):
            if row not in left_out:
                texts.append(one.strip())
                translations.append(other.strip())
                part_of.append(part)
                places.append(pairs.place(row))
    errors = refused(findings, source)
    if not texts:
        raise LaminaError(f"{where}: expected pairs; none can be used: {errors[0] if errors else 'there are none'}")
    columns: dict[str, Any] = {TEXT: texts, TRANSLATION: translations}
    copies = copies_of(texts, translations)
    findings += copy_findings(copies, part_of, lambda row: places[row])
    keys, note = together(copies)
    findings += [dataclasses.replace(f, file=where) for f in note]
    rows = _parts(source, keys, part_of, findings, where)
    made = {part: take(columns, rows[part]) for part in PARTS}
    if not length(made["train"]):
        raise LaminaError(f"{where}: expected pairs to train on; {len(texts)} are not enough to split")
    digest = hashlib.blake2b(digest_size=16)
    for part in PARTS:
        digest.update(f"{part}\n".encode())
        for one, other in zip(made[part][TEXT], made[part][TRANSLATION], strict=True):
            digest.update(f"{one}\n{other}\n".encode(errors="surrogatepass"))
    layout = next(iter(parts.values())).layout
    about = {"layout": layout, "languages": list(names), "rows": {part: len(rows[part]) for part in PARTS}}
    return Data(**made, fingerprint=digest.hexdigest(), findings=findings, about=about)


def scan_parallel(source: Source, source_name: str | None = None, target_name: str | None = None) -> list[Finding]:
    """Everything that `read_parallel` would find. Raises nothing for bad data: that is a finding too."""
    try:
        names = told_names(source.data) if source_name is None and target_name is None else None
        first, second = names or (source_name, target_name)
        return read_parallel(dataclasses.replace(source, bad_data="quarantine"), first, second).findings
    except LaminaError as error:
        return [Finding("unreadable-pairs", str(error))]


def load(data: Any, source_name: str | None, target_name: str | None) -> tuple[dict[str, Pairs], tuple[str, str], str]:
    """Pairs by part, the names of both sides, and what the data is called in messages."""
    if data is None:
        raise LaminaError("data: expected parallel text; got nothing")
    if isinstance(data, (str, Path)):
        path = Path(data)
        if not path.exists():
            raise LaminaError(f"{path}: expected a folder or a table of parallel text; there is no such file or folder")
        files = language_files(path) if path.is_dir() else {}
        if files:
            names = chosen(sorted({n for of_part in files.values() for n in of_part}), source_name, target_name, str(path))
            return {part: Pairs(*pair_files(part, of_part, names, path)) for part, of_part in files.items()}, names, str(path)
    elif isinstance(data, (tuple, list)) and len(data) == 2 and all(_is_texts(side) for side in data):
        sources, targets = (_cells(side) for side in data)
        if len(sources) != len(targets):
            raise LaminaError(f"data: expected as many translations as sentences; got {len(sources)} and {len(targets)}")
        names = source_name or "source", target_name or "target"
        return {"": Pairs(sources, targets, lambda row: (None, row + 1), [], "pairs in memory")}, names, "data"
    tables, where = table_pairs(data)
    columns = list(next(iter(tables.values())).columns)
    names = chosen(columns, source_name, target_name, where)
    parts = {}
    for part, table in tables.items():
        for name in names:
            if name not in table.columns:
                raise LaminaError(f"{table.file}: expected the columns {names[0]} and {names[1]}; {name!r} is missing")
        sides = [_cells(table.columns[name]) for name in names]
        parts[part] = Pairs(sides[0], sides[1], lambda row, t=table: (t.file, t.line(row)), table.findings, table.layout)
    return parts, names, where


def chosen(names: Sequence[str], source_name: str | None, target_name: str | None, where: str) -> tuple[str, str]:
    """Which of `names` is translated from, and which to. Raises LaminaError where that cannot be told."""
    listed = ", ".join(names) or "none"
    for flag, name in (("source", source_name), ("target", target_name)):
        if name is not None and name not in names:
            raise LaminaError(f"{where}: --{flag}: expected one of {listed}; got {name!r}")
    if source_name is not None and source_name == target_name:
        raise LaminaError(f"--target: expected another language than --source; both are {source_name!r}")
    if source_name is not None and target_name is not None:
        return source_name, target_name
    if source_name is None and target_name is None and {"source", "target"} <= set(names):
        return "source", "target"
    others = [name for name in names if name not in (source_name, target_name)]
    if (source_name or target_name) and len(others) == 1:
        return source_name or others[0], target_name or others[0]
    missing = "--source and --target" if source_name is None and target_name is None else "the other of --source and --target"
    raise LaminaError(f"{where}: expected {missing}, to say what is translated into what; there are {listed}")


def holds_pairs(source: Source) -> bool:
    """Whether the data is parallel text, by its files or by the names of its columns."""
    return told_names(source.data) is not None


def _cells(side: Any) -> list[Any]:
    """A column as a list; a cell that is absent is an empty sentence."""
    return ["" if cell is None else cell for cell in (side.tolist() if isinstance(side, np.ndarray) else side)]


def _is_texts(side: Any) -> bool:
    if isinstance(side, np.ndarray):
        return side.ndim == 1 and side.dtype.kind in "UO"
    return isinstance(side, (list, tuple)) and all(isinstance(text, str) or text is None for text in side)


def _parts(
    source: Source, keys: Sequence[bytes], part_of: Sequence[str], findings: list[Finding], where: str
) -> dict[str, np.ndarray]:
    """Rows of each part: as the data says, the missing ones split off from its training rows."""
    brought = [part for part in PARTS if part in part_of] or ["train"]
    pool = np.asarray([row for row, part in enumerate(part_of) if part in ("", "train")], np.int64)
    chosen = {part: np.asarray([row for row, p in enumerate(part_of) if p == part], np.int64) for part in PARTS}
    count = max(len(pool), 1)
    defaults: Mapping[str, float] = {
        "calibration": 0.0,
        "valid": min(0.05, MOST_VALID / count) if count >= 400 else 0.1,
        "test": min(0.05, MOST_TEST / count) if count >= 400 else 0.1,
    }
    told = {part: share if getattr(source, part) is None else getattr(source, part) for part, share in defaults.items()}
    shares = shares_for(len(pool), dataclasses.replace(source, **told), brought)
    made = split([keys[row] for row in pool.tolist()], None, None, None, shares, source.split_seed)
    findings += empty_findings(made, shares, where)
    return {p: pool[made[p]] if p == "train" or p not in brought else chosen[p] for p in PARTS}
