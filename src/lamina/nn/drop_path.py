"""Stochastic depth (Huang et al. 2016, "Deep Networks with Stochastic Depth"): skip a residual branch for some examples."""

from __future__ import annotations

from torch import Tensor, nn

from lamina.errors import LaminaError


class DropPath(nn.Module):
    """While training, zero the whole branch of an example with probability `rate`, and divide the rest by 1 - rate.

    Input and output (B, ...). The paper scales when testing; scaling when training has the same mean and leaves
    evaluation the identity. Raises LaminaError unless 0 <= rate < 1.
    """

    def __init__(self, rate: float = 0.0):
        super().__init__()
        if not 0 <= rate < 1:
            raise LaminaError(f"drop_path: expected a rate from 0 to below 1, got {rate}")
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if self.rate == 0 or not self.training:
            return x
        keep = 1 - self.rate
        # One draw an example. The mask is cheap, so it multiplies rather than selects: nothing waits for the device.
        kept = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(keep)
        return x * (kept / keep)

    def extra_repr(self) -> str:
        return f"rate={self.rate:g}"


def linear_rates(greatest: float, count: int) -> list[float]:
    """Drop rates that rise linearly with depth from 0 to `greatest` over `count` blocks (Huang et al. 2016, section 3).

    The first block never drops: early features are used by all that follows.
    """
    return [greatest * i / max(count - 1, 1) for i in range(count)]
