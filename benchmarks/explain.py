"""Explaining pictures beside captum: `python -m benchmarks.explain`.

1,000 pictures of Fashion-MNIST, the network that Lamina takes for them (its weights random: time does not depend on them), the
same score (the log probability of the answer), the same steps and windows, float32. Measured are pictures a second. All
contenders must give attributions of the same length, but SmoothGrad's, whose noise differs.

The floor: Lamina takes at most 1.2 times what captum takes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.environments import CAPTUM
from benchmarks.harness import Contender, Failed, Result, machine, measure, run, summary, table, write
from benchmarks.side_by_side import add_flags, chosen, words
from benchmarks.throughput import fashion_mnist

METHODS = ("gradient", "integrated-gradients", "smooth-grad", "occlusion", "grad-cam")
FLOOR = 1.2
ALIKE = 0.02
"""How far apart the lengths of the attributions of two contenders may be: rules and rounding differ."""
BASELINE = "captum"


PEER = "benchmarks.peers.explain_captum"
CONTENDERS = (
    Contender("captum", "captum, 256 pictures at once", PEER, (), CAPTUM),
    Contender("captum-tuned", "captum, weights frozen, channels last", PEER, ("--channels-last",), CAPTUM),
    Contender("lamina", "Lamina", "benchmarks.peers.explain_lamina"),
)


def check_alike(method: str, results: Sequence[dict[str, Result]]) -> None:
    """Raises Failed where contenders did not compute the same."""
    lengths = [r["length"] for one in results for r in one.values()]
    if method != "smooth-grad" and max(lengths) > (1 + ALIKE) * min(lengths):
        raise Failed(f"{method}: the contenders do not give the same attributions: lengths {sorted(lengths)}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_flags(parser, "explain", CONTENDERS, BASELINE)
    parser.add_argument("--data", type=Path, help="a folder of Fashion-MNIST's four idx.gz files (default: Debian's package)")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=32)
    options = parser.parse_args(arguments)
    at = machine()
    threads = options.threads or at["cores"]
    each = chosen(options, CONTENDERS, BASELINE)
    data = (options.data or fashion_mnist()).resolve()
    figures, left_out, slow = {}, {}, []
    for method in options.methods:
        flags = ["--data", str(data), *words({"images": options.images, "steps": options.steps, "method": method})]
        results, failures = measure(list(each), options.rounds, lambda name, flags=flags: run(each[name], flags, threads))
        left_out[method] = failures
        try:
            check_alike(method, results)
            figures[method] = summary(results, BASELINE)
        except (Failed, ValueError) as error:
            raise SystemExit(f"{method}: {error}") from error
        print(f"\n{method}\n\n" + table(figures[method], {n: c.about for n, c in each.items()}, failures))
        if figures[method].get("lamina", {}).get("ratio", 0.0) < 1 / FLOOR:
            slow.append(method)
    settings = {"images": options.images, "steps": options.steps, "rounds": options.rounds, "threads": threads}
    print(f"\n{write(options.name, machine=at, settings=settings, methods=figures, left_out=left_out)}")
    print(f"slower than {FLOOR} times captum: {', '.join(slow)}" if slow else f"all within {FLOOR} times captum")
    return 1 if slow else 0


if __name__ == "__main__":
    raise SystemExit(main())
