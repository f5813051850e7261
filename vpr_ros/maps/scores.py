"""Standard scores: an image's similarities, judged against its own similarities to the whole map."""

from __future__ import annotations

import numpy as np

BACKGROUND = 512  # places that stand for the whole map when an image's similarities are standardised
_SMALLEST_SPREAD = 0.01


def standard_scores(similarities: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Similarities (K,) judged against an image's similarities (M,) to the whole map, or to a sample of it."""
    ranks = [int(0.16 * (len(background) - 1)), int(0.5 * (len(background) - 1))]
    low, median = np.partition(background, ranks)[ranks]
    return (similarities - median) / max(median - low, _SMALLEST_SPREAD)


class Sample:
    """Descriptors that stand for all seen so far, each as likely to be among them (Vitter 1985, algorithm R)."""

    def __init__(self, dimension: int) -> None:
        self._kept = np.zeros((BACKGROUND, dimension), np.float32)
        self._seen = 0
        self._random = np.random.default_rng(0)

    @property
    def descriptors(self) -> np.ndarray:
        """(M, D) float32."""
        return self._kept[: self._seen]

    def take(self, descriptors: np.ndarray) -> None:
        """See (N, D) more."""
        numbers = np.arange(self._seen, self._seen + len(descriptors))
        slots = np.where(numbers < BACKGROUND, numbers, self._random.integers(0, numbers + 1))
        kept = slots < BACKGROUND
        self._kept[slots[kept]] = descriptors[kept]
        self._seen += len(descriptors)
