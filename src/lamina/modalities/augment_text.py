"""Augmentation of token ids, whole batches at a time: what differs a little from what training shows, and means the same.

    word dropout   tokens become unknown                              Iyyer et al. 2015, section 4.1 (there: are left out)
    deletion       tokens are left out                                Wei and Zou 2019 (EDA)
    swap           neighbours change places                           Wei and Zou 2019; Artetxe et al. 2018
    span           a stretch becomes unknown                          Joshi et al. 2020, of whole spans; DeVries 2017, cutout

The first and the last token that are no padding (the beginning and the end) stay. B texts, T tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

UNKNOWN = 1


def inner(x_BT: Tensor) -> Tensor:
    """Which tokens (B, T) are neither padding nor the first or the last of their text."""
    there_BT = x_BT != 0
    place_BT = there_BT.long().cumsum(1)
    return there_BT & (place_BT > 1) & (place_BT < place_BT.amax(1, keepdim=True))


def changed(x_BT: Tensor, generator: torch.Generator, forgotten: float, deleted: float, swapped: float, blanked: float) -> Tensor:
    """All of them in turn, by their shares; 0 is none."""
    for change, share in ((swap, swapped), (span, blanked), (word_dropout, forgotten), (deletion, deleted)):
        x_BT = change(x_BT, share, generator) if share else x_BT
    return x_BT


def word_dropout(x_BT: Tensor, share: float, generator: torch.Generator, unknown: int = UNKNOWN) -> Tensor:
    """A `share` of the tokens becomes `unknown`."""
    import torch

    chance_BT = torch.rand(x_BT.shape, generator=generator, device=x_BT.device)
    return x_BT.masked_fill(inner(x_BT) & (chance_BT < share), unknown)


def deletion(x_BT: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """A `share` of the tokens is left out; what remains moves together, padding behind it."""
    import torch

    chance_BT = torch.rand(x_BT.shape, generator=generator, device=x_BT.device)
    gone_BT = (inner(x_BT) & (chance_BT < share)) | (x_BT == 0)
    order_BT = gone_BT.long().argsort(dim=1, stable=True)
    return x_BT.masked_fill(gone_BT, 0).gather(1, order_BT)


def swap(x_BT: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """About a `share` of the tokens changes places with the next one. Pairs do not overlap."""
    import torch

    if x_BT.shape[1] < 2:
        return x_BT
    inside_BT = inner(x_BT)
    start = int(torch.randint(2, (1,), generator=generator, device=x_BT.device))
    pairs = torch.arange(start, x_BT.shape[1] - 1, 2, device=x_BT.device)
    chance_BP = torch.rand((len(x_BT), len(pairs)), generator=generator, device=x_BT.device)
    chosen_BP = (chance_BP < share) & inside_BT[:, pairs] & inside_BT[:, pairs + 1]
    first_BP, second_BP = x_BT[:, pairs], x_BT[:, pairs + 1]
    swapped_BT = x_BT.clone()
    swapped_BT[:, pairs] = torch.where(chosen_BP, second_BP, first_BP)
    swapped_BT[:, pairs + 1] = torch.where(chosen_BP, first_BP, second_BP)
    return swapped_BT


def span(x_BT: Tensor, share: float, generator: torch.Generator, unknown: int = UNKNOWN) -> Tensor:
    """One stretch of each text, of a length up to a `share` of it, becomes `unknown`."""
    import torch

    inside_BT = inner(x_BT)
    place_BT = inside_BT.long().cumsum(1)
    count_B1 = place_BT.amax(1, keepdim=True)
    draw_B2 = torch.rand((len(x_BT), 2), generator=generator, device=x_BT.device)
    size_B1 = (draw_B2[:, :1] * (share * count_B1 + 1)).floor()
    start_B1 = (draw_B2[:, 1:] * (count_B1 - size_B1 + 1)).floor()
    return x_BT.masked_fill(inside_BT & (place_BT > start_B1) & (place_BT <= start_B1 + size_B1), unknown)
