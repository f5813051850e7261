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
    """Of the images that were taken on the map as it was, 0 to 1; NaN without any.

    recall: share whose most similar place is right, image by image. filtered: share whose first pose over time is.
    ece: expected calibration error of those poses. images: their number. new_streets: recall of the images that only
    new places are near, and new_images their number: what is gained there must not hide what is lost elsewhere.
    """

    recall: float
    filtered: float
    ece: float
    images: int
    new_streets: float
    new_images: int

    @property
    def recall_everywhere(self) -> float:
        """Recall of the images of both kinds."""
        right = np.nan_to_num([self.recall * self.images, self.new_streets * self.new_images]).sum()
        return float(right / max(self.images + self.new_images, 1))

    def __str__(self) -> str:
        old = (
            f"recall@1 {self.recall:.4f}, filtered {self.filtered:.4f}, calibration error {self.ece:.3f}, "
            f"{self.images} held-out images"
        )
        new = f"on new streets recall@1 {self.new_streets:.4f}, {self.new_images} images"
        return "; ".join([old] * bool(self.images) + [new] * bool(self.new_images))


class HeldOutDrives:
    """Drives that are not in a map. The same images count on each map that is compared."""

    def __init__(self, drives: Sequence[DescribedDrive], describer: Describer, everything: Places, was: Places) -> None:
        """everything: the places of the largest map: images near none of them do not count. was: of the first map.

        A pose is right within the radius of a hypothesis: five times the map's spacing, but no more than 25 m.
        """
        self._describer, self._drives = describer, drives
        self._radius, self._levels = hypothesis_radius(0.0, everything), everything.has_levels
        self._on_map, self._on_old = (
            [np.unique(around.near(drive.T_map_camera[:, :3, 3])[0]) for drive in drives]
            for around in (Neighbours(places.positions, self._radius, self._levels) for places in (everything, was))
        )

    @property
    def images(self) -> int:
        """Number of images that count."""
        return sum(map(len, self._on_map))

    def on(self, places: Places, calibration: Calibration) -> Figures:
        """Localise all drives on a map."""
        first, filtered, confidence, old = [], [], [], []
        for drive, counted, of_old in zip(self._drives, self._on_map, self._on_old, strict=True):
            localizer = Localizer(places, self._describer, None, calibration)
            for row, stamp_ns in enumerate(drive.stamps_ns.tolist()):
                estimate = localizer.recognise(stamp_ns, drive.descriptors[row], drive.T_odom_camera[row])
                if row not in counted:
                    continue
                best, truth = estimate.best, drive.T_map_camera[row]
                first.append(self._right(estimate.matches[0].T_map_camera, truth))
                filtered.append(best is not None and self._right(best.T_map_camera, truth))
                confidence.append(estimate.off_map_probability if best is None else best.probability)
                old.append(row in of_old)
        right, poses, on_old = (np.array(column, dtype=bool) for column in (first, filtered, old))
        bins = reliability(np.array(confidence)[on_old], poses[on_old])
        return Figures(
            recall=share(right[on_old]),
            filtered=share(poses[on_old]),
            ece=bins.expected_calibration_error,
            images=int(on_old.sum()),
            new_streets=share(right[~on_old]),
            new_images=int((~on_old).sum()),
        )

    def _right(self, T_map_camera: np.ndarray, truth: np.ndarray) -> bool:
        return bool(distances(T_map_camera[:3, 3], truth[:3, 3], self._levels) < self._radius)
