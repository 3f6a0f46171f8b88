"""A Transformer that reads one sequence and writes another (Vaswani et al. 2017, "Attention Is All You Need").

What changed: blocks may be pre-norm and positions rotary (`Shape`), one block's attention to the source is returned, and the
source's own words may speak past the layers (`lamina.nn.lexical`).

Shapes: B rows, S tokens of the source, T tokens of the target, D features, L layers, H heads, E features of a head, V tokens
known.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lamina.models.transformer import Shape, Stack, stacked, unstacked, xavier_weights
from lamina.nn import tokens as layout
from lamina.nn.attention import padding_mask
from lamina.nn.cache import LEAST, Appended, InPlace, of_capacity, with_room
from lamina.nn.lexical import Lexical, Pointer

State = dict[str, Tensor]


class TransformerTranslator(nn.Module):
    """source_BS and target_BT, int64 -> {"token_logits": (B, T, V), "attention": (B, T, S)}.

    The target begins with `<bos>`; at each place, the logits say what comes next. attention is the mean over heads of the
    block that aligns best, and sums to one over the source; with `lexical` it is that which points at the source's words.
    source_vocabulary: None where both sides share one table of
    embeddings, which is then the last layer too (the paper, section 3.4). encoder and decoder have one width. Raises
    LaminaError where shapes do not fit together, or a row is longer than learned positions reach.
    """

    def __init__(
        self, vocabulary: int, encoder: Shape, decoder: Shape, source_vocabulary: int | None = None, lexical: bool = False
    ):
        super().__init__()
        self.embed = nn.Embedding(source_vocabulary or vocabulary, encoder.width)
        self.embed_target = nn.Embedding(vocabulary, decoder.width)
        self.encoder, self.decoder = Stack(encoder), Stack(decoder, cross=True)
        self.head = nn.Linear(decoder.width, vocabulary)
        xavier_weights(self)
        # Embeddings of deviation D^-0.5 serve both ends: times sqrt(D) they match the waves that are added, and as the
        # last layer they keep the logits near one.
        for table in (self.embed, self.embed_target):
            nn.init.normal_(table.weight, std=decoder.width**-0.5)
        self.scale = decoder.width**0.5
        self.pointer = Pointer(decoder.width, encoder.width) if lexical else None
        self.lexical = Lexical(decoder.width, self.scale) if lexical else None
        self.head.weight = self.embed_target.weight
        if source_vocabulary is None:
            self.embed.weight = self.embed_target.weight

    def forward(self, source_BS: Tensor, target_BT: Tensor) -> dict[str, Tensor]:
        self.decoder.check_length(target_BT.shape[1])
        x_BSD, mask, word_BSD = self.read(source_BS)
        seen: list[Tensor] = []
        there_BT, back_BT = layout.to_left(target_BT)
        x_BTD = self.embed_target(target_BT.gather(1, there_BT)) * self.scale
        places_1T = layout.places(target_BT)
        memory = self.decoder.remember(x_BSD)
        x_BTD = self.decoder(
            x_BTD, places_1T, causal=True, memory=memory, memory_mask=mask, seen=seen if self.lexical is None else None
        )
        x_BTD, pointed_BTS = self.with_words(x_BTD, self.words(word_BSD, x_BSD, mask))
        attention_BTS = seen[0] if pointed_BTS is None else pointed_BTS
        x_BTD = x_BTD.gather(1, back_BT.unsqueeze(2).expand_as(x_BTD))
        attention_BTS = attention_BTS.gather(1, back_BT.unsqueeze(2).expand_as(attention_BTS))
        return {"token_logits": self.head(x_BTD).float(), "attention": attention_BTS}

    def read(self, source_BS: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The source, read (B, S, D), the mask of what may be attended to, and the embeddings (B, S, D)."""
        self.encoder.check_length(source_BS.shape[1])
        mask = padding_mask(layout.inside(source_BS))
        word_BSD = self.embed(source_BS)
        return self.encoder(word_BSD * self.scale, layout.row_positions(source_BS), mask), mask, word_BSD

    def words(self, word_BSD: Tensor, x_BSD: Tensor, mask: Tensor) -> State:
        """What `with_words` needs of the source."""
        if self.pointer is None:
            return {}
        return {
            "memory_words": word_BSD,
            "memory_pointers": self.pointer.keys(x_BSD),
            "memory_inside": mask[:, 0, 0],
        }

    def with_words(self, x_BTD: Tensor, words: State) -> tuple[Tensor, Tensor | None]:
        """x_BTD with what the source's own words add to it, and where it looks for them (B, T, S), if they speak."""
        if self.pointer is None or self.lexical is None:
            return x_BTD, None
        weight_BTS = self.pointer(x_BTD, words["memory_pointers"], words["memory_inside"])
        return x_BTD + self.lexical(weight_BTS, words["memory_words"]), weight_BTS

    # Generation, as in `transformer_decoder.py`: the memory of the source is computed once.

    def begin(self, source_BS: Tensor, target_BT: Tensor) -> tuple[Tensor, State]:
        """What comes after each target (B, V), and the state to go on from."""
        logits_BV, state = self.begin_graph(source_BS, target_BT)
        room = target_BT.shape[1] + LEAST
        return logits_BV, {**state, **{name: of_capacity(state[name], room) for name in ("keys", "values")}}

    def step(self, token_B: Tensor, state: State) -> tuple[Tensor, State]:
        """What comes after one more token a row (B, V), and the state after it. Writes into the tensors of `state`."""
        seen = state["inside"].shape[1]
        cache = InPlace(with_room(state["keys"], seen), with_room(state["values"], seen), seen)
        return self.stepped(token_B, state, cache)

    def begin_graph(self, source_BS: Tensor, target_BT: Tensor) -> tuple[Tensor, State]:
        """`begin` with no room to spare: C = T."""
        self.decoder.check_length(target_BT.shape[1])
        x_BSD, mask, word_BSD = self.read(source_BS)
        memory, words = self.decoder.remember(x_BSD), self.words(word_BSD, x_BSD, mask)
        target_BT = layout.to_right(target_BT)
        mask_BTT, cache = layout.causal_mask(target_BT, restarts=False), Appended()
        x_BTD = self.embed_target(target_BT) * self.scale
        positions_BT = layout.positions(mask_BTT)
        x_BTD = self.decoder(x_BTD, positions_BT, mask_BTT.unsqueeze(1), cache=cache, memory=memory, memory_mask=mask)
        x_B1D, _ = self.with_words(x_BTD[:, -1:], words)
        keys, values = cache.tensors()
        memory_keys, memory_values = stacked(memory)
        return self.head(x_B1D[:, 0]).float(), {
            **words,
            "keys": keys,
            "values": values,
            "inside": layout.inside(target_BT),
            "memory_keys": memory_keys,
            "memory_values": memory_values,
            "memory_inside": mask[:, 0, 0],
        }

    def step_graph(self, token_B: Tensor, state: State) -> tuple[Tensor, State]:
        """`step` that takes a state with C = T, and gives one with C = T + 1."""
        return self.stepped(token_B, state, Appended(state["keys"], state["values"]))

    def stepped(self, token_B: Tensor, state: State, cache: InPlace | Appended) -> tuple[Tensor, State]:
        self.decoder.check_length(state["inside"].shape[1] + 1)
        inside_BT = torch.cat([state["inside"], torch.ones_like(state["inside"][:, :1])], 1)
        x_B1D = self.decoder(
            self.embed_target(token_B.unsqueeze(1)) * self.scale,
            inside_BT.sum(1, keepdim=True) - 1,
            inside_BT[:, None, None],
            cache=cache,
            memory=unstacked(state["memory_keys"], state["memory_values"]),
            memory_mask=state["memory_inside"][:, None, None],
        )
        x_B1D, _ = self.with_words(x_B1D, state)
        keys, values = cache.tensors()
        return self.head(x_B1D[:, 0]).float(), {**state, "keys": keys, "values": values, "inside": inside_BT}

    @property
    def state_dims(self) -> dict[str, tuple[str | int, ...]]:
        """The state of the graphs: a string is a size that varies."""
        shape = self.decoder.shape
        heads, width = shape.heads, shape.width // shape.heads
        cache = ("B", shape.depth, shape.groups or heads, "T", width)
        memory = ("B", shape.depth, heads, "S", width)
        words = {"memory_words": ("B", "S", shape.width), "memory_pointers": ("B", "S", shape.width)} if self.lexical else {}
        return {
            **words,
            "keys": cache,
            "values": cache,
            "inside": ("B", "T"),
            "memory_keys": memory,
            "memory_values": memory,
            "memory_inside": ("B", "S"),
        }


def vaswani(width: int, depth: int, heads: int, length: int, dropout: float = 0.1) -> Shape:
    """The paper's shape: post-norm, sinusoidal positions, ReLU, hidden layers of 4 D. `placement="pre"` trains more easily."""
    return Shape(
        width, depth, heads, 4 * width, length, placement="post", feed_forward="relu", positions="sinusoidal", dropout=dropout
    )
