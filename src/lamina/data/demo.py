"""Small real data that comes with a dependency, so that everything can be tried without a download."""

from __future__ import annotations

from typing import Any

import numpy as np


def digits() -> tuple[np.ndarray, list[str]]:
    """1797 handwritten digits: uint8 (N, 1, 8, 8) in 0..255, and their names "0" to "9".

    scikit-learn's copy of the UCI optical digits (Alpaydin and Kaynak, 1998): counts 0..16 of ink in blocks of 4 x 4.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.rint(np.asarray(bunch.images) * (255 / 16)).astype(np.uint8)  # type: ignore[union-attr]
    return pixels[:, None], [str(y) for y in bunch.target]  # type: ignore[union-attr]


def breast_cancer() -> Any:
    """The demo: 569 rows of 30 measurements of cell nuclei, benign or malignant (Wolberg, Street, Mangasarian 1995)."""
    from sklearn.datasets import load_breast_cancer

    bunch: Any = load_breast_cancer()
    columns = dict(zip(bunch.feature_names.tolist(), bunch.data.T, strict=True))
    return {**columns, "label": bunch.target_names[bunch.target].tolist()}


TOPICS = {
    "statements": ("compound", "assert", "assignment", "augassign", "del", "import", "raise", "return", "global", "nonlocal",
                   "pass", "break", "continue", "yield"),
    "expressions": ("atom-identifiers", "atom-literals", "binary", "bitwise", "booleans", "calls", "comparisons", "conversions",
                    "lambda", "power", "shifting", "slicings", "subscriptions", "unary", "operator-summary"),
    "special methods": ("specialnames",),
    "types": ("types", "typesmapping", "typesseq", "typesmethods", "typesmodules", "typesfunctions"),
    "strings": ("strings", "string-methods", "formatstrings"),
    "debugger": ("debugger",),
    "execution": ("execmodel", "exceptions", "dynamic-features"),
}  # fmt: skip
"""What `help()` calls its topics, by the chapter that they come from."""


def python_paragraphs() -> tuple[list[str], list[str]]:
    """The demo of texts: paragraphs of Python's own `help()`, and the chapter that each comes from.

    Of `pydoc_data.topics` (Python Software Foundation License): some 1,200 paragraphs of eight words or more.
    """
    import re
    from pydoc_data.topics import topics

    found: dict[str, str] = {}
    for chapter, names in TOPICS.items():
        for name in names:
            for paragraph in re.split(r"\n\s*\n", topics.get(name, "")):
                text = " ".join(paragraph.split())
                if len(text.split()) >= 8:
                    found.setdefault(text, chapter)
    return list(found), list(found.values())
