"""Standard scores: an image's similarities, judged against its own similarities to the whole map."""

from __future__ import annotations

import numpy as np

from vpr_ros.maps.constants import SCORES


def standard_scores(similarities: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Similarities (K,) judged against an image's similarities (M,) to the whole map, or to a sample of it."""
    ranks = [int(SCORES.low_share * (len(background) - 1)), int(0.5 * (len(background) - 1))]
    low, median = np.partition(background, ranks)[ranks]
    return (similarities - median) / max(median - low, SCORES.smallest_spread)


class Sample:
    """Descriptors that stand for all seen so far, each as likely to be among them (Vitter 1985, algorithm R)."""

    def __init__(self, dimension: int) -> None:
        self._kept = np.zeros((SCORES.background, dimension), np.float32)
        self._seen = 0
        self._random = np.random.default_rng(0)

    @property
    def descriptors(self) -> np.ndarray:
        """(M, D) float32."""
        return self._kept[: self._seen]

    def take(self, descriptors: np.ndarray) -> None:
        """See (N, D) more."""
        numbers = np.arange(self._seen, self._seen + len(descriptors))
        slots = np.where(numbers < SCORES.background, numbers, self._random.integers(0, numbers + 1))
        kept = slots < SCORES.background
        self._kept[slots[kept]] = descriptors[kept]
        self._seen += len(descriptors)
