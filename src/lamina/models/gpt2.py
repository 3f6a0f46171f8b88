"""GPT-2 (Radford et al. 2019) from a checkpoint of `transformers`, in the house's own decoder: one cache, in place, no wrapping.

The decoder's ids are the checkpoint's own, moved by one, since 0 is padding. See `pretrained_lm.py` for Lamina's ids.

Legend: B rows, T tokens, V words (the checkpoint's own and four), D features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lamina.models.pretrained_lm import PAD, Ids, weights_at
from lamina.models.transformer_decoder import Decoder, State, gpt2

PARTS = {
    "ln_1": "attention.norm",
    "attn.c_attn": "attention.layer.qkv",
    "attn.c_proj": "attention.layer.project",
    "ln_2": "feed_forward.norm",
    "mlp.c_fc": "feed_forward.layer.expand",
    "mlp.c_proj": "feed_forward.layer.project",
}
"""The parts of a block, there and here."""
PLAIN = {"activation_function": "gelu_new", "scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False,
         "add_cross_attention": False, "tie_word_embeddings": True}  # fmt: skip
"""The settings that the decoder says."""


def fits(settings: Mapping[str, Any]) -> bool:
    """Whether a checkpoint of these settings is a GPT-2 that the decoder can say."""
    plain = all(settings.get(name, value) == value for name, value in PLAIN.items())
    return settings.get("model_type") == "gpt2" and plain and settings.get("n_inner") in (None, 4 * settings["n_embd"])


class GPT2(nn.Module):
    """forward: tokens (B, T) int64 -> {"token_logits": (B, T, V)}; `begin` and `step` write with the decoder's cache."""

    embedding = "decoder.embed"

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__()
        shape = gpt2(
            settings["n_embd"], settings["n_layer"], settings["n_head"], settings["n_positions"], settings["resid_pdrop"]
        )
        self.decoder = Decoder(settings["vocab_size"] + 1, shape, restarts=False)
        self.ids = Ids(settings)

    def load(self, place: str) -> None:
        """The weights of the folder, or of the name on the hub; what was added to the model since keeps its own."""
        self.fill(weights_at(place))

    def fill(self, weights: Mapping[str, Tensor]) -> None:
        """Take the `weights` of a GPT2LMHeadModel."""
        theirs = {name.removeprefix("transformer."): value for name, value in weights.items()}
        ours = {"stack.added.weight": theirs["wpe.weight"]}
        ours["embed.weight"] = ours["head.weight"] = torch.cat([torch.zeros_like(theirs["wte.weight"][:1]), theirs["wte.weight"]])
        for kind in ("weight", "bias"):
            ours[f"stack.norm.{kind}"] = theirs[f"ln_f.{kind}"]
            for layer in range(self.decoder.stack.shape.depth):
                for there, here in PARTS.items():
                    value = theirs[f"h.{layer}.{there}.{kind}"]
                    ours[f"stack.blocks.{layer}.{here}.{kind}"] = (
                        value.T if value.dim() == 2 else value
                    )  # Conv1D lies the other way
        self.decoder.load_state_dict(ours, strict=False)

    def own(self, tokens: Tensor) -> Tensor:
        return torch.where(tokens == PAD, PAD, self.ids.own(tokens) + 1)

    def forward(self, tokens_BT: Tensor) -> dict[str, Tensor]:
        return {"token_logits": self.ids.spread(self.decoder(self.own(tokens_BT))["token_logits"][..., 1:])}

    def begin(self, tokens_BT: Tensor) -> tuple[Tensor, State]:
        return self.said(self.decoder.begin(self.own(tokens_BT)))

    def step(self, token_B: Tensor, state: State) -> tuple[Tensor, State]:
        return self.said(self.decoder.step(self.own(token_B), state))

    def begin_graph(self, tokens_BT: Tensor) -> tuple[Tensor, State]:
        return self.said(self.decoder.begin_graph(self.own(tokens_BT)))

    def step_graph(self, token_B: Tensor, state: State) -> tuple[Tensor, State]:
        return self.said(self.decoder.step_graph(self.own(token_B), state))

    def said(self, made: tuple[Tensor, State]) -> tuple[Tensor, State]:
        return self.ids.spread(made[0][:, 1:]), made[1]
