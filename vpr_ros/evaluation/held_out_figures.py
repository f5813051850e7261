"""How well maps of the same streets localise held-out drives, so that a change of a map is not for the worse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vpr_ros.evaluation.metrics import reliability, share
from vpr_ros.inference.describer import Describer
from vpr_ros.localize.held_out import DescribedDrive
from vpr_ros.localize.hypotheses import hypothesis_radius
from vpr_ros.localize.localizer import Localizer
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.levels import distances
from vpr_ros.maps.places import Neighbours, Places


@dataclass(frozen=True)
class Figures:
    """Of the images that were taken on the map, 0 to 1.

    recall: share whose most similar place is right, image by image. filtered: share whose first pose over time is.
    ece: expected calibration error of those poses. images: their number.
    """

    recall: float
    filtered: float
    ece: float
    images: int

    def __str__(self) -> str:
        return f"recall@1 {self.recall:.4f}, filtered {self.filtered:.4f}, calibration error {self.ece:.3f}"


class HeldOutDrives:
    """Drives that are not in a map. The same images count on each map that is compared."""

    def __init__(self, drives: Sequence[DescribedDrive], describer: Describer, everything: Places) -> None:
        """everything: the places of the largest map: images near none of them do not count.

        A pose is right within the radius of a hypothesis: five times the map's spacing, but no more than 25 m.
        """
        self._describer, self._drives = describer, drives
        self._radius, self._levels = hypothesis_radius(0.0, everything), everything.has_levels
        around = Neighbours(everything.positions, self._radius, self._levels)
        self._on_map = [np.unique(around.near(drive.T_map_camera[:, :3, 3])[0]) for drive in drives]

    @property
    def images(self) -> int:
        """Number of images that count."""
        return sum(map(len, self._on_map))

    def on(self, places: Places, calibration: Calibration) -> Figures:
        """Localise all drives on a map."""
        first, filtered, confidence = [], [], []
        for drive, counted in zip(self._drives, self._on_map, strict=True):
            localizer = Localizer(places, self._describer, None, calibration)
            for row, stamp_ns in enumerate(drive.stamps_ns.tolist()):
                estimate = localizer.recognise(stamp_ns, drive.descriptors[row], drive.T_odom_camera[row])
                if row not in counted:
                    continue
                best, truth = estimate.best, drive.T_map_camera[row]
                first.append(self._right(estimate.matches[0].T_map_camera, truth))
                filtered.append(best is not None and self._right(best.T_map_camera, truth))
                confidence.append(estimate.off_map_probability if best is None else best.probability)
        bins = reliability(np.array(confidence), np.array(filtered, dtype=bool))
        return Figures(share(np.array(first)), share(np.array(filtered)), bins.expected_calibration_error, len(first))

    def _right(self, T_map_camera: np.ndarray, truth: np.ndarray) -> bool:
        return bool(distances(T_map_camera[:3, 3], truth[:3, 3], self._levels) < self._radius)
