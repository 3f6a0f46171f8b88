"""The settings of `lamina explain`. Light: the help of the command line reads this file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from typing_extensions import Doc

from lamina.errors import LaminaError

Method = Literal[
    "gradient", "input-x-gradient", "integrated-gradients", "smooth-grad", "occlusion", "grad-cam", "attention-rollout"
]  # fmt: skip
METHODS: tuple[Method, ...] = (
    "integrated-gradients", "grad-cam", "occlusion", "smooth-grad", "gradient", "input-x-gradient", "attention-rollout",
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """How answers are explained."""

    method: Annotated[
        Literal["auto", "all"] | Method,
        Doc("how attributions are made; auto: by the kind of input; all: every method that applies"),
    ] = "auto"
    part: Annotated[
        Literal["train", "valid", "calibration", "test", "all"] | None,
        Doc("the part to explain a sample of, where no inputs are named (default: test of the run's own data)"),
    ] = None
    examples: Annotated[int, Doc("how many examples are sampled, where no inputs are named")] = 100
    shown: Annotated[int, Doc("how many of them are drawn, and have counterfactuals")] = 8
    which: Annotated[int, Doc("which answer to explain: 0 is the most probable, 1 the second")] = 0
    ig_steps: Annotated[int, Doc("points on the path of integrated gradients; doubled while the gap is above 5%")] = 32
    noisy_copies: Annotated[int, Doc("noisy copies of an example that SmoothGrad averages over")] = 32
    noise: Annotated[float, Doc("deviation of that noise, as a share of the range of the input")] = 0.15
    rankings: Annotated[int, Doc("random rankings that each example's deletion and insertion are compared with")] = 3
    references: Annotated[int, Doc("training examples looked at: typical values, neighbours, values to change to")] = 2000
    neighbours: Annotated[int, Doc("nearest training examples that are named")] = 5
    counterfactuals: Annotated[bool, Doc("also look for the smallest change that flips each answer shown")] = True
    sanity: Annotated[bool, Doc("also explain copies of the model whose weights are randomized from the top")] = True
    resamples: Annotated[int, Doc("draws behind the intervals and the p-values")] = 10000
    confidence: Annotated[float, Doc("share of the draws that an interval holds")] = 0.95
    seed: Annotated[int, Doc("seed of the sample, of noise, of random rankings and of random weights")] = 0
    quick: Annotated[bool, Doc("fewer examples, rankings and depths: seconds instead of minutes")] = False
    out: Annotated[str | None, Doc("also write the picture of the explanations to this .png file")] = None


def check(settings: Settings) -> None:
    """Raises LaminaError naming the first setting whose value makes no sense."""
    for flag, least in (
        ("examples", 1), ("shown", 0), ("which", 0), ("ig_steps", 2), ("noisy_copies", 1), ("rankings", 1), ("references", 1),
        ("neighbours", 0), ("resamples", 100), ("seed", 0),
    ):  # fmt: skip
        if getattr(settings, flag) < least:
            raise LaminaError(f"--{flag.replace('_', '-')}: expected {least} or more; got {getattr(settings, flag)}")
    if not 0 < settings.confidence < 1:
        raise LaminaError(f"--confidence: expected a number between 0 and 1; got {settings.confidence}")
    if not 0 < settings.noise < math.inf:
        raise LaminaError(f"--noise: expected a share above 0; got {settings.noise}")
    if settings.method not in ("auto", "all", *METHODS):
        raise LaminaError(f"--method: expected auto, all or one of {', '.join(METHODS)}; got {settings.method!r}")
    if settings.out is not None and not settings.out.lower().endswith(".png"):
        raise LaminaError(f"--out: expected a file that ends in .png; got {settings.out!r}")
