"""What an image says about every place: log-likelihood ratios against "not on this map"."""

from __future__ import annotations

import numpy as np

from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.centring import centred
from vpr_ros.maps.constants import SCORES
from vpr_ros.maps.places import Places
from vpr_ros.maps.scores import standard_scores


class ObservationModel:
    """Similarities -> evidence.

    A similarity is judged against the image's own similarities to the whole map (median, and the spread below it, so
    that the true places, which lie above, do not count): night lowers all of them and changes nothing.
    """

    def __init__(self, places: Places, calibration: Calibration, mean: np.ndarray | None = None) -> None:
        """mean: (D,) to take from the places' descriptors, as from those of the images to come."""
        self._calibration = calibration
        rows = np.unique(np.linspace(0, len(places) - 1, min(SCORES.background, len(places))).astype(int))
        self._background = centred(places.descriptors[rows, 0], mean)
        self._count = len(places)

    def scores(self, descriptor: np.ndarray, similarities: np.ndarray) -> np.ndarray:
        """Standard scores (K,) of similarities (K,) to an image with this descriptor (D,)."""
        return standard_scores(similarities, self._background @ descriptor)

    def log_ratios(self, descriptor: np.ndarray, similarities: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Evidence for every place, (N,): log p(image | place) - log p(image | not on this map).

        similarities (K,), most similar first, and rows (K,): what the index found. Places it did not fetch count as
        much as the last one it did.
        """
        if not len(rows):  # an approximate index may find nothing, which says nothing
            return np.zeros(self._count)
        scores = self.scores(descriptor, similarities)
        evidence = np.full(self._count, scores[-1])
        evidence[rows] = scores
        return self._calibration.slope * (evidence - self._calibration.off_map_score)
