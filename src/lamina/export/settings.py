"""What `lamina export` may be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from typing_extensions import Doc

from lamina.errors import LaminaError

Format = Literal["onnx", "pt2"]


@dataclass(frozen=True)
class Settings:
    """What is exported, where to, and how exactly it must answer as the run does."""

    format: Annotated[Format, Doc("onnx: ONNX, with a runner that needs no torch; pt2: a program of torch.export")] = "onnx"
    out: Annotated[str | None, Doc("the folder to make (default: export-FORMAT in the run's folder)")] = None
    tolerance: Annotated[
        float, Doc("refuse where an output differs by more than this share of its root mean square over the test examples")
    ] = 1e-3
    examples: Annotated[int | None, Doc("how many test examples both are asked (default: all)")] = None


def check(settings: Settings) -> None:
    """Raises LaminaError naming the first flag whose value makes no sense."""
    formats = get_args(Format)
    if settings.format not in formats:
        raise LaminaError(f"--format: expected one of {', '.join(formats)}; got {settings.format!r}")
    if not 0 < settings.tolerance < 1:
        raise LaminaError(f"--tolerance: expected a share above 0, below 1; got {settings.tolerance}")
    if settings.examples is not None and settings.examples < 1:
        raise LaminaError(f"--examples: expected 1 or more; got {settings.examples}")
