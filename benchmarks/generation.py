"""Greedy decoding of a model of GPT-2-small's shape, one row at a time: `python -m benchmarks.generation`.

The same weights for all, random, written once to a folder by transformers' own classes; Lamina loads that folder as any other
(`--pretrained`). Counted are the tokens a second of writing --tokens tokens after a prompt of --prompt, the prompt's own reading
included, over --repeats texts after one that warms up. In float32 both must write the same tokens, one by one: the benchmark
fails where they do not. Contenders are run in turn and compared within a round.

The weights are drawn wider than GPT-2's (deviation 0.05), and the embedding, which is the last layer too, a tenth of that: else a
random model repeats its last token whatever it has read.
Results go to benchmarks/results/generation.json.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.environments import TRANSFORMERS
from benchmarks.harness import Contender, Failed, Result
from benchmarks.side_by_side import add_flags, compare
from benchmarks.throughput import BFLOAT16

PEER = "benchmarks.peers.generate_"
INT8 = ("--weights", "int8")
CONTENDERS = (
    Contender("transformers", "Hugging Face generate, float32 (the baseline)", PEER + "transformers", (), TRANSFORMERS),
    Contender("transformers-bfloat16", "Hugging Face generate, bfloat16", PEER + "transformers", BFLOAT16, TRANSFORMERS),
    Contender("lamina", "Lamina, float32", PEER + "lamina"),
    Contender("lamina-bfloat16", "Lamina, bfloat16", PEER + "lamina", BFLOAT16),
    Contender("lamina-int8", "Lamina, float32 with weights of 8 bits", PEER + "lamina", INT8),
)
BASELINE, UNIT = "transformers", "tokens"
ALIKE = ("transformers", "lamina")
SPREAD, FAINT = 0.05, 0.1


def save_model(folder: Path, width: int, depth: int, heads: int) -> None:
    """A GPT-2 of random weights, and a tokenizer of byte pairs, learned from Python's documentation."""
    from pydoc_data.topics import topics

    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    shape = {"n_embd": width, "n_layer": depth, "n_head": heads}
    config = GPT2Config(**shape, initializer_range=SPREAD, bos_token_id=0, eos_token_id=0)
    model = GPT2LMHeadModel(config)
    model.transformer.wte.weight.data.mul_(FAINT)
    model.save_pretrained(folder)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    end, alphabet = "<|endoftext|>", pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=2000, special_tokens=[end], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(topics.values(), trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=end, eos_token=end).save_pretrained(folder)


def check_alike(results: Sequence[Mapping[str, Result]]) -> int:
    """How many tokens the contenders of ALIKE wrote alike. Raises Failed where a token differs."""
    count = 0
    for one in results:
        written = [one[name]["written"] for name in ALIKE if name in one]
        for first, other in itertools.pairwise(written):
            place = next((i for i, (a, b) in enumerate(zip(first, other, strict=False)) if a != b), min(len(first), len(other)))
            if first != other:
                raise Failed(f"{ALIKE[1]} writes other tokens than {ALIKE[0]} in float32, from token {place} of {len(first)} on")
            count = len(first)
    return count


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_flags(parser, "generation", CONTENDERS, BASELINE)
    parser.add_argument("--tokens", type=int, default=128, help="to write after each prompt")
    parser.add_argument("--prompt", type=int, default=32, help="tokens of a prompt")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--shape", type=int, nargs=3, default=[768, 12, 12], metavar=("WIDTH", "DEPTH", "HEADS"))
    options = parser.parse_args(arguments)
    settings = {name: getattr(options, name) for name in ("tokens", "prompt", "repeats")}
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder), *options.shape)
        return compare(options, CONTENDERS, BASELINE, ["--model", folder], settings, UNIT, alike)


def alike(results: Sequence[Mapping[str, Result]]) -> dict[str, int]:
    return {"tokens alike in float32": check_alike(results)}


if __name__ == "__main__":
    sys.exit(main())
