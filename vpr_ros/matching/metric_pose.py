"""The metric pose of an image among several places of a map: the two-view step, for all of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.base.covariance import rotated
from vpr_ros.matching.constants import METRIC_POSE, VERIFICATION
from vpr_ros.matching.local_features import LocalFeatures
from vpr_ros.matching.relative_pose import Correspondences, pose_near
from vpr_ros.matching.verify import match

_FLOOR = np.diag([METRIC_POSE.floor_m**2] * 3 + [0] * 3)


@dataclass(frozen=True, eq=False)
class MetricPose:
    """A measured pose of the query's camera.

    T_map_query (4, 4), covariance (6, 6): x y z roll pitch yaw about the map's axes, metres and radians. inliers:
    number of the query's features that agree on it.
    """

    T_map_query: np.ndarray
    covariance: np.ndarray
    inliers: int


def metric_pose(
    places: Sequence[tuple[LocalFeatures, np.ndarray]],
    query: LocalFeatures,
    T_map_query: np.ndarray,
    covariance: np.ndarray,
    followed: bool = False,
) -> MetricPose | None:
    """Measure the pose of an image; None if too few features agree on one.

    places: features of each place, of the query's kind, and T_map_place (4, 4). T_map_query, covariance: (4, 4) and
    (6, 6) of the pose that is known before, about the map's axes. followed: whether that continues a measured pose:
    then fewer matches need to agree.
    """
    T_place_map = geometry.inverse(places[0][1])
    rows_of, seen = _correspondences([(features, T_place_map @ T) for features, T in places], query)
    if len(rows_of) < METRIC_POSE.least_inliers:
        return None
    T_known, known = T_place_map @ T_map_query, rotated(covariance, T_place_map[:3, :3])
    pose = pose_near(seen, T_known, known)
    if pose is None or np.linalg.eigvalsh(pose.covariance[:3, :3])[-1] > VERIFICATION.largest_sigma_m**2:
        return None
    away = geometry.difference(pose.T_place_query, T_known)
    if away @ np.linalg.solve(known, away) > METRIC_POSE.surprise:
        return None
    share = METRIC_POSE.inlier_share if followed else VERIFICATION.inlier_share
    agree = pose.errors_px < VERIFICATION.inlier_px
    inliers = len(np.unique(rows_of[agree]))
    if inliers < METRIC_POSE.least_inliers or agree.mean() < share:
        return None
    # Where many matches disagree, those that agree are worth less: some of them are wrong as well.
    measured = rotated(pose.covariance, places[0][1][:3, :3]) / agree.mean() + _FLOOR
    return MetricPose(places[0][1] @ pose.T_place_query, measured, inliers)


def _correspondences(
    places: Sequence[tuple[LocalFeatures, np.ndarray]], query: LocalFeatures
) -> tuple[np.ndarray, Correspondences]:
    """Rows (N,) of the query's features, and what they match. places: with T_reference_place (4, 4)."""
    rows_of, origins, directions, depths, sigmas = [], [], [], [], []
    for features, T in places:
        rows_place, rows = match(features, query)
        rows_of.append(rows)
        directions.append(np.column_stack([features.rays[rows_place], np.ones(len(rows))]) @ T[:3, :3].T)
        origins.append(np.tile(T[:3, 3], (len(rows), 1)))
        depths.append(features.depths[rows_place])
        sigmas.append(features.sigmas[rows_place])
    all_rows = np.concatenate(rows_of)
    seen = Correspondences(
        directions=np.concatenate(directions),
        origins=np.concatenate(origins),
        depths_place=np.concatenate(depths),
        sigmas_place=np.concatenate(sigmas),
        rays_query=query.rays[all_rows],
        depths_query=query.depths[all_rows],
        sigmas_query=query.sigmas[all_rows],
        pixel=max(query.pixel, *(features.pixel for features, _ in places)),
    )
    return all_rows, seen
