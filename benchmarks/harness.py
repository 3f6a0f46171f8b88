"""Runs contenders side by side, fairly: one process each, interleaved A B C A B C, the same threads, ratios within a round.

A contender is a command that prints a line of JSON with `images` (or `tokens`) and `seconds`, the last that begins with a brace.
Speeds drift on a shared machine, so a contender is compared with the baseline of its own round, and the figures that
count are the median of those ratios and their range.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.environments import Environment, python_of

REPOSITORY = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Contender:
    """`python -m MODULE FLAGS`, in the peer's own environment or in ours."""

    name: str
    about: str
    """What a reader must know of its settings, for the table."""
    module: str
    flags: tuple[str, ...] = ()
    environment: Environment | None = None
    variables: Mapping[str, str] = field(default_factory=dict)


class Failed(Exception):
    """A contender did not come to an end, with the last lines of what it said."""


Result = dict[str, Any]


def run(contender: Contender, flags: Sequence[str], threads: int, seconds_at_most: float = 1200) -> Result:
    """One process of a contender. Raises Failed."""
    command = [python_of(contender.environment), "-m", contender.module, *flags, "--threads", str(threads), *contender.flags]
    variables = {**os.environ, **clean(threads), **contender.variables}
    try:
        done = subprocess.run(command, cwd=REPOSITORY, env=variables, capture_output=True, text=True, timeout=seconds_at_most)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{contender.name}: no end after {seconds_at_most:.0f} s") from error
    if done.returncode:
        said = done.stderr.strip().splitlines() or [""]
        raise Failed(f"{contender.name}: exit status {done.returncode}: {said[-1][-300:]}")
    found = [line for line in done.stdout.splitlines() if line.startswith("{")]
    try:
        return json.loads(found[-1])  # bars of progress may follow it
    except (ValueError, IndexError) as error:
        raise Failed(f"{contender.name}: expected a line of JSON; got {done.stdout[-200:]!r}") from error


def clean(threads: int) -> dict[str, str]:
    """Environment variables that every contender gets: our sources, the same threads, no hub."""
    source = str(REPOSITORY / "src")
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {"PYTHONPATH": source, "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore", **dict.fromkeys(names, str(threads))}


def interleaved(names: Sequence[str], rounds: int) -> Iterator[tuple[int, str]]:
    """(round, name) in the order to run: every contender once before any runs again."""
    for number in range(rounds):
        for name in names:
            yield number, name


def measure(
    names: Sequence[str], rounds: int, once: Callable[[str], Result], unit: str = "images"
) -> tuple[list[dict[str, Result]], dict[str, str]]:
    """The results of each round by name, and why contenders failed. One that fails once is not run again."""
    results: list[dict[str, Result]] = [{} for _ in range(rounds)]
    failures: dict[str, str] = {}
    for number, name in interleaved(names, rounds):
        if name in failures:
            continue
        try:
            results[number][name] = once(name)
        except Failed as error:
            failures[name] = str(error)
            print(error, file=sys.stderr)
            continue
        print(f"round {number + 1} of {rounds}: {name}: {speed(results[number][name], unit):,.1f} {unit}/s", file=sys.stderr)
    return [{n: r for n, r in one.items() if n not in failures} for one in results], failures


def speed(result: Result, unit: str = "images") -> float:
    """Images a second, or what else is counted."""
    return result[unit] / result["seconds"]


def summary(results: Sequence[Mapping[str, Result]], baseline: str, unit: str = "images") -> dict[str, dict[str, float]]:
    """By contender: the median of its speeds, and median, least and greatest of its ratios to the baseline of the same round.

    Raises Failed where the baseline has no result, or contenders trained different numbers of weights.
    """
    if not all(baseline in one for one in results):
        raise Failed(f"{baseline}: the baseline has no result in some round, so there is nothing to compare with")
    counts = {r["parameters"] for one in results for r in one.values() if "parameters" in r}
    if len(counts) > 1:
        raise Failed(f"the contenders do not train the same network: {sorted(counts)} weights")
    found = {}
    for name in results[0]:
        ratios = [speed(one[name], unit) / speed(one[baseline], unit) for one in results]
        found[name] = {
            f"{unit}_per_second": statistics.median(speed(one[name], unit) for one in results),
            "ratio": statistics.median(ratios),
            "ratio_min": min(ratios),
            "ratio_max": max(ratios),
        }
    return found


def table(
    figures: Mapping[str, Mapping[str, float]], about: Mapping[str, str], left_out: Mapping[str, str], unit: str = "images"
) -> str:
    """The summary as Markdown, the fastest first, and what was left out and why."""
    lines = [f"| contender | {unit}/s | ratio to the baseline | range of the ratio |", "|---|---|---|---|"]
    for name, f in sorted(figures.items(), key=lambda item: -item[1]["ratio"]):
        ratios = f"{f['ratio']:.2f} | {f['ratio_min']:.2f} to {f['ratio_max']:.2f}"
        lines.append(f"| {about[name]} | {f[f'{unit}_per_second']:,.0f} | {ratios} |")
    lines += [f"\nLeft out: {about[name]}: {why}" for name, why in left_out.items()]
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """What the figures depend on. `load` is the load average before the start: figures of a busy machine are worth little."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    fields = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    fields = {name.strip(): value.strip() for name, value in fields.items()}
    flags = fields.get("flags", "").split()
    return {
        "cpu": fields.get("model name", platform.processor()),
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "flags": [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags],
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }


def commit() -> str:
    """The commit that is measured, marked where files were changed since."""
    told = subprocess.run(
        ["git", "--no-optional-locks", "describe", "--always", "--dirty"], cwd=REPOSITORY, capture_output=True, text=True
    )
    return told.stdout.strip() or "unknown"


def without_folders(value: Any) -> Any:
    """The value with the last name alone of every absolute path: where data lay on one machine says nothing to another."""
    if isinstance(value, Mapping):
        return {name: without_folders(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(inner) for inner in value]
    if isinstance(value, str) and value.startswith("/") and "\n" not in value:
        return Path(value).name
    return value


def write(name: str, **content: Any) -> Path:
    """benchmarks/results/NAME.json: the content, when, on what, of which commit."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    stamp = {"name": name, "date": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit()}
    stamp |= without_folders(content)
    path.write_text(json.dumps(stamp, indent=2) + "\n", encoding="utf-8")
    return path
