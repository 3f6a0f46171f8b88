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
