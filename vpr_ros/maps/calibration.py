"""Calibration: constants that turn similarities into probabilities, fitted on a held-out drive, stored with the map."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from vpr_ros.base.errors import MapError, brief
from vpr_ros.maps.constants import LEGACY, UNLEARNT


@dataclass(frozen=True)
class Calibration:
    """Constants of the observation model. The defaults are cautious; ``vpr map calibrate`` fits them to a map.

    z is the standard score of a similarity (``maps.scores``). Published probabilities are p ** (1 / temperature),
    normalised, times 1 - floor. sigma_*: standard deviations of the camera's pose around a right hypothesis, in the
    camera's body axes.
    """

    slope: float = 2.0
    """Log-likelihood ratio per unit of z."""
    off_map_score: float = 4.5
    """z at which a place explains the image as well as "not on this map" does."""
    z_weight: float = 0.0
    """The log-likelihood ratio of a place is z_weight * z + similarity_weight * similarity - threshold, unless"""
    similarity_weight: float = 0.0
    """this is zero: then it is slope * (z - off_map_score). The similarity is the cosine of centred descriptors."""
    threshold: float = 0.0
    """See above."""
    independence: float = 0.75
    """A view leaves 1 - repeated ** independence of its evidence when the next comes, see ``view_change.Change``."""
    temperature: float = 1.5
    """See above; larger values flatten the probabilities."""
    floor: float = 0.03
    """Probability left for "something else"."""
    sigma_forward: float = 4.0
    """Metres."""
    sigma_left: float = 1.5
    """Metres."""
    sigma_up: float = 0.5
    """Metres."""
    sigma_roll: float = 0.03
    """Radians."""
    sigma_pitch: float = 0.03
    """Radians."""
    sigma_yaw: float = 0.1
    """Radians."""
    source: str = "default"
    """Name of the drives they were fitted on."""

    def log_ratio(self, scores: np.ndarray | float, similarities: np.ndarray | float) -> Any:
        """log p(image | place) - log p(image | not on this map) of standard scores and similarities, alike in shape."""
        if self.similarity_weight:
            return self.z_weight * scores + self.similarity_weight * similarities - self.threshold
        return self.slope * (scores - self.off_map_score)

    def covariance_body(self) -> np.ndarray:
        """Covariance (6, 6) of a right hypothesis in the camera's body axes (x forward, y left, z up), m and rad."""
        sigmas = [self.sigma_forward, self.sigma_left, self.sigma_up, self.sigma_roll, self.sigma_pitch, self.sigma_yaw]
        return np.diag(np.square(sigmas))

    def soften(self, probabilities: np.ndarray) -> np.ndarray:
        """Calibrate a posterior (K,) that sums to one: the result (K,) sums to 1 - floor."""
        powered = np.maximum(probabilities, 1e-300) ** (1 / self.temperature)
        return (1 - self.floor) * powered / powered.sum()

    @classmethod
    def of_model(cls, data: dict[str, Any], unlearnt: bool = False) -> Calibration:
        """The default of a model. data: ``Manifest.calibration``, empty for a model without one.

        unlearnt: whether the map has the model's own vocabulary although maps learn theirs, because it began with few
        images: then all images are more alike.
        """
        calibration = cls.from_dict(data) if data else cls()
        if not unlearnt:
            return calibration
        return replace(calibration, threshold=calibration.threshold + UNLEARNT * calibration.similarity_weight)

    @classmethod
    def from_json(cls, text: str) -> Calibration:
        """As ``from_dict``, of JSON. Raises MapError."""
        try:
            data = json.loads(text)
        except ValueError as error:
            raise _unreadable(error) from error
        return cls.from_dict(data)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Calibration:
        """Read the output of ``to_dict``. Raises MapError if a constant is unknown, not finite or out of range."""
        try:
            if "correlation_length" in data:  # until 0.1: metres, at 5 m a place
                data = {key: value for key, value in data.items() if key != "correlation_length"} | {
                    "independence": LEGACY.independence_m / max(float(data["correlation_length"]), 1.0)
                }
            calibration = cls(**data)
            numbers = [value for name, value in asdict(calibration).items() if name != "source"]
            if not np.all(np.isfinite(np.array(numbers, dtype=float))):
                raise ValueError("a constant is not finite")
            if not (min(numbers) >= 0 and max(numbers) < 1e6 and calibration.temperature > 0 and calibration.floor < 1):
                raise ValueError("a constant is out of range")
        except (TypeError, ValueError) as error:
            raise _unreadable(error) from error
        return calibration

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def _unreadable(error: Exception) -> MapError:
    return MapError(f"the calibration cannot be read ({brief(error)}): run `vpr map calibrate` again")
