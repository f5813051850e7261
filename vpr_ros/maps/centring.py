"""Mean-centring of descriptors: the mean captures lighting, season and camera, not the place.

After Schubert, Neubert, Protzel, Unsupervised Learning Methods for Visual Place Recognition in Discretely and
Continuously Changing Environments, ICRA 2020, who standardise each condition separately, over a whole drive.
"""

from __future__ import annotations

import numpy as np

from vpr_ros.maps.constants import CENTRING
from vpr_ros.maps.places import Places


def map_mean(places: Places, wanted: bool = True) -> np.ndarray | None:
    """The mean (D,) that ``centred`` subtracts from a map's descriptors; None if it is not wanted.

    It is smaller for a map of little variety: the mean of its places is what they show, and not only their light.
    """
    if not wanted:
        return None
    return np.asarray(places.mean_descriptor * places.variety, np.float32)


def centred(descriptors: np.ndarray, mean: np.ndarray | None) -> np.ndarray:
    """Subtract a share of a mean (D,) from unit descriptors (..., D) and scale to length 1, float32. None: no change.

    Descriptors that are decoded from signs are longer than what they stand for, and stay longer.
    """
    if mean is None:
        return np.asarray(descriptors, np.float32)
    subtracted = np.float32(CENTRING.share) * mean
    rest = descriptors - subtracted
    rest /= _lengths(descriptors @ subtracted, subtracted)[..., None]
    return np.asarray(rest, np.float32)


def similarities(descriptors: np.ndarray, mean: np.ndarray | None, query: np.ndarray) -> np.ndarray:
    """Products (...) of a query (D,) with ``centred`` descriptors (..., D), which are not made for it."""
    if mean is None:
        return np.asarray(descriptors @ query, np.float32)
    subtracted = np.float32(CENTRING.share) * mean
    products = descriptors.reshape(-1, len(query)) @ np.stack([query, subtracted], axis=1)  # one matrix is faster
    products = products.reshape(*descriptors.shape[:-1], 2)
    return np.asarray((products[..., 0] - subtracted @ query) / _lengths(products[..., 1], subtracted), np.float32)


def _lengths(products: np.ndarray, subtracted: np.ndarray) -> np.ndarray:
    """Lengths (...) of unit descriptors less a vector (D,), by their products (...) with it."""
    squared = 1 - 2 * products + subtracted @ subtracted
    return np.asarray(np.sqrt(np.maximum(squared, 1e-6)), np.float32)  # near 0 only if a session shows nothing else


class SessionMean:
    """Running mean of a session's descriptors. It starts as the map's mean. This object keeps state.

    What it differs by from the map's mean is subtracted whole, and only a share of the map's mean is: a map's mean also
    holds what its places have in common.
    """

    def __init__(self, map_mean: np.ndarray | None) -> None:
        """map_mean: (D,), or None to leave descriptors unchanged."""
        self._map_mean = map_mean
        self.reset()

    def reset(self) -> None:
        """Start a new session: the mean is the map's again."""
        self._mean = self._map_mean
        self._learnt = 0
        self._last: np.ndarray | None = None

    @property
    def mean(self) -> np.ndarray | None:
        """What ``centred`` takes for this session, (D,); None if descriptors are not centred."""
        if self._mean is None or self._map_mean is None:
            return None
        return self._map_mean + np.float32(CENTRING.shift_share / CENTRING.share) * (self._mean - self._map_mean)

    def unshifted(self, descriptors: np.ndarray) -> np.ndarray:
        """Unit descriptors (..., D) of the session, less what its mean differs by from the map's, at unit length."""
        if self._mean is None or self._map_mean is None:
            return descriptors
        rest = descriptors - (self._mean - self._map_mean)
        return np.asarray(rest / np.linalg.norm(rest, axis=-1, keepdims=True), np.float32)

    def centred(self, descriptor: np.ndarray) -> np.ndarray:
        """Update the mean with an image's unit descriptor (D,) and return the descriptor centred on it."""
        if self._mean is not None and (self._last is None or self._last @ descriptor <= 1 - CENTRING.novelty):
            self._learnt = min(self._learnt + 1, CENTRING.memory_images)
            self._mean = self._mean + (descriptor - self._mean) / (CENTRING.prior_images + self._learnt)
            self._last = descriptor
        return centred(descriptor, self.mean)
