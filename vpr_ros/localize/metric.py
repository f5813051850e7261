"""Metric pose: the best hypothesis is measured against the local features of its places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.base.camera import Intrinsics
from vpr_ros.base.covariance import moved
from vpr_ros.base.records import Hypothesis, OnDemand
from vpr_ros.localize.config import LocalizerConfig
from vpr_ros.localize.constants import METRIC
from vpr_ros.maps.features import choose_extractor
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.matching.constants import TRIANGULATION
from vpr_ros.matching.local_features import Extractor, LocalFeatures
from vpr_ros.matching.metric_pose import metric_pose
from vpr_ros.matching.triangulation import baselines, triangulated


@dataclass(frozen=True, eq=False)
class _Measured:
    """A measured pose (4, 4), its covariance (6, 6), and the poses (4, 4) in odometry's frame at that time."""

    T_map_camera: np.ndarray
    covariance: np.ndarray
    T_odom_camera: np.ndarray
    T_odom_first: np.ndarray


class MetricStage:
    """Replaces the pose of the best hypothesis by a measured one, if enough local features agree on it.

    It keeps the last measured pose, which odometry moves on; ``reset`` forgets it. Places are read when they are
    needed, and the last ones stay in memory. One caller at a time.
    """

    name = "metric"  # key of its time in ``Estimate.timings_ms``

    def __init__(self, place_map: PlaceMap, extractor: Extractor, odometry_noise: float) -> None:
        """extractor: of the map's kind of features. odometry_noise: see ``FilterConfig``."""
        self._place_map, self._extractor, self._noise = place_map, extractor, odometry_noise
        self._places = place_map.places
        self._features = lru_cache(METRIC.cached)(self._read)
        self._triangulated = lru_cache(METRIC.cached)(self._triangulate)
        self.reset()

    @classmethod
    def open(cls, place_map: PlaceMap, config: LocalizerConfig, threads: int = 1) -> MetricStage | None:
        """The stage for a map; None if the map has no local features.

        threads: CPU threads of the network for local features; 0: all cores. Raises ModelError if it cannot be read.
        """
        extractor = choose_extractor("", place_map, threads)
        return None if extractor is None else cls(place_map, extractor, config.filter.odometry_noise)

    def reset(self) -> None:
        """Forget the last measured pose."""
        self._last: _Measured | None = None

    def measured(
        self,
        hypotheses: Sequence[Hypothesis],
        image_rgb: np.ndarray,
        depth: np.ndarray | None,
        intrinsics: Intrinsics,
        T_odom_camera: np.ndarray | None = None,
        T_odom_first: np.ndarray | None = None,
    ) -> Sequence[Hypothesis]:
        """The hypotheses, best first, the first one measured if that succeeds.

        image_rgb: (H, W, 3) uint8. depth: (h, w) metres of it, or None. intrinsics: of this image. T_odom_camera: (4,
        4) or None. T_odom_first: the same of the rig's first camera, with several.
        """
        if not hypotheses or hypotheses[0].probability < METRIC.least_probability:
            return hypotheses
        best = hypotheses[0]
        places = [(self._triangulated(row), self._places.T_map_camera[row]) for row in self._rows(best)]
        if not places:
            return hypotheses
        query = self._extractor.extract(image_rgb, depth, intrinsics)
        T_odom_first = T_odom_camera if T_odom_first is None else T_odom_first
        found = metric_pose(places, query, *self._known(best, T_odom_camera, T_odom_first))
        if found is None:
            return hypotheses
        if T_odom_camera is not None and T_odom_first is not None:
            self._last = _Measured(found.T_map_query, found.covariance, T_odom_camera, T_odom_first)
        first = replace(best, T_map_camera=found.T_map_query, covariance=found.covariance, inliers=found.inliers)
        return OnDemand(len(hypotheses), lambda rank: hypotheses[rank] if rank else first)

    def _rows(self, hypothesis: Hypothesis) -> list[int]:
        """Rows of the places to measure against: the most probable ones of a hypothesis that have local features."""
        tried = np.searchsorted(self._places.ids, hypothesis.place_ids[: METRIC.tried])
        rows = (int(row) for row in self._places.readable(tried))
        return [row for row in rows if self._features(row) is not None][: METRIC.places]

    def _known(
        self, hypothesis: Hypothesis, T_odom_camera: np.ndarray | None, T_odom_first: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, bool]:
        """Pose (4, 4) and covariance (6, 6) before the measurement, and whether they continue a measured pose.

        Those of the hypothesis, fused with the last measured pose moved on by odometry unless that is less exact, or
        contradicts the hypothesis. Odometry errs by how far one body has moved: from one camera to another is no way.
        """
        T, covariance = hypothesis.T_map_camera, hypothesis.covariance
        if self._last is None or T_odom_camera is None or T_odom_first is None:
            return T, covariance, False
        T_step = geometry.inverse(self._last.T_odom_camera) @ T_odom_camera
        T_moved, of_moved = moved(self._last.T_map_camera, METRIC.fading * self._last.covariance, T_step)
        driven = geometry.inverse(self._last.T_odom_first) @ T_odom_first
        distance, angle = float(np.linalg.norm(driven[:3, 3])), geometry.angle_of(driven[:3, :3])
        metres = self._noise * distance + METRIC.floor_m
        radians = self._noise * angle + METRIC.turn_per_m * distance + METRIC.floor_rad
        of_moved = of_moved + np.diag([metres**2] * 3 + [radians**2] * 3)
        away = geometry.difference(T_moved, T)
        vague = np.trace(of_moved[:3, :3]) > np.trace(covariance[:3, :3])
        if vague or away @ np.linalg.solve(covariance + of_moved, away) > METRIC.contradiction:
            return T, covariance, False
        fused = np.linalg.inv(np.linalg.inv(covariance) + np.linalg.inv(of_moved))
        step = fused @ np.linalg.solve(of_moved, away)
        T_fused = geometry.transform(geometry.rotation_from_vector(step[3:]) @ T[:3, :3], T[:3, 3] + step[:3])
        return T_fused, fused, True

    def _read(self, row: int) -> LocalFeatures | None:
        """Local features of a place as stored; None if it has none of the map's kind."""
        data = self._place_map.features(self._places.ids[row])
        features = None if data is None else LocalFeatures.from_bytes(data)
        return features if features is not None and features.kind == self._extractor.kind else None

    def _triangulate(self, row: int) -> LocalFeatures:
        """Local features of a place, with depths measured from the places around it."""
        features, T_map_place = self._features(row), self._places.T_map_camera[row]
        assert features is not None
        around = self._places.neighbours.within(T_map_place[:2, 3], TRIANGULATION.longest_m)
        around = self._places.readable(np.sort(around))
        T_place_others = geometry.inverse(T_map_place) @ self._places.T_map_camera[around]
        others: list[tuple[LocalFeatures, np.ndarray]] = []
        for chosen in baselines(features, T_place_others):
            there = self._features(int(around[chosen]))
            if there is not None:
                others.append((there, T_place_others[chosen]))
        return triangulated(features, others)
