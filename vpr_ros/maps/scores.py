"""Standard scores: similarities of an image, relative to its similarities to the whole map.

At night all similarities of an image are lower, and its scores stay the same.
"""

from __future__ import annotations

import numpy as np

from vpr_ros.maps.constants import SCORES, VARIETY


def standard_scores(similarities: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Scores (K,) of similarities (K,), relative to an image's similarities (M,) to the whole map or a sample of it.

    Zero is the median, one is the spread below it; see ``median_and_spread``.
    """
    median, spread = median_and_spread(background)
    return (similarities - median) / spread


def median_and_spread(background: np.ndarray) -> tuple[float, float]:
    """Median of an image's similarities (M,) to the map, and how far a low one is from it.

    Right places, which lie above, do not widen that.
    """
    ranks = [int(SCORES.low_share * (len(background) - 1)), int(0.5 * (len(background) - 1))]
    low, median = np.partition(background, ranks)[ranks].tolist()
    return median, max(median - low, SCORES.smallest_spread)


def largest(values: np.ndarray, count: int, above: float) -> np.ndarray:
    """Rows (K,) of the largest of values (N,), at most count, all above a limit, in no order."""
    rows = np.flatnonzero(values > above)
    if len(rows) > count:
        rows = rows[np.argpartition(values[rows], -count)[-count:]]
    return rows


class Sample:
    """A uniform random sample of a growing number of descriptors that differ (Vitter 1985, algorithm R).

    As with ``Places.distinct``, what looks alike counts once: a robot that waits, or drives through a tunnel.
    """

    def __init__(self, dimension: int) -> None:
        self._kept = np.zeros((SCORES.background, dimension), np.float32)
        self._seen = 0
        self._random = np.random.default_rng(0)

    @property
    def descriptors(self) -> np.ndarray:
        """(M, D) float32."""
        return self._kept[: self._seen]

    def take(self, descriptors: np.ndarray) -> None:
        """Add descriptors (N, D), of which some enter the sample."""
        for descriptor in descriptors:
            if (self.descriptors @ descriptor >= VARIETY.alike).any():
                continue
            slot = self._seen if self._seen < SCORES.background else int(self._random.integers(0, self._seen + 1))
            if slot < SCORES.background:
                self._kept[slot] = descriptor
            self._seen += 1
