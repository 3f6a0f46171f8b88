"""A Transformer that reads one sequence and writes another (Vaswani et al. 2017, "Attention Is All You Need").

What changed: blocks may be pre-norm and positions rotary (`Shape`), one block's attention to the source is returned, and the
source's own words may speak past the layers (`lamina.nn.lexical`) where that block looks: what is learned from a dictionary then
teaches this block to align, as Garg et al. 2019, "Jointly Learning to Align and Translate", teach it from alignments.

Shapes: B rows, S tokens of the source, T tokens of the target, D features, L layers, H heads, E features of a head, V tokens
known.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lamina.models.transformer import Memory, Shape, Stack, stacked, unstacked, xavier_weights
from lamina.nn import tokens as layout
from lamina.nn.attention import padding_mask
from lamina.nn.cache import LEAST, Appended, InPlace, of_capacity, with_room
from lamina.nn.lexical import Diagonal, Dictionary, there

State = dict[str, Tensor]


class TransformerTranslator(nn.Module):
    """source_BS and target_BT, int64 -> {"token_logits": (B, T, V), "attention": (B, T, S)}.

    The target begins with `<bos>`; at each place, the logits say what comes next. attention is the mean over heads of the
    block that aligns best, and sums to one over the source.
    source_vocabulary: None where both sides share one table of embeddings, which is then the last layer too (the paper, section
    3.4). translations: entries of a dictionary for each token of the source; 0: no dictionary. encoder and decoder have one
    width. Raises LaminaError where shapes do not fit together, or a row is longer than learned positions reach.
    """

    def __init__(
        self, vocabulary: int, encoder: Shape, decoder: Shape, source_vocabulary: int | None = None, translations: int = 0
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
        known = source_vocabulary or vocabulary, vocabulary
        self.dictionary = Dictionary(*known, translations) if translations else None
        self.diagonal = Diagonal() if translations else None
        self.head.weight = self.embed_target.weight
        if source_vocabulary is None:
            self.embed.weight = self.embed_target.weight

    def forward(self, source_BS: Tensor, target_BT: Tensor) -> dict[str, Tensor]:
        self.decoder.check_length(target_BT.shape[1])
        x_BSD, mask, words = self.read(source_BS)
        there_BT, back_BT = layout.to_left(target_BT)
        x_BTD, attention_BTS = self.write(
            target_BT.gather(1, there_BT), layout.places(target_BT), self.decoder.remember(x_BSD), mask, causal=True
        )
        x_BTD = x_BTD.gather(1, back_BT.unsqueeze(2).expand_as(x_BTD))
        attention_BTS = attention_BTS.gather(1, back_BT.unsqueeze(2).expand_as(attention_BTS))
        return {"token_logits": self.say(x_BTD, attention_BTS, words), "attention": attention_BTS}

    def read(self, source_BS: Tensor) -> tuple[Tensor, Tensor, State]:
        """The source, read (B, S, D), the mask of what may be attended to, and what `say` needs of the source's words."""
        self.encoder.check_length(source_BS.shape[1])
        mask = padding_mask(layout.inside(source_BS))
        word_BSD = self.embed(source_BS)
        x_BSD = self.encoder(word_BSD * self.scale, layout.row_positions(source_BS), mask)
        if self.dictionary is None:
            return x_BSD, mask, {}
        return x_BSD, mask, {"memory_tokens": source_BS, "memory_there": there(word_BSD, source_BS, self.embed.weight)}

    def write(
        self,
        target_BT: Tensor,
        place_BT: Tensor,
        memory: Memory,
        memory_mask: Tensor,
        mask: Tensor | None = None,
        causal: bool = False,
        cache: InPlace | Appended | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The decoder (B, T, D), and where it looks in the source (B, T, S). mask, causal, cache: as of `Stack`."""
        seen: list[Tensor] = []
        lean_BTS = self.diagonal(place_BT, memory_mask[:, 0, 0]) if self.diagonal is not None else None
        x_BTD = self.decoder(
            self.embed_target(target_BT) * self.scale, place_BT, mask, causal, cache,
            memory, memory_mask, seen, lean_BTS,
        )  # fmt: skip
        return x_BTD, seen[0]

    def say(self, x_BTD: Tensor, attention_BTS: Tensor, words: State) -> Tensor:
        """The logits (B, T, V), with what the dictionary says, if there is one, of the words that attention falls on."""
        logits_BTV = self.head(x_BTD).float()
        if self.dictionary is None:
            return logits_BTV
        return logits_BTV + self.dictionary(attention_BTS, words["memory_tokens"], words["memory_there"])

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
        x_BSD, mask, words = self.read(source_BS)
        memory = self.decoder.remember(x_BSD)
        target_BT = layout.to_right(target_BT)
        mask_BTT, cache = layout.causal_mask(target_BT, restarts=False), Appended()
        positions_BT = layout.positions(mask_BTT)
        x_BTD, attention_BTS = self.write(target_BT, positions_BT, memory, mask, mask_BTT.unsqueeze(1), cache=cache)
        logits_B1V = self.say(x_BTD[:, -1:], attention_BTS[:, -1:], words)
        keys, values = cache.tensors()
        memory_keys, memory_values = stacked(memory)
        return logits_B1V[:, 0], {
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
        place_B1 = inside_BT.sum(1, keepdim=True) - 1
        memory = unstacked(state["memory_keys"], state["memory_values"])
        memory_mask = state["memory_inside"][:, None, None]
        x_B1D, attention_B1S = self.write(
            token_B.unsqueeze(1), place_B1, memory, memory_mask, inside_BT[:, None, None], cache=cache
        )
        logits_B1V = self.say(x_B1D, attention_B1S, state)
        keys, values = cache.tensors()
        return logits_B1V[:, 0], {**state, "keys": keys, "values": values, "inside": inside_BT}

    @property
    def state_dims(self) -> dict[str, tuple[str | int, ...]]:
        """The state of the graphs: a string is a size that varies."""
        shape = self.decoder.shape
        heads, width = shape.heads, shape.width // shape.heads
        cache = ("B", shape.depth, shape.groups or heads, "T", width)
        memory = ("B", shape.depth, heads, "S", width)
        return {
            **({"memory_tokens": ("B", "S"), "memory_there": ("B", "S")} if self.dictionary else {}),
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
