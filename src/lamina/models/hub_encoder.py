"""A pretrained encoder of the `transformers` library under a linear layer, for the extra `hub`.

The encoder is built from its configuration, which a run keeps; its weights are loaded once, where training starts.

Shapes: B texts, T tokens, D features, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lamina.errors import LaminaError
from lamina.nn import tokens as layout
from lamina.nn.dropout import Dropout


class HubEncoder(nn.Module):
    """Tokens (B, T), 0 is padding on either side -> {"logits" (B, K), "features" (B, D)}: the mean over the tokens.

    config: of the encoder, as its config.json has it. pad: the encoder's own number for padding, which changed places with 0.
    """

    def __init__(self, classes: int, config: Mapping[str, Any], pad: int, dropout: float, **_: Any) -> None:
        super().__init__()
        self.pad = pad
        self.encoder = built(config)
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(self.encoder.config.hidden_size, classes)

    def forward(self, x_BT: Tensor) -> dict[str, Tensor]:
        x_BT = x_BT.gather(1, layout.to_left(x_BT)[0])
        inside_BT = layout.inside(x_BT)
        own_BT = torch.where(inside_BT, torch.where(x_BT == self.pad, 0, x_BT), self.pad) if self.pad else x_BT
        h_BTD = self.encoder(input_ids=own_BT, attention_mask=inside_BT.long()).last_hidden_state
        features_BD = layout.mean(h_BTD, inside_BT)
        return {"logits": self.head(self.dropout(features_BD)).float(), "features": features_BD.float()}


def built(config: Mapping[str, Any]) -> Any:
    """The encoder without weights. Raises LaminaError where the library is absent or does not know the kind."""
    transformers = library()
    try:
        made = transformers.AutoConfig.for_model(**config)
        return transformers.AutoModel.from_config(made, **({"add_pooling_layer": False} if _pools(made) else {}))
    except (ValueError, KeyError) as error:
        raise LaminaError(f"--pretrained: expected an encoder that transformers knows; {str(error).splitlines()[0]}") from error


def _pools(config: Any) -> bool:
    """Kinds whose encoder has a layer on top that nothing here would use."""
    return config.model_type in ("bert", "roberta", "xlm-roberta", "camembert", "electra-pooled")


def described(source: str) -> dict[str, Any]:
    """config.json of a folder, or of a model of the hub (from the cache where it is there), and the name of its embeddings."""
    transformers = library()
    try:
        config = transformers.AutoConfig.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise LaminaError(
            f"--pretrained: expected a folder or a model of the hub; {source}: {str(error).splitlines()[0]}"
        ) from error
    told = config.to_diff_dict() | {"model_type": config.model_type}
    told = {
        name: value
        for name, value in told.items()
        if name not in ("architectures", "dtype", "torch_dtype", "transformers_version")
    }
    with torch.device("meta"):
        encoder = built(told)
    embeddings = encoder.get_input_embeddings()
    name = next(name for name, module in encoder.named_modules() if module is embeddings)
    pad = config.pad_token_id or 0
    offset = pad + 1 if config.model_type in ("roberta", "xlm-roberta", "camembert") else 0  # where their positions begin
    most = int(getattr(config, "max_position_embeddings", 512) or 512) - offset
    return {"config": told, "pad": pad, "embed": f"encoder.{name}", "most": most, "vocabulary": int(config.vocab_size)}


def tokenizer_of(source: str) -> str:
    """Its tokenizer.json."""
    file = Path(source) / "tokenizer.json"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    transformers = library()
    try:
        return transformers.AutoTokenizer.from_pretrained(source).backend_tokenizer.to_str()
    except (OSError, ValueError, AttributeError) as error:
        raise LaminaError(
            f"--pretrained: expected a fast tokenizer beside the model; {source}: {str(error).splitlines()[0]}"
        ) from error


def load_weights(model: HubEncoder, source: str) -> None:
    """Copies the weights of the encoder. Raises LaminaError where they are none of this encoder's."""
    transformers = library()
    try:
        weights = transformers.AutoModel.from_pretrained(source, dtype=torch.float32).state_dict()
    except (OSError, ValueError) as error:
        raise LaminaError(f"--pretrained: expected weights in {source}; {str(error).splitlines()[0]}") from error
    told = model.encoder.load_state_dict(weights, strict=False)
    if told.missing_keys:
        raise LaminaError(f"--pretrained: expected all weights of the encoder in {source}; {told.missing_keys[0]} is missing")


def library() -> Any:
    """transformers. Raises LaminaError where the extra is not installed."""
    try:
        import transformers
    except ImportError as error:
        raise LaminaError("--pretrained: expected the extra hub: pip install 'lamina[hub]'") from error
    return transformers
