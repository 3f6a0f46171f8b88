"""A Transformer decoder that continues text: GPT-2 (Radford et al. 2019) and Llama (Touvron et al. 2023), which differ in
their `Shape`.

Padding and documents. Padding may stand left or right. With `restarts`, a `<bos>` inside a row begins a new document:
attention and positions start anew there, so documents packed into one row do not see each other. This costs a mask; without
`restarts`, rows are moved to the left instead, and the kernel's own causal path, which skips half of the work, is taken.

Shapes: B rows, T tokens, S tokens seen, C capacity of a cache, D features, L layers, G key-value heads, E features of a head,
V tokens known.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lamina.models.transformer import Shape, Stack, normal_weights, scale_residuals
from lamina.nn import tokens as layout
from lamina.nn.cache import LEAST, Appended, InPlace, of_capacity, with_room

State = dict[str, Tensor]


class Decoder(nn.Module):
    """tokens_BT, int64 -> {"token_logits": (B, T, V)}: at each place, what comes next. At padding they mean nothing.

    tied: the last layer is the table of embeddings (Press & Wolf 2017).
    Raises LaminaError where the shape does not fit together, or a row is longer than learned positions reach.
    """

    def __init__(self, vocabulary: int, shape: Shape, tied: bool = True, restarts: bool = True):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, shape.width)
        self.stack = Stack(shape)
        self.head = nn.Linear(shape.width, vocabulary, bias=False)
        self.restarts = restarts
        normal_weights(self)
        scale_residuals(self.stack)
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, tokens_BT: Tensor) -> dict[str, Tensor]:
        self.stack.check_length(tokens_BT.shape[1])
        if self.restarts:
            mask_BTT = layout.causal_mask(tokens_BT, restarts=True)
            x_BTD = self.stack(self.embed(tokens_BT), layout.positions(mask_BTT), mask_BTT.unsqueeze(1))
        else:
            there_BT, back_BT = layout.to_left(tokens_BT)
            x_BTD = self.embed(tokens_BT.gather(1, there_BT))
            x_BTD = self.stack(x_BTD, layout.places(tokens_BT), causal=True)
            x_BTD = x_BTD.gather(1, back_BT.unsqueeze(2).expand_as(x_BTD))
        return {"token_logits": self.head(x_BTD).float()}

    # Generation. `begin` and `step` keep a cache in place; the two for graphs say the same without writing into their inputs.

    def begin(self, tokens_BT: Tensor) -> tuple[Tensor, State]:
        """What comes after each row (B, V), and the state to go on from: `keys`, `values` (B, L, G, C, E), `inside` (B, S)."""
        logits_BV, state = self.begin_graph(tokens_BT)
        room = tokens_BT.shape[1] + LEAST
        return logits_BV, {**state, **{name: of_capacity(state[name], room) for name in ("keys", "values")}}

    def step(self, token_B: Tensor, state: State) -> tuple[Tensor, State]:
        """What comes after one more token a row (B, V), and the state after it. Writes into the tensors of `state`."""
        seen = state["inside"].shape[1]
        cache = InPlace(with_room(state["keys"], seen), with_room(state["values"], seen), seen)
        return self.stepped(token_B, state["inside"], cache)

    def begin_graph(self, tokens_BT: Tensor) -> tuple[Tensor, State]:
        """`begin` with no room to spare: C = S = T."""
        self.stack.check_length(tokens_BT.shape[1])
        if self.restarts:  # only a row's last document is ever seen again
            tokens_BT = layout.last_document(tokens_BT)
        tokens_BT = layout.to_right(tokens_BT)
        mask_BTT, cache = layout.causal_mask(tokens_BT, restarts=False), Appended()
        x_BTD = self.stack(self.embed(tokens_BT), layout.positions(mask_BTT), mask_BTT.unsqueeze(1), cache=cache)
        keys, values = cache.tensors()
        return self.head(x_BTD[:, -1]).float(), {"keys": keys, "values": values, "inside": layout.inside(tokens_BT)}

    def step_graph(self, token_B: Tensor, state: State) -> tuple[Tensor, State]:
        """`step` that takes a state with C = S, and gives one with C = S + 1."""
        return self.stepped(token_B, state["inside"], Appended(state["keys"], state["values"]))

    def stepped(self, token_B: Tensor, inside_BS: Tensor, cache: InPlace | Appended) -> tuple[Tensor, State]:
        self.stack.check_length(inside_BS.shape[1] + 1)
        if self.restarts:
            inside_BS = inside_BS & (token_B != layout.BOS).unsqueeze(1)
        inside_BS = torch.cat([inside_BS, torch.ones_like(inside_BS[:, :1])], 1)
        positions_B1 = inside_BS.sum(1, keepdim=True) - 1
        x_B1D = self.stack(self.embed(token_B.unsqueeze(1)), positions_B1, inside_BS[:, None, None], cache=cache)
        keys, values = cache.tensors()
        return self.head(x_B1D[:, 0]).float(), {"keys": keys, "values": values, "inside": inside_BS}

    @property
    def state_dims(self) -> dict[str, tuple[str | int, ...]]:
        """The state of the graphs: a string is a size that varies."""
        shape = self.stack.shape
        cache = ("B", shape.depth, shape.groups or shape.heads, "S", shape.width // shape.heads)
        return {"keys": cache, "values": cache, "inside": ("B", "S")}


def gpt2(width: int = 768, depth: int = 12, heads: int = 12, length: int = 1024, dropout: float = 0.1) -> Shape:
    """The shape of GPT-2 (small, by default): pre-norm, learned positions, GELU by the tanh formula."""
    return Shape(width, depth, heads, 4 * width, length, feed_forward="gelu-tanh", dropout=dropout, attention_dropout=dropout)


def llama(
    width: int, depth: int, heads: int, length: int, groups: int | None = None, hidden: int | None = None, dropout: float = 0.0
) -> Shape:
    """The shape of Llama: RMSNorm, rotary positions, SwiGLU, no biases. hidden: 8/3 D in steps of 64 where None."""
    hidden = hidden or -(-8 * width // 3 // 64) * 64
    return Shape(
        width, depth, heads, hidden, length, groups, "rms", "pre", "swiglu", "rotary", bias=False, eps=1e-6, dropout=dropout
    )
