"""Initial motions between two views, from which the relative pose is optimised."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import cv2
import numpy as np

from vpr_ros.base import geometry
from vpr_ros.matching.constants import TWO_VIEW


@dataclass(frozen=True, eq=False)
class Start:
    """An initial motion. R_query_place: (3, 3). direction: (3,) unit vector of t_query_place; None: no translation."""

    R_query_place: np.ndarray
    direction: np.ndarray | None = None

    def is_like(self, other: Start) -> bool:
        """Whether optimisation from both converges to one solution."""
        if not _alike(self.R_query_place, other.R_query_place):
            return False
        if self.direction is None or other.direction is None:
            return self.direction is other.direction
        return float(self.direction @ other.direction) > np.cos(TWO_VIEW.same_direction)


def starts(
    rays_place: np.ndarray, rays_query: np.ndarray, depths_place: np.ndarray, pixel: float, least: int = 6
) -> list[Start]:
    """Initial motions for N correspondences, some of them wrong.

    rays_place, rays_query: (N, 2). depths_place: (N,) metres, hallucinated, 0 if unknown. pixel: in units of rays.

    From the essential matrix (MAGSAC++, Barath et al. 2020), the homography of a flat scene, a perspective-n-point
    solution with the hallucinated depths, and a pure rotation. With flat scenes and short baselines each of them can
    mistake rotation for translation, but seldom all. Empty if fewer than ``least`` correspondences fit an
    essential matrix, and fewer a pure rotation. Both count, because a camera that has not moved has no essential
    matrix, and what OpenCV then returns depends on its version.
    """
    K = np.diag([1 / pixel, 1 / pixel, 1.0])
    place, query = (np.ascontiguousarray(rays / pixel, dtype=np.float64) for rays in (rays_place, rays_query))
    found, fitting = _essential(place, query, K)
    R_rotation, rotating = _rotation_between(rays_place, rays_query, pixel)
    if max(fitting, rotating) < least:
        return []
    with contextlib.suppress(cv2.error):
        H, _ = cv2.findHomography(place, query, cv2.USAC_MAGSAC, TWO_VIEW.homography_px)
        if H is not None:
            _, rotations, translations, _ = cv2.decomposeHomographyMat(H, K)
            found += [_start(R, t[:, 0]) for R, t in zip(rotations, translations, strict=True)]
    known = depths_place > 0
    if known.sum() >= TWO_VIEW.pnp_points:
        points = np.column_stack([rays_place, np.ones(len(rays_place))])[known] * depths_place[known, None]
        with contextlib.suppress(cv2.error):
            solved, rotation, t, _ = cv2.solvePnPRansac(
                points, query[known], K, None, reprojectionError=TWO_VIEW.pnp_px
            )
            found += [_start(geometry.rotation_from_vector(rotation[:, 0]), t[:, 0])] if solved else []
    found.append(Start(R_rotation))
    kept: list[Start] = []
    for start in found:
        looks_away = np.trace(start.R_query_place) < 1 + 2 * np.cos(TWO_VIEW.largest_rotation)
        if not looks_away and not any(start.is_like(other) for other in kept):
            kept.append(start)
    return kept


def distinct_rotations(starts: list[Start]) -> list[np.ndarray]:
    """The distinct rotations (3, 3) of initial motions."""
    kept: list[np.ndarray] = []
    for start in starts:
        if not any(_alike(start.R_query_place, R) for R in kept):
            kept.append(start.R_query_place)
    return kept


def _alike(R: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.trace(R.T @ other) > 1 + 2 * np.cos(TWO_VIEW.same_rotation))


def _start(R_query_place: np.ndarray, t_query_place: np.ndarray) -> Start:
    length = float(np.linalg.norm(t_query_place))
    return Start(R_query_place, t_query_place / length if length > 0 else None)


def _essential(place: np.ndarray, query: np.ndarray, K: np.ndarray) -> tuple[list[Start], int]:
    """The four motions of the essential matrix for pixels (N, 2), and its inliers; empty and 0 without one."""
    try:
        E, fits = cv2.findEssentialMat(place, query, K, cv2.USAC_MAGSAC, 0.999, TWO_VIEW.epipolar_px)
    except cv2.error:  # degenerate points
        return [], 0
    if E is None or E.shape != (3, 3):
        return [], 0
    R_first, R_second, t = cv2.decomposeEssentialMat(E)
    return [Start(R, sign * t[:, 0]) for R in (R_first, R_second) for sign in (1, -1)], int(np.count_nonzero(fits))


def _rotation_between(rays_place: np.ndarray, rays_query: np.ndarray, pixel: float) -> tuple[np.ndarray, int]:
    """The pure rotation (3, 3) that fits best (Kabsch, reweighted), and its number of inliers."""
    directions = [np.column_stack([rays, np.ones(len(rays))]) for rays in (rays_place, rays_query)]
    place, query = (d / np.linalg.norm(d, axis=1, keepdims=True) for d in directions)
    weights, R, error = np.ones(len(place)), np.eye(3), np.full(len(place), np.inf)
    for _ in range(10):
        U, _, Vt = np.linalg.svd((query * weights[:, None]).T @ place)
        R = U @ np.diag([1, 1, np.sign(np.linalg.det(U @ Vt))]) @ Vt
        error = np.linalg.norm(query - place @ R.T, axis=1)
        weights = 1 / (error**2 + max(float(np.median(error)), pixel) ** 2)
    return R, int(np.count_nonzero(error < TWO_VIEW.epipolar_px * pixel))
