"""Running text as documents in four parts: a file, a folder of files, the column of a table, or texts in memory.

One text, or a few, is split by position, as nanoGPT has it: the first nine tenths train, what follows judges. Many documents
are split whole and by content, so that a document that stands twice cannot straddle the parts.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lamina.data.finding import Finding
from lamina.data.source import PARTS, Source, refused
from lamina.errors import LaminaError

FEW = 20
"""Fewer documents than this are split by position, each in itself."""
SHARES = {"valid": 0.05, "test": 0.05, "calibration": 0.0}
TABLES = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson", ".json")
TEXTS = (".txt", ".text", ".md", ".rst", ".tex", ".html", ".xml", ".py", ".c", ".h", ".js", ".java", ".sh", ".log", ".org", "")
"""Endings of the files that a folder of texts is read for."""


@dataclasses.dataclass(frozen=True)
class Document:
    """A text, and whether its end is one (a text that was cut goes on)."""

    name: str
    text: str
    whole: bool = True


@dataclasses.dataclass(frozen=True)
class Documents:
    """Documents by part."""

    parts: Mapping[str, tuple[Document, ...]]
    fingerprint: str
    findings: list[Finding]
    about: Mapping[str, Any]


def read_documents(source: Source, demo: Callable[[], list[Document]], column: str = "text") -> Documents:
    """What `source` points at, split. Raises LaminaError where there is no text to read."""
    findings: list[Finding] = []
    brought, layout = _parts(source, demo, column, findings)
    refused(findings, source)
    found = {part: [d for d in documents if d.text.strip()] for part, documents in brought.items()}
    if not any(found.values()):
        raise LaminaError(f"{source.data or 'data'}: expected text; found none")
    parts = _split(found, source)
    digest = hashlib.blake2b(digest_size=16)
    for part in PARTS:
        for document in parts[part]:
            digest.update(f"{part} {len(document.text)} {document.whole} ".encode())
            digest.update(document.text.encode(errors="surrogatepass"))
    count = sum(len(documents) for documents in found.values())
    characters = sum(len(d.text) for documents in found.values() for d in documents)
    about = {"layout": layout, "documents": count, "characters": characters}
    return Documents({part: tuple(documents) for part, documents in parts.items()}, digest.hexdigest(), findings, about)


def _parts(
    source: Source, demo: Callable[[], list[Document]], column: str, findings: list[Finding]
) -> tuple[dict[str, list[Document]], str]:
    """Documents by the parts that the data bring themselves (`train` alone where they bring none), and the layout."""
    data = source.data
    if data is None:
        return {"train": demo()}, "demo"
    if isinstance(data, Mapping) or (isinstance(data, Sequence) and not isinstance(data, (str, Path))):
        texts = data.get(column) if isinstance(data, Mapping) else data
        if texts is None or not all(isinstance(text, str) for text in texts):
            raise LaminaError(f"data: expected texts, or a column {column!r} of texts; got {type(data).__name__}")
        return {"train": [Document(f"row {i}", text) for i, text in enumerate(texts, 1)]}, "memory"
    path = Path(data)
    if path.is_dir():
        return _folder(path, column, findings)
    if not path.exists():
        raise LaminaError(f"{path}: expected a file or a folder of text; there is none")
    layout = "table" if path.suffix.lower() in TABLES else "text"
    return {"train": _file(path, column, findings)}, layout


def _folder(folder: Path, column: str, findings: list[Finding]) -> tuple[dict[str, list[Document]], str]:
    """Files or folders named train, valid and test are the parts; otherwise every file of text is a document."""
    names = {"train": "train", "valid": "valid", "validation": "valid", "val": "valid", "dev": "valid", "test": "test"}
    parts: dict[str, list[Document]] = {}
    entries = sorted(folder.iterdir())
    if any(entry.stem.lower() == "train" for entry in entries):
        for entry in entries:
            part = names.get(entry.stem.lower())
            if part is None:
                continue
            files = sorted(p for p in entry.rglob("*") if _is_text(p)) if entry.is_dir() else [entry]
            parts.setdefault(part, []).extend(d for file in files for d in _file(file, column, findings))
        return parts, "parts"
    files = [path for path in sorted(folder.rglob("*")) if _is_text(path)]
    if not files:
        raise LaminaError(f"{folder}: expected files of text ({', '.join(TEXTS[:4])} ...) or tables; found none")
    return {"train": [d for file in files for d in _file(file, column, findings)]}, "folder of texts"


def _is_text(path: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.parts[-2:])
    return path.is_file() and not hidden and path.suffix.lower() in (*TEXTS, *TABLES)


def _file(path: Path, column: str, findings: list[Finding]) -> list[Document]:
    """The documents of one file: the rows of a table, or the whole text."""
    if path.suffix.lower() in TABLES:
        from lamina.data.table_files import read_file

        table = read_file(path)
        if column not in table.columns:
            there = ", ".join(list(table.columns)[:20])
            raise LaminaError(f"{path}: expected a column {column!r} of texts; found {there}: name it with --text")
        findings += table.findings
        return [
            Document(f"{path.name}:{row}", str(text)) for row, text in enumerate(table.columns[column], 1) if text is not None
        ]
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        reason = f"is not UTF-8: byte {content[error.start]:#04x} at {error.start:,}"
        findings.append(Finding("not-text", reason, str(path), fix="convert it: iconv -f ENCODING -t UTF-8"))
        return []
    if "\0" in text:
        reason = f"holds {text.count(chr(0)):,} NUL characters, the first at {text.index(chr(0)):,}"
        findings.append(Finding("nul-characters", reason, str(path), fix="remove them, or the file where it is no text"))
        return []
    return [Document(path.name, text.replace("\r\n", "\n"))]


def _split(found: Mapping[str, list[Document]], source: Source) -> dict[str, list[Document]]:
    """The documents of every part; parts that the data do not bring are split off training."""
    shares = {}
    for part, default in SHARES.items():
        share = getattr(source, part)
        shares[part] = 0.0 if part in found else default if share is None else share
        if not 0 <= shares[part] < 1:
            raise LaminaError(f"--{part} must be a share of at least 0 and below 1, not {shares[part]:g}")
    if sum(shares.values()) >= 1:
        told = ", ".join(f"{part} ({share:g})" for part, share in shares.items())
        raise LaminaError(f"the shares of {told} leave nothing to train on")
    training = found.get("train", [])
    parts = {part: list(found.get(part, [])) for part in PARTS}
    if len(training) >= FEW:
        from lamina.data.splits import split

        hashes = [hashlib.blake2b(d.text.encode(errors="surrogatepass"), digest_size=16).digest() for d in training]
        rows = split(hashes, None, None, None, shares, source.split_seed)
        for part in PARTS:
            if part == "train" or shares[part]:
                parts[part] = [training[row] for row in rows[part].tolist()]
        return parts
    parts["train"] = []
    for document in training:
        start = 0
        cut = {"train": 1 - sum(shares.values()), **shares}
        for part in PARTS:
            stop = len(document.text) if part == _last(cut) else start + int(cut[part] * len(document.text) + 1e-9)
            if stop > start:
                ends = document.whole and stop == len(document.text)
                parts[part].append(Document(document.name, document.text[start:stop], ends))
            start = stop
    return parts


def _last(shares: Mapping[str, float]) -> str:
    """The last part that has a share: it takes what rounding left."""
    return [part for part in PARTS if shares[part] > 0][-1]


def python_topics() -> list[Document]:
    """The demo: what Python's own `help()` says about its language, a document a topic (Python Software Foundation License)."""
    from pydoc_data.topics import topics

    return [Document(name, text) for name, text in sorted(topics.items())]
