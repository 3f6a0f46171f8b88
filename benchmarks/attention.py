"""Attention forward and backward on a processor, `lamina.nn.attention.attend` beside torch's fused kernel:
`python -m benchmarks.attention --rounds 9`.

Both get the same tensors in one process, in turn; a round's figure is the ratio of their times, the row's their median and range.
Above the line that `FUSED_FROM` draws both are one kernel, and the ratio says how noisy the machine is.
Results go to benchmarks/results/attention.json.

Shapes: B rows, H heads, T tokens, E features of a head.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from benchmarks.harness import machine, write

SHAPES = {
    "translation": (138, 4, 17, 48),
    "pictures": (64, 6, 65, 64),
    "text, short": (32, 4, 128, 64),
    "text": (16, 6, 256, 64),
    "text, long": (4, 6, 1024, 64),
}
"""(B, H, T, E), by what such rows are."""
SECONDS = 0.3
"""Of each contender in each round."""


def step(attention: Callable[..., Any], tensors: Sequence[Any], further: Any) -> None:
    for tensor in tensors:
        tensor.grad = None
    attention(*tensors).backward(further)


def seconds(call: Callable[[], None]) -> float:
    """Of one call, the mean over `SECONDS`."""
    began, calls = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < SECONDS:
        call()
        calls += 1
    return passed / calls


def ratios(shape: tuple[int, int, int, int], dtype: str, causal: bool, rounds: int) -> list[float]:
    """Time of the fused kernel over that of `attend`, a round each."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    from lamina.nn.attention import attend

    generator = torch.Generator().manual_seed(0)
    *tensors, further = (torch.randn(shape, generator=generator).to(getattr(torch, dtype)) for _ in range(4))
    for tensor in tensors:
        tensor.requires_grad_()
    fused = partial(step, partial(scaled_dot_product_attention, is_causal=causal), tensors, further)
    ours = partial(step, partial(attend, causal=causal, training=True), tensors, further)
    for warm_up in (fused, ours):
        warm_up()
    return [seconds(fused) / seconds(ours) for _ in range(rounds)]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args(arguments)
    at, rows = machine(), []
    print("| rows of | B, H, T, E | type | causal | ratio | range |\n|---|---|---|---|---|---|")
    for name, shape in SHAPES.items():
        for dtype in ("float32", "bfloat16"):
            for causal in (False, True):
                found = ratios(shape, dtype, causal, options.rounds)
                rows.append({"of": name, "shape": shape, "dtype": dtype, "causal": causal, "ratios": found})
                sizes, middle = ", ".join(map(str, shape)), statistics.median(found)
                told = f"{middle:.2f} | {min(found):.2f} to {max(found):.2f}"
                print(f"| {name} | {sizes} | {dtype} | {'yes' if causal else 'no'} | {told} |", flush=True)
    command = ["python", "-m", "benchmarks.attention", *(arguments or sys.argv[1:])]
    print(f"-> {write('attention', machine=at, command=command, settings=vars(options), rows=rows)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
