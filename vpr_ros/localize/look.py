"""What one camera saw lately: how much evidence its next image adds, and how far the robot has moved meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.localize.constants import FILTER, VIEW_CHANGE
from vpr_ros.localize.sparse import SparseValues
from vpr_ros.localize.view_change import Change


@dataclass(frozen=True, eq=False)
class Motion:
    """Motion between two images: T (4, 4) from odometry, or None; distance in metres, measured or typical."""

    T: np.ndarray | None
    distance: float


class Look:
    """One camera's present view: its evidence, and how far the robot has moved since it was new.

    The evidence of a view is the mean over its images: more images of it make it neither surer nor deaf. It counts
    whole while the view lasts. What the next view repeats is then taken back, so that it does not count twice.
    """

    def __init__(self, independence: float, single_image: float) -> None:
        """independence: see ``Calibration``. single_image: part of the evidence that a view's first image gives.

        Images of views that were nearly the same count as images of this one in part: in the dark, noise is a change.
        """
        self._independence = independence
        self._single = single_image
        self._mean: SparseValues | None = None
        self._count = 0
        self._before = 0.0  # images of views that were nearly the same
        self._repeated = 0.0
        self._moved_m = self._turned = 0.0

    @property
    def evidence(self) -> SparseValues | None:
        """Evidence of the present view; None without an image of it."""
        return self._of(self._count + self._before)

    def _of(self, images: float) -> SparseValues | None:
        """The evidence that so many images of the present view would give; None without one."""
        return None if self._mean is None else self._mean.scaled(1.0 - (1.0 - self._single) / images)

    def add(self, log_ratios: SparseValues) -> None:
        """Add the evidence of an image to the present view."""
        self._count += 1
        mean, count = self._mean, self._count
        if mean is None:
            self._mean = log_ratios
        else:
            self._mean = mean.combined(log_ratios, lambda mean, new: mean + (new - mean) / count).reduced()

    def end(self, change: Change | None = None) -> SparseValues | None:
        """End the present view: returns what remains of its evidence. None without an image of it.

        change: to the next view; None: it is not known yet, and taken to be as the last one.
        """
        evidence = self._of(self._count)
        if change is not None:
            self._repeated = change.repeated**self._independence
            self._before = change.kept**VIEW_CHANGE.confirming * (self._before + self._count)
        self._mean, self._count = None, 0
        return None if evidence is None else evidence.scaled(1.0 - self._repeated)

    def moved(self, motion: Motion) -> None:
        """The robot moved, whatever this camera sees."""
        self._moved_m += motion.distance
        self._turned += 0.0 if motion.T is None else geometry.angle_of(motion.T[:3, :3])

    def unexplained(self, change: Change | None) -> tuple[float, float]:
        """What motion since the last new view does not explain of a change to an image, which begins the next view.

        Metres, and a share, 0 to 1: the robot was carried, or an image lied. Zero if the image shows nothing (None).
        """
        if change is None or change.same_view:
            return 0.0, 0.0
        metres = min(change.distance, FILTER.unseen_m)
        explained = self._moved_m / FILTER.unseen_m + self._turned / FILTER.whole_turn
        share = float(np.clip(metres / FILTER.unseen_m - explained, 0.0, 1.0))
        metres = max(metres - self._moved_m, 0.0)
        self._moved_m = self._turned = 0.0
        return metres, share
