"""Descriptors less the mean of where they come from: its light, season and camera are in it, its places are not.

After Schubert, Neubert, Protzel, Unsupervised Learning Methods for Visual Place Recognition in Discretely and
Continuously Changing Environments, ICRA 2020, who standardise each condition by itself, a whole drive at a time.
"""

from __future__ import annotations

import numpy as np

from vpr_ros.maps.constants import CENTRING
from vpr_ros.maps.places import Places


def map_mean(places: Places, wanted: bool = True) -> np.ndarray | None:
    """The mean (D,) that ``centred`` takes from a map's descriptors, None where it shall take none."""
    return places.mean_descriptor if wanted else None


def centred(descriptors: np.ndarray, mean: np.ndarray | None) -> np.ndarray:
    """Unit descriptors (..., D) less most of a mean (D,), unit length again, float32; unchanged where that is None."""
    if mean is None:
        return descriptors
    rest = descriptors - np.float32(CENTRING.share) * mean
    rest /= np.maximum(np.linalg.norm(rest, axis=-1, keepdims=True), 1e-6)  # never near 0: share < 1
    return np.asarray(rest, np.float32)


class SessionMean:
    """The mean of a session's descriptors, learnt as they come. It begins as the map's."""

    def __init__(self, map_mean: np.ndarray | None) -> None:
        """map_mean: (D,), or None: then no descriptor is changed."""
        self._map_mean = map_mean
        self.reset()

    def reset(self) -> None:
        """Another session begins."""
        self._mean = self._map_mean
        self._learnt = 0
        self._last: np.ndarray | None = None

    def centred(self, descriptor: np.ndarray) -> np.ndarray:
        """An image's unit descriptor (D,) less the session's mean so far, this image's included: see ``centred``."""
        if self._mean is not None and (self._last is None or self._last @ descriptor <= 1 - CENTRING.novelty):
            self._learnt = min(self._learnt + 1, CENTRING.memory_images)
            self._mean = self._mean + (descriptor - self._mean) / (CENTRING.prior_images + self._learnt)
            self._last = descriptor
        return centred(descriptor, self._mean)
