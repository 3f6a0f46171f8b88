"""What contenders that write share: the prompts, the clock, the line of JSON."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import torch

Write = Callable[[Sequence[int]], Sequence[int]]
"""From the token ids of a prompt, the checkpoint's own, to the ids of what is written after it."""


def prompts(count: int, length: int) -> list[list[int]]:
    """Ids that every tokenizer of the benchmark holds, 0 (the end) apart: the same for all contenders."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1, 1000, (count, length), generator=generator).tolist()


def main(writer: Callable[[argparse.Namespace], Write], *packages: str) -> None:
    """Time the writer's texts after one that is not counted."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--tokens", type=int, required=True)
    parser.add_argument("--prompt", type=int, required=True)
    parser.add_argument("--repeats", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--weights", choices=("as they are", "int8"), default="as they are")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    first, *rest = prompts(1 + options.repeats, options.prompt)
    write = writer(options)
    write(first)
    began = time.perf_counter()
    written = [int(token) for prompt in rest for token in write(prompt)]
    seconds = time.perf_counter() - began
    told = {"tokens": len(written), "seconds": seconds, "written": written, "distinct": len(set(written))}
    print("\n" + json.dumps({**told, "versions": {name: version(name) for name in ("torch", *packages)}}))
