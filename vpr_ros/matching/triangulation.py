"""Depths of a place's features from neighbouring places, whose poses the map knows.

A hallucinated depth is inexact, and all of an image share an error of scale. Places a few metres apart see the same
points, so that the map itself measures them (Hartley and Zisserman, Multiple View Geometry, chapter 12).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.matching.constants import POSE_NOISE, TRIANGULATION, TWO_VIEW
from vpr_ros.matching.local_features import LocalFeatures
from vpr_ros.matching.verify import match


def triangulated(
    place: LocalFeatures, others: Sequence[tuple[LocalFeatures, np.ndarray]], turn_sigma: float = 0.0
) -> LocalFeatures:
    """The features of a place with measured depths, and their ``depth_sigmas``, where other places see them as well.

    others: features of places around it, and T_place_other (4, 4) of each. turn_sigma: radians, standard deviation of
    the rotation in these. A point is measured if it lies on the epipolar line and its depth is certain enough; all
    others keep their hallucinated depth.
    """
    total, weights = np.zeros(len(place)), np.zeros(len(place))
    for other, T_place_other in others:
        rows, logs, information = _measured(place, other, T_place_other, turn_sigma)
        total[rows] += information * logs
        weights[rows] += information
    sigmas = 1 / np.sqrt(np.maximum(weights, 1e-12)) + TRIANGULATION.least_sigma
    exact = sigmas < TRIANGULATION.largest_sigma
    depths = np.where(exact, np.exp(total / np.maximum(weights, 1e-12)), place.depths).astype(np.float32)
    return replace(place, depths=depths, depth_sigmas=np.where(exact, sigmas, np.inf))


def baselines(place: LocalFeatures, T_place_others: np.ndarray) -> list[int]:
    """Which of other places measure the depths of a place's features best: rows of their poses (M, 4, 4).

    Two ahead and two behind, if there are so many. A map may have a place every decimetre or every ten metres: they are
    chosen by distance.
    """
    known = place.depths[place.depths > 0]
    wanted = TRIANGULATION.enough_m
    if len(known):
        wanted = min(wanted, TRIANGULATION.share * float(np.median(known)))
    moved = np.linalg.norm(T_place_others[:, :3, 3], axis=1)
    turned = np.array([geometry.angle_of(R) for R in T_place_others[:, :3, :3]])
    usable = (turned < TRIANGULATION.turn) & (TRIANGULATION.shortest_m < moved) & (moved < TRIANGULATION.longest_m)
    ahead = T_place_others[:, 2, 3] > 0
    chosen: list[int] = []
    for side in (usable & ~ahead, usable & ahead):
        left = [int(row) for row in np.argsort(moved, kind="stable") if side[row]]
        for least in (wanted, 2 * wanted):
            if left:  # the furthest, if none is so far away
                chosen.append(next((row for row in left if moved[row] >= least), left[-1]))
                left.remove(chosen[-1])
    return chosen


def _measured(
    place: LocalFeatures, other: LocalFeatures, T_place_other: np.ndarray, turn_sigma: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows (M,) of features of the place, their log depths and the information (inverse variance) of these."""
    rows, rows_other = match(place, other)
    R, t = T_place_other[:3, :3].T, -T_place_other[:3, :3].T @ T_place_other[:3, 3]
    turned = np.column_stack([place.rays[rows], np.ones(len(rows))]) @ R.T
    seen = np.column_stack([other.rays[rows_other], np.ones(len(rows))])
    # depth * turned + t is parallel to seen
    across, along = np.cross(seen, turned), np.cross(seen, np.broadcast_to(t, seen.shape))
    depths = -np.sum(across * along, axis=1) / np.maximum(np.sum(across**2, axis=1), 1e-12)
    points = depths[:, None] * turned + t
    z = np.maximum(points[:, 2], 1e-2)
    errors = np.linalg.norm(points[:, :2] / z[:, None] - seen[:, :2], axis=1)
    pixel = max(place.pixel, other.pixel)
    kept = (depths > 0) & (points[:, 2] > 0) & (errors < TWO_VIEW.epipolar_px * pixel)
    rows, depths, turned, points, z = rows[kept], depths[kept], turned[kept], points[kept], z[kept]
    by_log = depths[:, None] * (turned[:, :2] * z[:, None] - points[:, :2] * turned[:, 2:]) / z[:, None] ** 2
    variance = 2 * (pixel * POSE_NOISE.feature_px) ** 2 + turn_sigma**2  # a feature is inexact in both images
    return rows, np.log(depths), np.sum(by_log**2, axis=1) / variance
