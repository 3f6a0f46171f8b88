"""Parts of a network that stay in float32 while the rest computes in bfloat16."""

from __future__ import annotations

import contextlib
from typing import Any

import torch


def full_precision(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Turns autocast off: a number to regress on keeps its digits, of which bfloat16 has eight bits."""
    return contextlib.nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)
