"""What the measurements say, for somebody who is no engineer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def sentences(names: Sequence[str], rows: Sequence[dict[str, Any]], threads: int) -> tuple[str, ...]:
    """The most important first, each with its number in it."""
    first = rows[0]
    p50, p99 = first["latency_p50_ms"]["value"], first["latency_p99_ms"]["value"]
    said = [
        f"One answer takes {number(p50)} ms, and 99 of 100 take less than {number(p99)} ms "
        f"({threads} thread{'s' if threads > 1 else ''} of this machine's processor).",
        f"Asked about many at once, it answers {number(first['throughput_per_s']['value'])} a second "
        f"({first['best_batch']} at a time).",
    ]
    if "cold_start_s" in first:
        said.append(
            f"Started from nothing, it gives its first answer after {number(first['cold_start_s']['value'])} seconds, "
            f"and needs {number(first['peak_memory_mb']['value'])} MB of memory."
        )
    said.append(
        f"It takes {number(first['size_mb']['value'])} MB on disk, and about {number(first['energy_mj_per_answer']['value'])} "
        f"millijoules of energy an answer{' (an estimate)' if first['estimated'] else ''}."
    )
    for name, row in zip(names[1:], rows[1:], strict=True):
        share = row["ratio"]
        told = (
            "about as fast as" if share["low"] <= 1 <= share["high"] else "faster than" if share["value"] < 1 else "slower than"
        )
        said.append(f"{name} is {told} {names[0]}: it takes {number(share['value'])} times as long.")
    return tuple(said)


def number(value: float | None) -> str:
    """Three significant digits, thousands told apart."""
    if value is None:
        return "an unknown number of"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
