"""Covariances that no consumer chokes on: the one place where they are checked, mended and moved. Knows no ROS.

A covariance is (6, 6), order x y z roll pitch yaw about the axes of the frame the pose is given in, metres and radians.
"""

from __future__ import annotations

import numpy as np

from vpr_ros.base import geometry

_SMALLEST, _LARGEST = 1e-6, 1e6  # variances: a millimetre and a milliradian; a kilometre
_ROUNDING = 1e-6  # how far below zero, as a share of the largest, arithmetic alone may push an eigenvalue


def sane(covariance: np.ndarray) -> np.ndarray | None:
    """The covariance as finite, symmetric and positive definite; None where it is none, not even nearly.

    Variances along the principal axes are kept within 1e-6 .. 1e6: zero is over-trust (robot_localization makes it
    1e-6 itself), and back ends invert what they get.
    """
    covariance = np.asarray(covariance, dtype=np.float64)
    if covariance.shape != (6, 6) or not np.isfinite(covariance).all():
        return None
    variances, axes = np.linalg.eigh(_symmetric(covariance))
    if variances[0] < -_ROUNDING * max(float(variances[-1]), _SMALLEST):
        return None
    return _rebuilt(axes, np.clip(variances, _SMALLEST, _LARGEST))


def information(covariance: np.ndarray) -> np.ndarray:
    """The inverse of a covariance that is ``sane``: (6, 6), symmetric, positive definite."""
    variances, axes = np.linalg.eigh(covariance)
    return _rebuilt(axes, 1.0 / np.clip(variances, _SMALLEST, _LARGEST))


def turned(covariance: np.ndarray, R_target_source: np.ndarray) -> np.ndarray:
    """The same covariance about the axes of another frame."""
    turn = np.kron(np.eye(2), R_target_source)
    return _symmetric(turn @ covariance @ turn.T)


def chained(
    T_outer: np.ndarray, T: np.ndarray, covariance: np.ndarray, T_inner: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(T_outer @ T @ T_inner, its covariance about the outer frame's axes), where only T is in doubt.

    Doubt about the turn in T becomes doubt about the place of what lies at the end of the lever T_inner.
    """
    x, y, z = T[:3, :3] @ T_inner[:3, 3]
    jacobian = np.eye(6)
    jacobian[:3, 3:] = -np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return T_outer @ T @ T_inner, turned(jacobian @ covariance @ jacobian.T, T_outer[:3, :3])


def moved(T: np.ndarray, covariance: np.ndarray, T_inner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(T @ T_inner, its covariance about the same axes), such as a camera's pose and covariance as the base's."""
    return chained(np.eye(4), T, covariance, T_inner)


def about_end(T: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """A relative pose's covariance about the axes of the frame it leads to, as pose graph optimisers take it.

    ROS turns and moves a pose about the frame it starts from; GTSAM's and g2o's edges are disturbed at their end.
    """
    return turned(covariance, geometry.inverse(T)[:3, :3])


def _rebuilt(axes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """axes @ diag(values) @ axes.T."""
    return _symmetric((axes * values) @ axes.T)


def _symmetric(matrix: np.ndarray) -> np.ndarray:
    """Symmetric to the last bit."""
    return 0.5 * (matrix + matrix.T)
