"""Verification: do two images show the same place, and what is the metric pose between them?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vpr_ros.matching.constants import VERIFICATION
from vpr_ros.matching.local_features import LocalFeatures
from vpr_ros.matching.relative_pose import Correspondences, relative_pose
from vpr_ros.matching.two_view import starts


@dataclass(frozen=True, eq=False)
class Verification:
    """Two images that show one place.

    T_place_query (4, 4), covariance (6, 6): see RelativePose. rows_place, rows_query: (M,) rows of the inliers.
    matches: number of matched features, of which M are inliers. reprojection_px: root mean square error of the inliers,
    pixels of the query.
    """

    T_place_query: np.ndarray
    covariance: np.ndarray
    rows_place: np.ndarray
    rows_query: np.ndarray
    matches: int
    reprojection_px: float

    @property
    def inliers(self) -> int:
        """Number of features that agree on the pose."""
        return len(self.rows_place)


def match(place: LocalFeatures, query: LocalFeatures) -> tuple[np.ndarray, np.ndarray]:
    """Rows of place and query, (M,) each: mutual nearest neighbours that pass the ratio test.

    Raises ValueError if the two are of different kinds.
    """
    to_place, rows, cosines = mutual(place, query)
    best = cosines[rows, to_place]
    cosines[rows, to_place] = -1.0
    distance, next_distance = 1 - best, 1 - cosines[rows].max(axis=1, initial=-1.0)  # half the squared distances
    distinct = distance < VERIFICATION.ratio[place.kind] ** 2 * next_distance
    return to_place[distinct], rows[distinct]


def mutual(place: LocalFeatures, query: LocalFeatures) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of place and query, (M,) each, that are mutual nearest neighbours, and cosines of all, query by place.

    Raises ValueError if the two are of different kinds.
    """
    if place.kind != query.kind:
        raise ValueError(f"features of {query.kind} cannot be matched with those of {place.kind}")
    cosines = _vectors(query) @ _vectors(place).T  # of bits: share of equal bits less share of others
    if min(cosines.shape) < 2:
        return np.zeros(0, int), np.zeros(0, int), cosines
    nearest = cosines.argmax(axis=1)
    rows = np.flatnonzero(cosines.argmax(axis=0)[nearest] == np.arange(len(query)))
    return nearest[rows], rows, cosines


def _vectors(features: LocalFeatures) -> np.ndarray:
    """Unit vectors (N, D) float32: RootSIFT (Arandjelovic and Zisserman 2012), signs of ORB's bits, or unchanged."""
    descriptors = features.descriptors
    if features.kind == "orb":
        bits = np.unpackbits(descriptors, axis=1)
        return (2.0 * bits - 1.0).astype(np.float32) / np.float32(np.sqrt(bits.shape[1]))
    vectors = descriptors.astype(np.float32)
    if features.kind == "sift":
        vectors = np.sqrt(vectors)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def verify(place: LocalFeatures, query: LocalFeatures, least: int = 12) -> Verification | None:
    """Pose of the query's camera in the place's; None if fewer than ``least`` features agree on one."""
    rows_place, rows_query = match(place, query)
    if len(rows_place) < least:
        return None
    rays_place, rays_query, depths = place.rays[rows_place], query.rays[rows_query], place.depths[rows_place]
    seen = Correspondences(
        directions=np.column_stack([rays_place, np.ones(len(rays_place))]),
        origins=np.zeros((len(rays_place), 3)),
        depths_place=depths,
        sigmas_place=place.sigmas[rows_place],
        rays_query=rays_query,
        depths_query=query.depths[rows_query],
        sigmas_query=query.sigmas[rows_query],
        pixel=max(place.pixel, query.pixel),
    )
    begin = starts(rays_place, rays_query, depths, seen.pixel, least)
    pose = relative_pose(seen, begin) if begin else None
    if pose is None:
        return None
    ratio = np.where(depths > 0, pose.depths / np.maximum(depths, 1e-6), 1.0)
    if np.linalg.eigvalsh(pose.covariance[:3, :3])[-1] > VERIFICATION.largest_sigma_m**2:
        return None
    agree = (
        (pose.errors_px < VERIFICATION.inlier_px)
        & (ratio < VERIFICATION.depth_ratio)
        & (ratio > 1 / VERIFICATION.depth_ratio)
    )
    if agree.sum() < max(least, VERIFICATION.inlier_share * len(agree)):
        return None
    error = float(np.sqrt(np.mean(pose.errors_px[agree] ** 2)))
    return Verification(
        T_place_query=pose.T_place_query,
        covariance=pose.covariance / agree.mean(),  # where many disagree, some of those that agree are wrong as well
        rows_place=rows_place[agree],
        rows_query=rows_query[agree],
        matches=len(rows_place),
        reprojection_px=error,
    )
