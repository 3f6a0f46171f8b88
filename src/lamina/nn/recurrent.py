"""Recurrent layers: the equations of three cells, and one layer in one direction that runs them over time.

The equations are written out below, and are what a step of generation computes. Whole sequences go through torch.nn's kernels
with the very same weights: a loop in Python over 100 tokens costs 100 times the overhead of every small operation, and
autograd would keep each. `tests/test_recurrent.py` holds both to the same numbers.

Padding stands on the right here (the networks move it there): a kernel that runs forward then meets every token before any
padding, so no lengths are needed.

Export: the kernels stay one operation (`lamina.export.graph.recurrences_kept`), ONNX's own LSTM and GRU; what ONNX cannot say
so, Elman's cell as torch has it and state that starts anew within a row, goes through `scan`, whose time axis stays open too.

Shapes: B rows, T tokens, D inputs, H hidden units, P parts of a state (LSTM: hidden and cell, 2; else 1).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamina.errors import LaminaError

Kind = Literal["rnn", "lstm", "gru"]
Cell = Callable[[Tensor, tuple[Tensor, ...], nn.RNNBase], tuple[Tensor, ...]]


def gates(kernel: nn.RNNBase, x_BD: Tensor, h_BH: Tensor) -> tuple[Tensor, Tensor]:
    """W_i x + b_i and W_h h + b_h, for all gates at once."""
    w: dict[str, Tensor] = {name: getattr(kernel, f"{name}_l0") for name in ("weight_ih", "bias_ih", "weight_hh", "bias_hh")}
    return F.linear(x_BD, w["weight_ih"], w["bias_ih"]), F.linear(h_BH, w["weight_hh"], w["bias_hh"])


def elman(x_BD: Tensor, state: tuple[Tensor, ...], kernel: nn.RNNBase) -> tuple[Tensor, ...]:
    """Elman 1990, "Finding Structure in Time": h' = tanh(W_i x + b_i + W_h h + b_h)."""
    (h,) = state
    from_input, from_state = gates(kernel, x_BD, h)
    return ((from_input + from_state).tanh(),)


def lstm(x_BD: Tensor, state: tuple[Tensor, ...], kernel: nn.RNNBase) -> tuple[Tensor, ...]:
    """Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000: c' = f c + i g, h' = o tanh(c')."""
    h, c = state
    from_input, from_state = gates(kernel, x_BD, h)
    i, f, g, o = (from_input + from_state).chunk(4, 1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def gru(x_BD: Tensor, state: tuple[Tensor, ...], kernel: nn.RNNBase) -> tuple[Tensor, ...]:
    """Cho et al. 2014, in the form that runs in one product: n = tanh(W x + r (U h)), h' = (1 - z) n + z h.

    The paper resets h before the product, U (r h); this is its second version's form, and cuDNN's and torch's.
    """
    (h,) = state
    from_input, from_state = gates(kernel, x_BD, h)
    r_x, z_x, n_x = from_input.chunk(3, 1)
    r_h, z_h, n_h = from_state.chunk(3, 1)
    r, z = (r_x + r_h).sigmoid(), (z_x + z_h).sigmoid()
    n = (n_x + r * n_h).tanh()
    return ((1 - z) * n + z * h,)


def in_float32(x: Tensor) -> bool:
    """Whether the kernels compute in float32 though asked for less: oneDNN has no LSTM in bfloat16 where a processor has AVX2
    alone, and raises."""
    return x.device.type == "cpu" and torch.backends.cpu.get_cpu_capability() == "AVX2"


CELLS: dict[str, tuple[type[nn.RNNBase], Cell]] = {"rnn": (nn.RNN, elman), "lstm": (nn.LSTM, lstm), "gru": (nn.GRU, gru)}


class Recurrent(nn.Module):
    """One layer, forward in time: x_BTD -> (B, T, H). A state is (B, P, H), zeros where None.

    Starts with orthogonal recurrent matrices (Saxe et al. 2014), Glorot's for inputs, and a forget gate that is open
    (Jozefowicz et al. 2015). Raises LaminaError for another kind.
    """

    def __init__(self, kind: Kind, inputs: int, hidden: int):
        super().__init__()
        if kind not in CELLS:
            raise LaminaError(f"kind: expected one of {list(CELLS)}, got {kind!r}")
        kernel, self.cell = CELLS[kind]
        self.kernel = kernel(inputs, hidden, batch_first=True)  # type: ignore[call-arg]
        self.kind, self.hidden, self.parts = kind, hidden, 2 if kind == "lstm" else 1
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for name, parameter in self.kernel.named_parameters():
            if name.startswith("bias"):
                nn.init.zeros_(parameter)
                continue
            for gate in parameter.detach().split(self.hidden):
                (nn.init.orthogonal_ if name.startswith("weight_hh") else nn.init.xavier_uniform_)(gate)
        if self.kind == "lstm":
            nn.init.ones_(self.kernel.bias_ih_l0.detach()[self.hidden : 2 * self.hidden])  # type: ignore[union-attr]

    def forward(self, x_BTD: Tensor, state_BPH: Tensor | None = None) -> Tensor:
        """What the layer says at each token; padding, on the right, is read too, and what is said there means nothing."""
        if self.kind == "rnn" and torch.compiler.is_exporting():
            every = torch.ones_like(x_BTD[..., 0], dtype=torch.bool)
            return self.unrolled(x_BTD, every, ~every, state_BPH)[0]
        if in_float32(x_BTD):
            with torch.autocast("cpu", enabled=False):
                return self.kernel(x_BTD.float(), self.for_kernel(x_BTD.float(), state_BPH))[0]
        return self.kernel(x_BTD, self.for_kernel(x_BTD, state_BPH))[0]

    def finish(self, x_BTD: Tensor, length_B: Tensor, state_BPH: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What the layer says, and its state after each row's `length` tokens (B, P, H). Waits for the device once."""
        if torch.compiler.is_exporting():
            real_BT = torch.arange(x_BTD.shape[1], device=x_BTD.device) < length_B.unsqueeze(1)
            return self.unrolled(x_BTD, real_BT, torch.zeros_like(real_BT), state_BPH)
        x_BTD = x_BTD.float() if in_float32(x_BTD) else x_BTD
        lengths = length_B.cpu().clamp(min=1)  # none may be empty; what an empty row gives is replaced below
        packed = nn.utils.rnn.pack_padded_sequence(x_BTD, lengths, True, enforce_sorted=False)
        with torch.autocast("cpu", enabled=False) if in_float32(x_BTD) else contextlib.nullcontext():
            said, last = self.kernel(packed, self.for_kernel(x_BTD, state_BPH))
        y_BTH, _ = nn.utils.rnn.pad_packed_sequence(said, True, total_length=x_BTD.shape[1])
        last_BPH = torch.stack([part[0] for part in (last if self.kind == "lstm" else (last,))], 1)
        before_BPH = self.start(x_BTD) if state_BPH is None else state_BPH
        return y_BTH, torch.where(length_B.view(-1, 1, 1) > 0, last_BPH, before_BPH)

    def step(self, x_BD: Tensor, state_BPH: Tensor) -> Tensor:
        """The state after one more token (B, P, H); its first part is what the layer says."""
        return torch.stack(self.cell(x_BD, state_BPH.unbind(1), self.kernel), 1)

    def unrolled(
        self, x_BTD: Tensor, real_BT: Tensor, reset_BT: Tensor, state_BPH: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The equations, token by token: what the layer says (B, T, H), and its last state (B, P, H).

        The state passes unchanged where `real` is False, and is zero before a token where `reset` is True.
        """
        state = (self.start(x_BTD) if state_BPH is None else state_BPH).unbind(1)
        over_time = (x_BTD.transpose(0, 1), real_BT.t().unsqueeze(-1), reset_BT.t().unsqueeze(-1))

        def one(before: tuple[Tensor, ...], now: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], Tensor]:
            x_BD, real_B1, reset_B1 = now
            before = tuple(part.masked_fill(reset_B1, 0.0) for part in before)
            after = self.cell(x_BD, before, self.kernel)
            after = tuple(torch.where(real_B1, new, old) for new, old in zip(after, before, strict=True))
            return after, after[0].clone()

        if torch.compiler.is_exporting():
            from torch._higher_order_ops.scan import scan

            state, y_TBH = scan(one, tuple(part.clone() for part in state), over_time)
            return y_TBH.transpose(0, 1), torch.stack(tuple(state), 1)
        said = []
        for now in zip(*over_time, strict=True):
            state, y_BH = one(state, now)
            said.append(y_BH)
        return torch.stack(said, 1), torch.stack(state, 1)

    def start(self, x_BTD: Tensor) -> Tensor:
        return x_BTD.new_zeros(x_BTD.shape[0], self.parts, self.hidden)

    def for_kernel(self, x_BTD: Tensor, state_BPH: Tensor | None) -> Tensor | tuple[Tensor, Tensor]:
        """The state as torch.nn has it: (1, B, H), or a pair of these."""
        state_BPH = self.start(x_BTD) if state_BPH is None else state_BPH.to(x_BTD.dtype)
        parts = state_BPH.transpose(0, 1).unsqueeze(1).contiguous().unbind(0)
        return (parts[0], parts[1]) if self.kind == "lstm" else parts[0]


class Bidirectional(nn.Module):
    """A layer forward and one backward in time, side by side (Schuster & Paliwal 1997): x_BTD -> (B, T, 2H).

    The backward one reads each row's tokens from the last to the first; padding stays on the right for it too.
    """

    def __init__(self, kind: Kind, inputs: int, hidden: int):
        super().__init__()
        self.ahead, self.back = Recurrent(kind, inputs, hidden), Recurrent(kind, inputs, hidden)

    def forward(self, x_BTD: Tensor, length_B: Tensor) -> Tensor:
        place_1T = torch.arange(x_BTD.shape[1], device=x_BTD.device).unsqueeze(0)
        length_B1 = length_B.unsqueeze(1)
        mirror_BT1 = torch.where(place_1T < length_B1, length_B1 - 1 - place_1T, place_1T).unsqueeze(2)
        y_BTH = self.back(x_BTD.gather(1, mirror_BT1.expand_as(x_BTD)))
        return torch.cat([self.ahead(x_BTD), y_BTH.gather(1, mirror_BT1.expand_as(y_BTH))], 2)
