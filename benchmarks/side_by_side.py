"""The command line of benchmarks that run contenders in turn: what they are asked, and the table and file that come of it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.harness import Contender, Failed, Result, machine, measure, run, summary, table, write


def add_flags(parser: argparse.ArgumentParser, name: str, contenders: Sequence[Contender], baseline: str) -> None:
    names = [c.name for c in contenders]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)}; {baseline} always runs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, help="of every contender (default: one a core)")
    parser.add_argument("--here", action="store_true", help="peers are importable by the running interpreter")
    parser.add_argument("--name", default=name, help="of the file in benchmarks/results")


def chosen(options: argparse.Namespace, contenders: Sequence[Contender], baseline: str) -> dict[str, Contender]:
    """By name."""
    some = [c for c in contenders if options.only is None or c.name in (baseline, *options.only)]
    return {c.name: replace(c, environment=None) if options.here else c for c in some}


def words(settings: Mapping[str, Any]) -> list[str]:
    """Settings as flags of a contender."""
    return [word for name, value in settings.items() for word in (f"--{name}", str(value))]


def compare(
    options: argparse.Namespace, contenders: Sequence[Contender], baseline: str, data: Sequence[str], settings: Mapping[str, Any],
    unit: str = "images", check: Callable[[list[dict[str, Result]]], dict[str, Any]] = lambda results: {},
) -> int:  # fmt: skip
    """Runs them, prints the table and writes the file; the exit status: 1 where a contender failed.

    data: further flags of every contender. check: raises Failed where contenders did not do the same; gives more for the file.
    """
    at = machine()
    threads, rounds = options.threads or at["cores"], options.rounds
    each = chosen(options, contenders, baseline)
    flags = [*data, *words(settings)]
    results, failures = measure(list(each), rounds, lambda name: run(each[name], flags, threads), unit)
    about = {name: c.about for name, c in each.items()}
    try:
        found, figures = check(results), summary(results, baseline, unit)
    except Failed as error:
        raise SystemExit(str(error)) from error
    path = write(
        options.name,
        machine=at,
        command=["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]],
        settings={**settings, "rounds": rounds, "threads": threads},
        baseline=baseline,
        summary=figures,
        failures=failures,
        about=about,
        variables={name: dict(c.variables) for name, c in each.items() if c.variables},
        rounds=results,
        **found,
    )
    where = f"{threads} threads, {at['cores']} cores of {at['cpu']} ({', '.join(at['flags'])})"
    print(f"\nMedians of {rounds} rounds; {where}.\n")
    print(table(figures, about, failures, unit))
    for name, value in found.items():
        print(f"\n{name}: {value}")
    print(f"\n-> {path}", file=sys.stderr)
    return 1 if failures else 0
