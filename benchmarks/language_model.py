"""A language model of characters within a time budget, beside nanoGPT's own recipe for a CPU.

    python -m benchmarks.language_model --data tinyshakespeare.txt --minutes 15

Loss in nats a character on the last tenth of the text, all of it, in windows that do not overlap; the first nine tenths train:
nanoGPT's split (Karpathy, data/shakespeare_char/prepare.py). As there, weights are kept by this very loss, so it is a validation
loss and no test. nanoGPT reports 1.4697 on a GPU, and 1.88 after its CPU recipe of about 3 minutes.

Without --data: the first 1,115,394 characters of the King James Bible from Debian's package `bible-kjv-text`, whose figures are
its own. The peer is a plain PyTorch loop with a GPT of 4 layers, 4 heads and 128 features, 64 characters a row, 12 rows a batch
and AdamW: `benchmarks/peers/nano_gpt.py`; with --peer-minutes it goes on for so long in place of its 2,000 steps.
Results go to benchmarks/results/language_model.json.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.accuracy import interval, trained
from benchmarks.harness import Contender, machine, run, write
from benchmarks.language_data import CACHE

NANO = Contender("nano-gpt", "nanoGPT's CPU recipe, a plain loop in float32", "benchmarks.peers.nano_gpt")
CHARACTERS = 1_115_394
BIBLE = "bible-kjv-text"


def bible() -> str:
    """Running text in place of Shakespeare's, from Debian: made once."""
    path = CACHE / "bible.txt"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["apt-get", "download", BIBLE], cwd=folder, check=True, stdout=sys.stderr)
            subprocess.run(["dpkg", "-x", str(next(Path(folder).glob("*.deb"))), folder], check=True)
            found = max(
                (p for p in Path(folder).rglob("*") if p.is_file() and p.suffix != ".deb"), key=lambda p: p.stat().st_size
            )
            text = gunzipped(found.read_bytes()).decode("utf-8", errors="replace")
        path.write_text(text[:CHARACTERS], encoding="utf-8")
    return path.read_text(encoding="utf-8")


def gunzipped(raw: bytes) -> bytes:
    import gzip

    return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw


def parted(text: str, folder: Path) -> tuple[Path, Path]:
    """train.txt and valid.txt, nine to one by position."""
    cut = int(0.9 * len(text))
    paths = folder / "train.txt", folder / "valid.txt"
    for path, part in zip(paths, (text[:cut], text[cut:]), strict=True):
        path.write_text(part, encoding="utf-8", newline="")
    return paths


def nats(bits_per_byte: float, text: str) -> float:
    """Nats a character of a text whose bits per byte are known."""
    return bits_per_byte * math.log(2) * len(text.encode()) / len(text)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a text file (default: part of the King James Bible)")
    parser.add_argument("--minutes", type=float, help="of each training (default: the task's own epochs)")
    parser.add_argument("--model", nargs="+", default=["auto"], help="networks, each with every seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--peer-steps", type=int, default=2000, help="of nanoGPT's recipe; 0 leaves it out")
    parser.add_argument("--peer-minutes", type=float, help="in place of steps")
    parser.add_argument("--threads", type=int, help="of both (default: one a core)")
    parser.add_argument("--cut", type=int, help="characters at most, for a quick look")
    parser.add_argument("--name", default="language_model", help="of the file in benchmarks/results")
    parser.add_argument("--flags", nargs=argparse.REMAINDER, default=[], help="what follows goes to lamina train as it is")
    options = parser.parse_args(arguments)
    at = machine()
    threads = options.threads or at["cores"]
    text = (options.data.read_text(encoding="utf-8") if options.data else bible())[: options.cut]
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / "data"
        data.mkdir()
        valid = parted(text, data)[1].read_text(encoding="utf-8")
        for name in options.model:
            each = []
            for seed in options.seeds:
                length = [f"--minutes={options.minutes}"] if options.minutes else []
                flags = [f"--data={data}", f"--model={name}", f"--seed={seed}", f"--threads={threads}", *length]
                # No part of the text is kept from training but the tenth that judges.
                flags += ["--test=0", "--calibration=0", *options.flags]
                one = trained("text-generation", flags, Path(place) / f"{name}-{seed}")
                if one["part"] != "valid":
                    raise SystemExit(f"benchmarks.language_model: expected figures of the validation part; got {one['part']}")
                each.append({"seed": seed, "loss": nats(one["metrics"]["bits_per_byte"]["value"], valid), **one})
                print(f"{name}, seed {seed}: {each[-1]['loss']:.4f} in {each[-1]['seconds']:.0f} s", file=sys.stderr)
            losses = [one["loss"] for one in each]
            low, high = interval(losses)
            found[name] = {"loss": statistics.mean(losses), "low": low, "high": high, "each": each}
        if options.peer_steps or options.peer_minutes:
            flags = ["--data", str(data), "--steps", str(options.peer_steps), "--minutes", str(options.peer_minutes or 0)]
            found["nano-gpt"] = run(NANO, flags, threads, seconds_at_most=60 * (options.peer_minutes or 60) + 600)
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    command = ["python", "-m", "benchmarks.language_model", *(arguments or sys.argv[1:])]
    counts = {"characters": len(text), "valid": len(valid), "distinct": len(set(text))}
    path = write(options.name, machine=at, command=command, settings=settings, counts=counts, contenders=found)
    print(json.dumps({name: round(f["loss"], 4) for name, f in found.items()}))
    print(f"-> {path}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
