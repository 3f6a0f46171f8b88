"""Translation of Debian's package descriptions, beside word by word: `python -m benchmarks.translation --minutes 40`.

    python -m benchmarks.translation --pair en-de --model transformer lstm --minutes 40
    python -m benchmarks.translation --pair en-fr ...            or --data FOLDER, with train.en, train.de, valid.*, test.*

BLEU and chrF of the test part by sacrebleu, with their signatures and 95% intervals over resampled sentences (paired: the same
draws for all). The pairs are made by language_data.py: no package of a source stands on two sides, and no sentence twice.

The baseline puts each word's most probable translation in its place: probabilities of IBM's model 1 (Brown et al. 1993, section
4.2) after five steps of expectation maximization over the training pairs; unknown words are copied. `copy` is the source itself.
Results go to benchmarks/results/translation_PAIR.json.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy import trained
from benchmarks.harness import machine, write
from benchmarks.language_data import made

LONGEST = 40
"""Words of the sentences that the baseline learns from."""
RESAMPLES = 1000
WORDS = re.compile(r"\w+(?:[-'’]\w+)*|[^\w\s]")
NO_WORD = 0
"""The empty word, which stands at the beginning of every source: what is translated from nothing."""


def words(text: str) -> list[str]:
    return WORDS.findall(text)


def spelled(tokens: Sequence[str]) -> str:
    """Words as a sentence: no space before what ends one."""
    return re.sub(r" ([.,;:!?)\]»“])", r"\1", re.sub(r"([(\[»„]) ", r"\1", " ".join(tokens)))


def dictionary(sources: Sequence[str], targets: Sequence[str], steps: int = 5) -> dict[str, str]:
    """The most probable translation of every word, in lower case, by IBM's model 1."""
    known: tuple[dict[str, int], dict[str, int]] = {"": NO_WORD}, {}
    first, second, place = [], [], []  # of every pair of words that stand in one pair of sentences; the target word's place
    count = 0
    for source, target in zip(sources, targets, strict=True):
        s, t = ["", *words(source.lower())][: LONGEST + 1], words(target)[:LONGEST]
        s_ids = np.array([known[0].setdefault(word, len(known[0])) for word in s], np.int64)
        t_ids = np.array([known[1].setdefault(word, len(known[1])) for word in t], np.int64)
        first.append(np.tile(s_ids, len(t_ids)))
        second.append(np.repeat(t_ids, len(s_ids)))
        place.append(np.repeat(np.arange(count, count + len(t_ids)), len(s_ids)))
        count += len(t_ids)
    code = np.concatenate(first) * len(known[1]) + np.concatenate(second)
    pair, pair_of = np.unique(code, return_inverse=True)
    place_of = np.concatenate(place)
    of_source, of_target = pair // len(known[1]), pair % len(known[1])
    share = np.ones(len(pair))
    for _ in range(steps):
        expected = share[pair_of]
        expected /= np.bincount(place_of, expected, count)[place_of]
        share = np.bincount(pair_of, expected, len(pair))
        share /= np.bincount(of_source, share, len(known[0]))[of_source]
    order = np.lexsort((share, of_source))  # the last of every source word is its best
    last = np.flatnonzero(np.diff(of_source[order], append=-1))
    names = tuple(list(side) for side in known)
    return {names[0][of_source[order[i]]]: names[1][of_target[order[i]]] for i in last if of_source[order[i]] != NO_WORD}


def word_by_word(text: str, translations: Mapping[str, str]) -> str:
    return spelled([translations.get(word.lower(), word) for word in words(text)])


def judged(said: Sequence[str], truth: Sequence[str], resamples: int = RESAMPLES) -> dict[str, Any]:
    """BLEU and chrF of a corpus, each with its signature and the interval of sacrebleu's own bootstrap."""
    from sacrebleu.metrics import BLEU, CHRF

    found: dict[str, Any] = {}
    for name, metric in (("bleu", BLEU()), ("chrf", CHRF())):
        told: Any = metric.corpus_score(list(said), [list(truth)], n_bootstrap=resamples)
        middle, half = (told._mean, told._ci) if resamples > 1 else (told.score, 0.0)
        value, low, high = (float(x) for x in (told.score, middle - half, middle + half))  # numpy's, where they were drawn
        found[name] = {"value": value, "low": low, "high": high, "signature": str(metric.get_signature())}
    return found


def read(folder: Path, languages: Sequence[str], cut: int | None = None) -> dict[str, tuple[list[str], list[str]]]:
    """(sentences, their translations) of train, valid and test. Raises SystemExit where files are missing or unlike."""
    parts = {}
    for part in ("train", "valid", "test"):
        sides = []
        for language in languages:
            path = folder / f"{part}.{language}"
            if not path.exists():
                raise SystemExit(f"{path}: expected a file of sentences; there is none")
            sides.append(path.read_text(encoding="utf-8").split("\n")[:-1])
        if len(sides[0]) != len(sides[1]):
            raise SystemExit(
                f"{folder}: expected as many sentences on both sides of {part}; got {len(sides[0])} and {len(sides[1])}"
            )
        parts[part] = sides[0][:cut], sides[1][:cut]
    return parts


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", default="en-de", help="two languages, from the first into the second")
    parser.add_argument("--data", type=Path, help="a folder of train.en, train.de, ... (default: made by language_data.py)")
    parser.add_argument("--model", nargs="*", default=["transformer", "lstm"], help="networks; none: the baselines alone")
    parser.add_argument("--minutes", type=float, help="of each training (default: the task's own epochs)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cut", type=int, help="pairs a part at most, for a quick look")
    parser.add_argument("--name", help="of the file in benchmarks/results (default: translation_PAIR)")
    parser.add_argument("--flags", nargs=argparse.REMAINDER, default=[], help="what follows goes to lamina train as it is")
    options = parser.parse_args(arguments)
    at, languages = machine(), options.pair.split("-")
    parts = read(options.data or made(options.pair), languages, options.cut)
    sources, truth = parts["test"]
    began = time.monotonic()
    translations = dictionary(*parts["train"])
    said = {"word by word": [word_by_word(text, translations) for text in sources], "copy": sources}
    found: dict[str, Any] = {name: judged(lines, truth) for name, lines in said.items()}
    found["word by word"] |= {"seconds": round(time.monotonic() - began, 1), "words": len(translations)}
    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / "data"
        data.mkdir()
        for part, sides in parts.items():
            for language, lines in zip(languages, sides, strict=True):
                (data / f"{part}.{language}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        for name in options.model:
            flags = [f"--data={data}", f"--source={languages[0]}", f"--target={languages[1]}", f"--model={name}"]
            flags += [f"--seed={options.seed}", *([f"--minutes={options.minutes}"] if options.minutes else []), *options.flags]
            one = trained("translation", flags, Path(place) / name)
            said[name] = answered(Path(place) / name, sources)
            found[name] = {**judged(said[name], truth), "training": one}
            print(f"{name}: BLEU {found[name]['bleu']['value']:.2f} in {one['seconds']:.0f} s", file=sys.stderr)
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    command = ["python", "-m", "benchmarks.translation", *(arguments or sys.argv[1:])]
    counts = {part: len(sides[0]) for part, sides in parts.items()}
    samples = [
        {"source": sources[i], "truth": truth[i], **{n: lines[i] for n, lines in said.items()}}
        for i in range(min(10, len(truth)))
    ]
    name = options.name or f"translation_{options.pair.replace('-', '_')}"
    path = write(name, machine=at, command=command, settings=settings, counts=counts, contenders=found, samples=samples)
    for name, f in found.items():
        told = "   ".join(f"{m} {f[m]['value']:5.2f} ({f[m]['low']:.2f} to {f[m]['high']:.2f})" for m in ("bleu", "chrf"))
        print(f"{name:<14}{told}")
    print(f"-> {path}", file=sys.stderr)
    return 0


def answered(folder: Path, sources: Sequence[str]) -> list[str]:
    """What the run in `folder` makes of each sentence."""
    import lamina

    return [str(answer["text"]) for answer in lamina.predict(folder, {"text": list(sources)})]


if __name__ == "__main__":
    sys.exit(main())
