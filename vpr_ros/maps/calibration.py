"""What turns similarities into probabilities, learnt on a held-out drive and kept with the map."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vpr_ros.base.errors import MapError


@dataclass(frozen=True)
class Calibration:
    """Constants of the observation model. The defaults are cautious; ``vpr map calibrate`` fits them to a map.

    A similarity becomes a standard score z against the map's own spread for that image, so that a dark image, whose
    similarities are all low, is judged like a bright one. slope: log-likelihood ratio per unit of z. off_map_score:
    the z at which a place explains the image as well as "not on this map" does. correlation_length: metres after
    which a new image counts as new evidence. temperature, floor: the published probabilities are p ** (1 /
    temperature), normalised, times 1 - floor: the floor is what remains for "something else". sigma_*: standard
    deviation of the camera's pose round the hypothesis when it is right, in the camera's body axes, metres and
    radians. source: what they were fitted on.
    """

    slope: float = 2.0
    off_map_score: float = 4.5
    correlation_length: float = 10.0
    temperature: float = 1.5
    floor: float = 0.03
    sigma_forward: float = 4.0
    sigma_left: float = 1.5
    sigma_up: float = 0.5
    sigma_roll: float = 0.03
    sigma_pitch: float = 0.03
    sigma_yaw: float = 0.1
    source: str = "default"

    def covariance_body(self) -> np.ndarray:
        """(6, 6) of a right hypothesis in the camera's body axes (x forward, y left, z up), metres and radians."""
        sigmas = [self.sigma_forward, self.sigma_left, self.sigma_up, self.sigma_roll, self.sigma_pitch, self.sigma_yaw]
        return np.diag(np.square(sigmas))

    def soften(self, probabilities: np.ndarray) -> np.ndarray:
        """Raw posterior (K,), summing to one -> calibrated probabilities (K,), summing to 1 - floor."""
        powered = np.maximum(probabilities, 1e-300) ** (1 / self.temperature)
        return (1 - self.floor) * powered / powered.sum()

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Calibration:
        """Read what ``to_dict`` wrote. Raises MapError where a constant is unknown or not a finite number."""
        try:
            calibration = cls(**data)
            numbers = [value for name, value in asdict(calibration).items() if name != "source"]
            if not np.all(np.isfinite(np.array(numbers, dtype=float))):
                raise ValueError("a constant is not finite")
            if not (min(numbers) >= 0 and max(numbers) < 1e6 and calibration.temperature > 0 and calibration.floor < 1):
                raise ValueError("a constant is out of range")
        except (TypeError, ValueError) as error:
            raise MapError(f"the calibration cannot be read ({error}): run `vpr map calibrate` again") from error
        return calibration

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)
