"""Published weights for Lamina's Transformers: tensors and names in, tensors and names out. Nothing is read, nothing fetched.

Each family has its table: our name of a layer, and theirs; several of theirs are joined, as queries, keys and values are one
product here.

    tensors = safetensors.torch.load_file("model.safetensors")       of GPT-2, Llama, Qwen3, BERT (MiniLM is one), Marian
    shape = shapes(json.loads(Path("config.json").read_text()))[0]
    model = Decoder(len(order), shape)
    model.load_state_dict(gpt2_weights(tensors, order))

order: for each of our token ids, theirs. Here 0 is padding and 2 begins a document; they have other ids, or none, for these.

Shapes: V tokens known, D features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lamina.errors import LaminaError
from lamina.models.transformer import Shape

Tensors = Mapping[str, Tensor]
Table = Mapping[str, tuple[str, ...]]

GPT2_OUTER: Table = {"embed": ("wte",), "stack.added": ("wpe",), "stack.norm": ("ln_f",)}
GPT2_BLOCK: Table = {
    "attention.norm": ("ln_1",),
    "attention.layer.qkv": ("attn.c_attn",),
    "attention.layer.project": ("attn.c_proj",),
    "feed_forward.norm": ("ln_2",),
    "feed_forward.layer.expand": ("mlp.c_fc",),
    "feed_forward.layer.project": ("mlp.c_proj",),
}
LLAMA_OUTER: Table = {"embed": ("embed_tokens",), "stack.norm": ("norm",)}
LLAMA_BLOCK: Table = {
    "attention.norm": ("input_layernorm",),
    "attention.layer.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attention.layer.project": ("self_attn.o_proj",),
    "attention.layer.query_norm": ("self_attn.q_norm",),  # Qwen3's
    "attention.layer.key_norm": ("self_attn.k_norm",),
    "feed_forward.norm": ("post_attention_layernorm",),
    "feed_forward.layer.gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "feed_forward.layer.project": ("mlp.down_proj",),
}
BERT_OUTER: Table = {
    "encoder.embed": ("embeddings.word_embeddings",),
    "encoder.stack.added": ("embeddings.position_embeddings",),
    "encoder.norm": ("embeddings.LayerNorm",),
    "pooler.0": ("pooler.dense",),
}
BERT_BLOCK: Table = {
    "attention.layer.qkv": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "attention.layer.project": ("attention.output.dense",),
    "attention.norm": ("attention.output.LayerNorm",),
    "feed_forward.layer.expand": ("intermediate.dense",),
    "feed_forward.layer.project": ("output.dense",),
    "feed_forward.norm": ("output.LayerNorm",),
}
MARIAN_BLOCK: Table = {
    "attention.layer.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attention.layer.project": ("self_attn.out_proj",),
    "attention.norm": ("self_attn_layer_norm",),
    "feed_forward.layer.expand": ("fc1",),
    "feed_forward.layer.project": ("fc2",),
    "feed_forward.norm": ("final_layer_norm",),
}
MARIAN_CROSS: Table = {
    "cross.layer.query": ("encoder_attn.q_proj",),
    "cross.layer.key_value": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "cross.layer.project": ("encoder_attn.out_proj",),
    "cross.norm": ("encoder_attn_layer_norm",),
}


def gpt2_weights(tensors: Tensors, order: Sequence[int] | None = None) -> dict[str, Tensor]:
    """Weights of GPT2LMHeadModel or GPT2Model as those of `Decoder`."""
    theirs = without_prefix(tensors, "transformer.")
    # Its matrices are (inputs, outputs): it calls a linear layer a convolution of width one.
    turned = {
        name: t.t() if name.startswith("h.") and t.ndim == 2 and name.endswith(".weight") else t for name, t in theirs.items()
    }
    ours = {**renamed(turned, GPT2_OUTER), **blocks(turned, "h.", "stack.blocks.", GPT2_BLOCK)}
    return decoder_tables(ours, theirs, order)


def llama_weights(tensors: Tensors, order: Sequence[int] | None = None) -> dict[str, Tensor]:
    """Weights of LlamaForCausalLM or Qwen3ForCausalLM as those of `Decoder`."""
    theirs = without_prefix(tensors, "model.")
    ours = {**renamed(theirs, LLAMA_OUTER), **blocks(theirs, "layers.", "stack.blocks.", LLAMA_BLOCK)}
    return decoder_tables(ours, theirs, order)


def bert_weights(tensors: Tensors, order: Sequence[int] | None = None) -> dict[str, Tensor]:
    """Weights of BertModel, or of a model around one, as those of `EncoderClassifier`, all but the head's.

    Where the classifier's features are a mean, leave out the names that begin with `pooler`.
    """
    theirs = without_prefix(tensors, "bert.")
    ours = {**renamed(theirs, BERT_OUTER), **blocks(theirs, "encoder.layer.", "encoder.stack.blocks.", BERT_BLOCK)}
    # Segments: a single text is all of segment 0, so its vector is a part of every position's.
    ours["encoder.stack.added.weight"] = ours["encoder.stack.added.weight"] + theirs["embeddings.token_type_embeddings.weight"][0]
    ours["encoder.embed.weight"] = reordered(ours["encoder.embed.weight"], order)
    return ours


def marian_weights(tensors: Tensors, order: Sequence[int] | None = None) -> dict[str, Tensor]:
    """Weights of MarianMTModel, of one vocabulary, as those of `TransformerTranslator`.

    Marian begins a target with its padding id: let `order` name that for our `<bos>`.
    """
    theirs = without_prefix(tensors, "model.")
    ours = blocks(theirs, "encoder.layers.", "encoder.blocks.", MARIAN_BLOCK)
    ours.update(blocks(theirs, "decoder.layers.", "decoder.blocks.", {**MARIAN_BLOCK, **MARIAN_CROSS}))
    table = reordered(found(theirs, "shared.weight"), order)
    ours.update({"embed.weight": table, "embed_target.weight": table, "head.weight": table})
    ours["head.bias"] = reordered(found(theirs, "final_logits_bias")[0], order)
    return ours


def shapes(config: Mapping[str, Any]) -> tuple[Shape, ...]:
    """The shape that a checkpoint's config.json describes; of Marian the encoder's and the decoder's.

    Raises LaminaError for a family that has no table here, or a variant that our blocks lack.
    """
    kind, c = config.get("model_type"), config
    if kind == "gpt2":
        width = c["n_embd"]
        bend = activation(c.get("activation_function", "gelu_new"))
        hidden, eps = c.get("n_inner") or 4 * width, c.get("layer_norm_epsilon", 1e-5)
        return (Shape(width, c["n_layer"], c["n_head"], hidden, c["n_positions"], feed_forward=bend, eps=eps),)
    if kind in ("llama", "qwen3"):
        if (c.get("rope_scaling") or c.get("rope_parameters") or {}).get("rope_type", "default") != "default":
            raise LaminaError("config.json: expected plain rotary positions; got scaled ones")
        theta = c.get("rope_theta") or (c.get("rope_parameters") or {}).get("rope_theta", 10_000.0)
        sizes = (c["hidden_size"], c["num_hidden_layers"], c["num_attention_heads"], c["intermediate_size"])
        if sizes[2] * (c.get("head_dim") or sizes[0] // sizes[2]) != sizes[0]:
            raise LaminaError(f"config.json: expected heads that make up the width {sizes[0]}; got {sizes[2]} of {c['head_dim']}")
        more = c["max_position_embeddings"], c.get("num_key_value_heads"), "rms", "pre", "swiglu", "rotary", theta
        normed, eps = kind == "qwen3", c.get("rms_norm_eps", 1e-6)
        return (Shape(*sizes, *more, normed_heads=normed, bias=False, eps=eps),)
    if kind == "bert":
        sizes = (c["hidden_size"], c["num_hidden_layers"], c["num_attention_heads"], c["intermediate_size"])
        bend, eps = activation(c.get("hidden_act", "gelu")), c.get("layer_norm_eps", 1e-12)
        return (Shape(*sizes, c["max_position_embeddings"], placement="post", feed_forward=bend, eps=eps),)
    if kind == "marian":
        if not c.get("scale_embedding"):
            raise LaminaError("config.json: expected scale_embedding of Marian to be true")
        bend, length = activation(c.get("activation_function", "swish")), c["max_position_embeddings"]
        sides = [(c["d_model"], c[f"{s}_layers"], c[f"{s}_attention_heads"], c[f"{s}_ffn_dim"]) for s in ("encoder", "decoder")]
        return tuple(Shape(*s, length, placement="post", feed_forward=bend, positions="sinusoidal") for s in sides)
    raise LaminaError(f"config.json: expected the model_type gpt2, llama, qwen3, bert or marian; got {kind!r}")


def activation(name: str) -> Any:
    """Their name of a bend as ours. Raises LaminaError for one that our layers lack."""
    known = {
        "gelu": "gelu",
        "gelu_new": "gelu-tanh",
        "gelu_pytorch_tanh": "gelu-tanh",
        "relu": "relu",
        "swish": "silu",
        "silu": "silu",
    }
    if name not in known:
        raise LaminaError(f"config.json: expected an activation of {', '.join(known)}; got {name!r}")
    return known[name]


def without_prefix(tensors: Tensors, prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}


def renamed(tensors: Tensors, table: Table, theirs: str = "", ours: str = "") -> dict[str, Tensor]:
    """The layers of `table` that the checkpoint has: their weights and biases under our names."""
    made = {}
    for our_name, their_names in table.items():
        for kind in ("weight", "bias"):
            parts = [f"{theirs}{name}.{kind}" for name in their_names]
            if parts[0] in tensors:
                made[f"{ours}{our_name}.{kind}"] = torch.cat([found(tensors, part) for part in parts])
    return made


def blocks(tensors: Tensors, theirs: str, ours: str, table: Table) -> dict[str, Tensor]:
    """`renamed` for each block: theirs are at `theirs` + number, ours at `ours` + number."""
    numbers = {int(name.removeprefix(theirs).split(".")[0]) for name in tensors if name.startswith(theirs)}
    if not numbers:
        raise LaminaError(f"weights: expected names that begin with {theirs}0; got {', '.join(list(tensors)[:3])}")
    made = {}
    for number in sorted(numbers):
        made.update(renamed(tensors, table, f"{theirs}{number}.", f"{ours}{number}."))
    return made


def decoder_tables(ours: dict[str, Tensor], theirs: Tensors, order: Sequence[int] | None) -> dict[str, Tensor]:
    """With the table of embeddings in our order, and the last layer, which is that table where the checkpoint has none."""
    head = theirs.get("lm_head.weight", ours["embed.weight"])
    return {**ours, "embed.weight": reordered(ours["embed.weight"], order), "head.weight": reordered(head, order)}


def reordered(table: Tensor, order: Sequence[int] | None) -> Tensor:
    """Rows of `table` (V, ...) by our ids."""
    return table if order is None else table[torch.tensor(order)]


def found(tensors: Tensors, name: str) -> Tensor:
    if name not in tensors:
        raise LaminaError(f"weights: expected a tensor {name}; there is none")
    return tensors[name]
