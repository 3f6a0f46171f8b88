"""A causal language model of `transformers` with Lamina's token ids and Lamina's way of writing.

Ids 0 to 3 are padding, unknown, the beginning and the end; the model's own ids follow, moved by four. The beginning and the end
are whatever tokens the model has for them (the end for both, where it has no beginning).

Legend: B rows, T tokens, V words (the model's own and four), N the model's own words.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

PAD, UNK, BOS, EOS, FIRST = 0, 1, 2, 3, 4
NEVER = -1e4
"""The logit of tokens that are never written."""


def settings_of(place: str) -> dict[str, Any]:
    """The configuration of the model in a folder, or of a name on the hub: plain values. Raises OSError where there is none."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(place, local_files_only=Path(place).is_dir()).to_dict()


class Ids:
    """Lamina's token ids and a checkpoint's own. Plain numbers, no weights."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        end = settings.get("eos_token_id")
        end = end[0] if isinstance(end, list) else end
        start = settings.get("bos_token_id")
        self.end = 0 if end is None else int(end)
        self.start = self.end if start is None else int(start)

    def own(self, tokens: Tensor) -> Tensor:
        """Lamina's ids as the model's own; padding is any, since it is masked."""
        own = (tokens - FIRST).clamp(min=0)
        own = torch.where(tokens == BOS, self.start, own)
        return torch.where((tokens == EOS) | (tokens == UNK), self.end, own)

    def spread(self, logits: Tensor) -> Tensor:
        """Logits (..., N) of the model's own words as (..., V): those of its beginning and end go to ours alone."""
        end, never = logits[..., self.end : self.end + 1], torch.full_like(logits[..., :1], NEVER)
        word = torch.arange(logits.shape[-1], device=logits.device)
        logits = logits.masked_fill((word == self.end) | (word == self.start), NEVER)
        return torch.cat([never, never, never, end, logits], -1)


def weights_at(place: str) -> dict[str, Tensor]:
    """The weights, float32, of the model in a folder, or of a name on the hub."""
    from transformers import AutoModelForCausalLM

    found = AutoModelForCausalLM.from_pretrained(place, local_files_only=Path(place).is_dir(), dtype=torch.float32)
    return dict(found.state_dict())


class PretrainedLM(nn.Module):
    """forward: tokens (B, T) int64 -> {"token_logits": (B, T, V)}; `begin` and `step` keep the model's own cache."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__()
        from transformers import AutoConfig, AutoModelForCausalLM

        config = AutoConfig.for_model(**{name: value for name, value in settings.items() if name != "transformers_version"})
        self.model = AutoModelForCausalLM.from_config(config)
        self.turned = straightened(self.model)
        self.ids = Ids(settings)

    @property
    def embedding(self) -> str:
        """The name of the embedding of the model's own tokens."""
        wanted = self.model.get_input_embeddings()
        return next(name for name, module in self.named_modules() if module is wanted)

    def load(self, place: str) -> None:
        """The weights of the folder, or of the name on the hub; what was added to the model since keeps its own."""
        weights = weights_at(place)
        for name in self.turned:
            weights[f"{name}.weight"] = weights[f"{name}.weight"].T
        self.model.load_state_dict(weights, strict=False)

    def forward(self, tokens_BT: Tensor) -> dict[str, Tensor]:
        inside_BT = tokens_BT != PAD
        said = self.model(
            input_ids=self.ids.own(tokens_BT), attention_mask=inside_BT.long(), position_ids=places(inside_BT), use_cache=False
        )
        return {"token_logits": self.ids.spread(said.logits)}

    def begin(self, tokens_BT: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits (B, V) after the last token, and the state: keys and values of every layer, and which places are no padding."""
        inside_BT = tokens_BT != PAD
        return self._asked(tokens_BT, inside_BT, places(inside_BT), None)

    def step(self, token_B: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        from transformers import DynamicCache

        cache = DynamicCache()
        for layer in range(sum(name.startswith("keys") for name in state)):
            cache.update(state[f"keys{layer}"], state[f"values{layer}"], layer)
        inside_BS = torch.cat([state["inside"], torch.ones_like(state["inside"][:, :1])], 1)
        place_B1 = inside_BS.long().sum(1, keepdim=True) - 1
        return self._asked(token_B[:, None], inside_BS, place_B1, cache)

    def _asked(self, tokens_BT: Tensor, inside_BS: Tensor, place_BT: Tensor, cache: Any) -> tuple[Tensor, dict[str, Tensor]]:
        said = self.model(
            input_ids=self.ids.own(tokens_BT), attention_mask=inside_BS.long(), position_ids=place_BT, past_key_values=cache,
            use_cache=True, logits_to_keep=1,
        )  # fmt: skip
        state = {"inside": inside_BS}
        for number, layer in enumerate(said.past_key_values.layers):
            state |= {f"keys{number}": layer.keys, f"values{number}": layer.values}
        return self.ids.spread(said.logits[:, -1]), state


def straightened(model: nn.Module) -> list[str]:
    """Every `Conv1D` of GPT-2, a linear layer whose weight lies the other way round, as a linear layer; returns their names.

    What works on linear layers (few bits, LoRA) works on them then.
    """
    from transformers.pytorch_utils import Conv1D

    names = [name for name, module in model.named_modules() if isinstance(module, Conv1D)]
    for name in names:
        old = model.get_submodule(name)
        assert isinstance(old, Conv1D)
        model.set_submodule(name, nn.Linear(int(old.weight.shape[0]), int(old.weight.shape[1]), device=old.weight.device))
    return names


def places(inside_BT: Tensor) -> Tensor:
    """Positions that count no padding (B, T)."""
    return (inside_BT.long().cumsum(1) - 1).clamp(min=0)
