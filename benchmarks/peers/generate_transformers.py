"""Hugging Face's generate, greedy, at its defaults; with --precision bfloat16 the model's weights in it."""

import argparse
from collections.abc import Sequence

import torch
from transformers import AutoModelForCausalLM

from benchmarks.peers.generating import Write, main


def writer(options: argparse.Namespace) -> Write:
    kind = torch.bfloat16 if options.precision == "bfloat16" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=kind, local_files_only=True).eval()

    def write(prompt: Sequence[int]) -> Sequence[int]:
        tokens_1T = torch.tensor([list(prompt)])
        with torch.inference_mode():
            whole_1T = model.generate(
                tokens_1T,
                attention_mask=torch.ones_like(tokens_1T),
                do_sample=False,
                max_new_tokens=options.tokens,
                pad_token_id=0,
            )
        return whole_1T[0, len(prompt) :].tolist()

    return write


if __name__ == "__main__":
    main(writer, "transformers")
