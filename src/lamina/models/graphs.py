"""Generation as two graphs: what `begin` and `step` compute, as modules that `torch.export` takes.

A model that generates has `begin_graph`, `step_graph` and `state_dims`. The outputs of both graphs are `token_logits` (B, V) and
then the state, by name, which is what the next step takes after its token: outputs feed inputs of the same name.

Shapes: B rows, V tokens known.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

TOKEN, LOGITS = "token", "token_logits"


class Begin(nn.Module):
    """The model's inputs -> {"token_logits": (B, V), and the state by name}."""

    def __init__(self, model: Any):
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        logits_BV, state = self.model.begin_graph(*inputs)
        return {LOGITS: logits_BV, **{name: state[name] for name in self.model.state_dims}}


class Step(nn.Module):
    """token_B, then the state in the order of `state_dims` -> {"token_logits": (B, V), and the state by name}."""

    def __init__(self, model: Any):
        super().__init__()
        self.model = model

    def forward(self, token_B: Tensor, *state: Tensor) -> dict[str, Tensor]:
        before = dict(zip(self.model.state_dims, state, strict=True))
        logits_BV, after = self.model.step_graph(token_B, before)
        return {LOGITS: logits_BV, **{name: after[name] for name in self.model.state_dims}}

    def dynamic_shapes(self, most: dict[str, int] | None = None) -> tuple[dict[int, Any], tuple[dict[int, Any], ...]]:
        """For `torch.export.export`: the sizes that vary, one Dim for each name. most: the greatest of each."""
        names = {size for dims in self.model.state_dims.values() for size in dims if isinstance(size, str)} | {"B"}
        dims = {name: torch.export.Dim(name, min=1, max=(most or {}).get(name)) for name in sorted(names)}
        state = tuple({i: dims[d] for i, d in enumerate(sizes) if isinstance(d, str)} for sizes in self.model.state_dims.values())
        return {0: dims["B"]}, state
