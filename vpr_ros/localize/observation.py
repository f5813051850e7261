"""The observation model: similarities -> evidence for each place against "not on this map"."""

from __future__ import annotations

import numpy as np

from vpr_ros.localize.constants import OBSERVATION
from vpr_ros.localize.sparse import SparseValues
from vpr_ros.maps import centring
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.places import Places
from vpr_ros.maps.scores import median_and_spread, standard_scores


class ObservationModel:
    """Similarities -> evidence, through standard scores (``maps.scores``).

    A score compares a similarity with the image's similarities to the whole map. At night all of them are lower, and
    the scores stay the same.
    """

    def __init__(self, places: Places, calibration: Calibration, mean: np.ndarray | None = None) -> None:
        """mean: (D,) that the places' descriptors are centred on, see ``maps.centring``; None: they are not centred."""
        self._calibration = calibration
        self._background = centring.centred(places.background, mean)
        self._places, self._mean = places, mean
        self._count = len(places)

    def scores(self, descriptor: np.ndarray, similarities: np.ndarray) -> np.ndarray:
        """Standard scores (K,) of similarities (K,) to an image with this descriptor (D,)."""
        return standard_scores(similarities, self._background @ descriptor)

    def similarities(self, descriptor: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Cosines (K,) of an image's descriptor (D,) and the places at rows (K,), by the best of their views."""
        if not len(rows):
            return np.zeros(0, np.float32)
        return centring.similarities(self._places.descriptors[rows], self._mean, descriptor).max(axis=1)

    def log_ratios(self, descriptor: np.ndarray, similarities: np.ndarray, rows: np.ndarray) -> SparseValues:
        """Evidence for each place: log p(image | place) - log p(image | not on this map).

        similarities (K,), most similar first, and rows (K,): result of the search. Places that were not fetched get the
        evidence of the map's median similarity. No image speaks against a place more than an outlier would.
        """
        if not len(rows):  # an approximate index may find nothing: no evidence
            return SparseValues(rows, similarities, 0.0, self._count)
        median, spread = median_and_spread(self._background @ descriptor)
        scores = self._places.variety * (similarities - median) / spread
        found = self._calibration.log_ratio(scores, similarities)
        elsewhere = float(self._calibration.log_ratio(0.0, median))
        ratios = SparseValues.with_rows(rows, found, min(float(found.min()), elsewhere), self._count)
        return ratios.map(
            lambda ratio: np.logaddexp(np.log1p(-OBSERVATION.outlier) + ratio, np.log(OBSERVATION.outlier))
        )
