"""BLEU and chrF of a corpus by sacrebleu, from counts that each sentence gives once: a bootstrap adds them up a thousand times.

Post 2018, "A Call for Clarity in Reporting BLEU Scores". What sacrebleu counts for a sentence is kept, and its own code makes
the score of the sums, as in its own bootstrap; so the figures are sacrebleu's.

Legend: N sentences.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from lamina.errors import LaminaError

HAN = re.compile("[\u3400-\u9fff\U00020000-\U0003134f]")
OTHER_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff]")
BOUNDS = (0, 8, 16, 32, 64)
"""Words of a source from which a row of the table by length begins."""


def tokenization(texts: Sequence[str]) -> str:
    """How sacrebleu cuts this language into words: 13a, or `zh` for Chinese, `char` for others that write no spaces."""
    sample = "".join(texts[:1000])
    letters = max(1, sum(character.isalpha() for character in sample))
    if len(OTHER_UNSPACED.findall(sample)) > 0.1 * letters:
        return "char"
    return "zh" if len(HAN.findall(sample)) > 0.3 * letters else "13a"


def mostly_short(texts: Sequence[str], words: str) -> bool:
    """Whether most have fewer than four words, as in a dictionary: they hold nothing that BLEU's fourth order could count, and it
    would be 0 whatever is said. words: of `tokenization`; where no spaces are written, characters count."""
    sizes = [len(str(text).split() if words == "13a" else str(text)) for text in texts]
    return bool(sizes) and float(np.median(sizes)) < 4


def scores(hypotheses: Sequence[str], references: Sequence[str], words: str, short: bool = False) -> dict[str, float]:
    """{"bleu", "chrf"}, 0 to 100. short: BLEU is of the orders that occur (sacrebleu's `effective_order`)."""
    if not len(hypotheses):
        return {"bleu": 0.0, "chrf": 0.0}
    made = [counts(str(h), str(r), words) for h, r in zip(hypotheses, references, strict=True)]
    bleu, chrf = measures(words, short)
    sums = [np.sum([pair[i] for pair in made], axis=0).tolist() for i in range(2)]
    return {
        "bleu": float(bleu._compute_score_from_stats(sums[0]).score),
        "chrf": float(chrf._compute_score_from_stats(sums[1]).score),
    }


@lru_cache(maxsize=2**17)
def counts(hypothesis: str, reference: str, words: str) -> tuple[np.ndarray, np.ndarray]:
    """What sacrebleu counts of a sentence for BLEU and for chrF."""
    return tuple(np.asarray(m._extract_corpus_statistics([hypothesis], [[reference]])[0]) for m in measures(words))  # type: ignore[return-value]


@lru_cache(maxsize=8)
def measures(words: str, short: bool = False) -> tuple[Any, Any]:
    """sacrebleu's BLEU and chrF. Raises LaminaError where it is not installed."""
    try:
        from sacrebleu.metrics import BLEU, CHRF
    except ImportError as error:
        raise LaminaError(f"translation: expected sacrebleu, to judge translations; {error}: pip install sacrebleu") from error
    return BLEU(tokenize=words, effective_order=short), CHRF()


def signatures(words: str, short: bool = False) -> dict[str, str]:
    """What makes figures comparable: sacrebleu's settings and version."""
    for measure in measures(words, short):
        measure.num_refs = 1
    return {name: str(m.get_signature()) for name, m in zip(("bleu", "chrf"), measures(words, short), strict=True)}


def by_length(
    texts: Sequence[str], hypotheses: Sequence[str], references: Sequence[str], words: str, short: bool = False
) -> list[dict[str, Any]]:
    """The scores of sentences whose source has so many words."""
    size_N = np.asarray([len(str(text).split()) for text in texts])
    rows = []
    for low, high in zip(BOUNDS, (*BOUNDS[1:], 2**31), strict=True):
        chosen = np.flatnonzero((size_N >= low) & (size_N < high)).tolist()
        if chosen:
            made = scores([hypotheses[i] for i in chosen], [references[i] for i in chosen], words, short)
            rows.append({"from_words": low, "sentences": len(chosen), **made})
    return rows
