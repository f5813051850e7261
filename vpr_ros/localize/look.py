"""What one camera saw lately: how much evidence its next image adds, and how far the robot has moved meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.localize.constants import FILTER
from vpr_ros.localize.sparse import SparseValues
from vpr_ros.localize.view_change import Change


@dataclass(frozen=True, eq=False)
class Motion:
    """Motion between two images: T (4, 4) from odometry, or None; distance in metres, measured or typical."""

    T: np.ndarray | None
    distance: float


class Look:
    """One camera's views: how much evidence an image adds, and how far the robot has moved since the last new view.

    The evidence of a view is the mean over its images. More images of a view make it neither surer nor deaf.
    """

    def __init__(self, independence: float, single_image: float) -> None:
        """independence: see ``Calibration``. single_image: part of the evidence that a view's first image gives."""
        self._independence = independence
        self._single = single_image
        self._mean: SparseValues | None = None
        self._new = self._weight = 0.0
        self._count = 0
        self._moved_m = self._turned = 0.0

    def added(self, log_ratios: SparseValues, change: Change) -> SparseValues:
        """The evidence that an image adds to what was added before it."""
        if self._mean is None or not change.same_view:
            self._new = 1.0 - change.kept**self._independence
            self._count, self._mean, self._weight = 1, log_ratios, self._single * self._new
            return log_ratios.scaled(self._weight)
        before = self._mean.scaled(-self._weight)
        self._count += 1
        count = self._count
        self._mean = self._mean.combined(log_ratios, lambda mean, new: mean + (new - mean) / count).reduced()
        seen = 1.0 - (1.0 - self._single) / self._count
        self._weight = max(self._weight, seen * self._new)
        return self._mean.scaled(self._weight).plus(before)

    def moved(self, motion: Motion) -> None:
        """The robot moved, whatever this camera sees."""
        self._moved_m += motion.distance
        self._turned += 0.0 if motion.T is None else geometry.angle_of(motion.T[:3, :3])

    def unexplained(self, change: Change) -> tuple[float, float]:
        """What motion since the last new view does not explain of a change to an image, which begins the next view.

        Metres, and a share, 0 to 1: the robot was carried, or an image lied.
        """
        if change.same_view:
            return 0.0, 0.0
        metres = min(change.distance, FILTER.unseen_m)
        explained = self._moved_m / FILTER.unseen_m + self._turned / FILTER.whole_turn
        share = float(np.clip(metres / FILTER.unseen_m - explained, 0.0, 1.0))
        metres = max(metres - self._moved_m, 0.0)
        self._moved_m = self._turned = 0.0
        return metres, share
