"""Which token comes next: from logits to one draw a row. Needs only numpy.

In this order, as transformers has them, so that settings mean what people know from there:

    repetition penalty   z / r where z > 0, else z r, of tokens that the row holds       Keskar et al. 2019, section 4.1
    temperature          z / t; 0 takes the most probable token, and draws nothing
    top-k                the k most probable                                            Fan et al. 2018, section 5.1
    top-p                the fewest that hold p of the probability                      Holtzman et al. 2020, section 3.1
    min-p                those at least m times as probable as the most probable       Nguyen et al. 2024, section 3

Every row draws from its own generator, so that a row is written alike alone and in any batch.

Legend: V words of the vocabulary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lamina.errors import LaminaError

SORTED_FIRST = 512
"""Of a large vocabulary so many tokens are sorted for top-p before all are: they nearly always hold enough."""


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn. The defaults draw from the model's own probabilities."""

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0

    def check(self) -> None:
        """Raises LaminaError naming the first setting whose value makes no sense."""
        for name, fits, want in (
            ("temperature", 0 <= self.temperature < float("inf"), "0 or more"),
            ("top-k", self.top_k is None or self.top_k >= 1, "1 or more"),
            ("top-p", 0 < self.top_p <= 1, "a share above 0, up to 1"),
            ("min-p", 0 <= self.min_p <= 1, "a share from 0 to 1"),
            ("repetition-penalty", 0 < self.repetition_penalty < float("inf"), "a number above 0"),
        ):
            if not fits:
                raise LaminaError(f"--{name}: expected {want}; got {getattr(self, name.replace('-', '_'))}")

    @property
    def greedy(self) -> bool:
        return self.temperature == 0 or self.top_k == 1


def draw(logits_V: np.ndarray, sampling: Sampling, generator: np.random.Generator, held: Sequence[int] = ()) -> int:
    """One token, given the tokens that the row holds already. Greedy sampling leaves the generator as it was."""
    if sampling.repetition_penalty != 1 and held:
        logits_V = penalized(logits_V, held, sampling.repetition_penalty)
    if sampling.greedy:
        return int(logits_V.argmax())
    kept_V, z_V = candidates(logits_V, sampling)
    p_V = np.exp(z_V - z_V.max())
    bounds_V = np.cumsum(p_V)
    place = int(np.searchsorted(bounds_V, generator.random() * bounds_V[-1], side="right"))
    return int(kept_V[min(place, len(kept_V) - 1)])


def penalized(logits_V: np.ndarray, held: Sequence[int], penalty: float) -> np.ndarray:
    """Logits in which tokens that were there before are less likely (`penalty` above 1)."""
    ids = np.unique(np.asarray(held, np.int64))
    changed_V = np.array(logits_V, copy=True)
    z = changed_V[ids]
    changed_V[ids] = np.where(z > 0, z / penalty, z * penalty)
    return changed_V


def candidates(logits_V: np.ndarray, sampling: Sampling) -> tuple[np.ndarray, np.ndarray]:
    """The tokens that may be drawn, in the order of their ids, and their logits over the temperature, float64."""
    z_V = np.asarray(logits_V, np.float64) / sampling.temperature
    kept = np.flatnonzero(z_V > -np.inf)
    if sampling.top_k is not None and sampling.top_k < len(kept):
        kth = np.partition(z_V[kept], -sampling.top_k)[-sampling.top_k]
        kept = kept[z_V[kept] >= kth]  # ties at the edge all stay
    if sampling.top_p < 1:
        kept = kept[nucleus(z_V[kept], sampling.top_p)]
    if sampling.min_p > 0:
        kept = kept[z_V[kept] >= z_V[kept].max() + np.log(sampling.min_p)]
    return kept, z_V[kept]


def nucleus(z_V: np.ndarray, share: float) -> np.ndarray:
    """Places (ascending) of the fewest logits whose probabilities add up to `share` or more; never none."""
    p_V = np.exp(z_V - z_V.max())
    p_V /= p_V.sum()
    first = min(SORTED_FIRST, len(p_V))
    order = np.argpartition(-p_V, first - 1)[:first]
    if p_V[order].sum() < share:
        order = np.arange(len(p_V))
    order = order[np.argsort(-p_V[order], kind="stable")]
    before = np.cumsum(p_V[order]) - p_V[order]
    return np.sort(order[before < share])


def generator_of(seed: int, tokens: Sequence[int]) -> np.random.Generator:
    """The generator of a row: of the seed and of what the row holds, wherever in a batch it stands."""
    content = np.asarray(tokens, np.int64).tobytes()
    return np.random.default_rng(int.from_bytes(hashlib.blake2b(content, digest_size=8, key=str(seed).encode()).digest(), "big"))
