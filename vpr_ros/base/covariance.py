"""Checks covariances, and moves them between frames.

A covariance is (6, 6), order x y z roll pitch yaw about the axes of the pose's parent frame, metres and radians.
"""

from __future__ import annotations

import numpy as np

from vpr_ros.base import geometry

_SMALLEST, _LARGEST = 1e-6, 1e6  # variances: a millimetre and a milliradian; a kilometre
_ROUNDING = 1e-6  # rounding may make an eigenvalue negative by this fraction of the largest


def sane(covariance: np.ndarray) -> np.ndarray | None:
    """The covariance made exactly symmetric and positive definite; None if it is not finite or clearly indefinite.

    Variances along the principal axes are clipped to 1e-6 .. 1e6. Back ends invert the matrix, and a variance of zero
    is over-confident (robot_localization also replaces it by 1e-6).
    """
    covariance = np.asarray(covariance, dtype=np.float64)
    if covariance.shape != (6, 6) or not np.isfinite(covariance).all():
        return None
    variances, axes = np.linalg.eigh(_symmetric(covariance))
    if variances[0] < -_ROUNDING * max(float(variances[-1]), _SMALLEST):
        return None
    return _rebuilt(axes, np.clip(variances, _SMALLEST, _LARGEST))


def information(covariance: np.ndarray) -> np.ndarray:
    """The inverse of a covariance from ``sane``: (6, 6), symmetric, positive definite."""
    variances, axes = np.linalg.eigh(covariance)
    return _rebuilt(axes, 1.0 / np.clip(variances, _SMALLEST, _LARGEST))


def rotated(covariance: np.ndarray, R_target_source: np.ndarray) -> np.ndarray:
    """The same covariance about the axes of another frame, or of several: (..., 3, 3) -> (..., 6, 6)."""
    rotation = np.zeros((*R_target_source.shape[:-2], 6, 6))
    rotation[..., :3, :3] = rotation[..., 3:, 3:] = R_target_source
    return _symmetric(rotation @ covariance @ np.swapaxes(rotation, -1, -2))


def chained(
    T_outer: np.ndarray, T: np.ndarray, covariance: np.ndarray, T_inner: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(T_outer @ T @ T_inner, its covariance about the outer frame's axes). Only T is uncertain."""
    T_inner_end, about_T = moved(T, covariance, T_inner)
    return T_outer @ T_inner_end, rotated(about_T, T_outer[:3, :3])


def moved(T: np.ndarray, covariance: np.ndarray, T_inner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(T @ T_inner, its covariance about the same axes), for example a camera's pose converted to the base's.

    Through the lever arm T_inner, the rotational uncertainty of T adds to the uncertainty of the position.
    """
    x, y, z = T[:3, :3] @ T_inner[:3, 3]
    jacobian = np.eye(6)
    jacobian[:3, 3:] = [[0.0, z, -y], [-z, 0.0, x], [y, -x, 0.0]]
    return T @ T_inner, _symmetric(jacobian @ covariance @ jacobian.T)


def about_end(T: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """A relative pose's covariance about the axes of its child frame, as pose graph optimisers take it.

    ROS perturbs a pose in its parent frame; GTSAM and g2o perturb an edge in its child frame.
    """
    return rotated(covariance, geometry.inverse(T)[:3, :3])


def _rebuilt(axes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """axes @ diag(values) @ axes.T."""
    return _symmetric((axes * values) @ axes.T)


def _symmetric(matrix: np.ndarray) -> np.ndarray:
    """The symmetric part, exact to the last bit."""
    return 0.5 * (matrix + np.swapaxes(matrix, -1, -2))
