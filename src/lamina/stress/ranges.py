"""What the settings of corruptions and attacks may be. Light: neither torch nor numpy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lamina.train.options import expect

if TYPE_CHECKING:
    from lamina.stress.settings import Settings


def check_ranges(settings: Settings) -> None:
    """Raises LaminaError naming the first flag of corruptions and attacks whose value makes no sense."""
    s = settings
    whole = len(s.severities) > 0 and all(n in range(1, 6) for n in s.severities)
    expect("severities", s.severities, whole and len(set(s.severities)) == len(s.severities), "different numbers from 1 to 5")
    expect("norm", s.norm, s.norm in ("linf", "l2"), "linf or l2")
    expect("eps", s.eps, s.eps is None or 0 < s.eps < math.inf, "a number above 0")
    for flag in ("corruption_examples", "attack_steps", "restarts", "attack_queries", "attack_examples"):
        value = getattr(s, flag)
        expect(flag.replace("_", "-"), value, value >= 1, "1 or more")
