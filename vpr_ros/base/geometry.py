"""Rigid motions in numpy. A transform is a (4, 4) float64 matrix ``T_target_source``; metres, radians.

Quaternions are (x, y, z, w), unit length. roll, pitch, yaw are about fixed x, y, z axes: R = Rz(yaw) Ry(pitch)
Rx(roll).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

# Optical camera axes (x right, y down, z forward) seen from a body frame (x forward, y left, z up), REP-103.
R_BODY_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
T_BODY_OPTICAL = np.block([[R_BODY_OPTICAL, np.zeros((3, 1))], [np.zeros((1, 3)), np.ones((1, 1))]])
# East-north-up axes seen from north-east-down ones; its own inverse.
R_ENU_NED = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
_VERTICAL = 0.95  # cosine between an axis and the vertical


def transform(rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """(3, 3) rotation and (3,) translation -> (4, 4)."""
    T = np.eye(4)
    T[:3, :3] = rotation
    T[:3, 3] = translation
    return T


def transform_from_xyzrpy(values: Sequence[float]) -> np.ndarray:
    """x y z in metres and roll pitch yaw in radians -> (4, 4)."""
    return transform(matrix_from_rpy(*values[3:]), np.asarray(values[:3]))


def beyond_a_turn(angles: Sequence[float]) -> float:
    """The first of some angles, radians, that is more than a whole turn, as one in degrees often is; else 0."""
    return next((angle for angle in angles if abs(angle) > 2 * np.pi + 1e-3), 0.0)


def looks_up(T: np.ndarray) -> np.ndarray:
    """Whether cameras at poses (..., 4, 4) of their optical frames look straight up, as few do on purpose."""
    return np.asarray(T[..., 2, 2] > _VERTICAL)


def lies_on_side(T: np.ndarray) -> np.ndarray:
    """Whether the images of cameras at poses (..., 4, 4) of their optical frames are on edge."""
    return np.asarray(np.abs(T[..., 2, 0]) > _VERTICAL)


def is_upside_down(T: np.ndarray) -> np.ndarray:
    """Whether the images of cameras at poses (..., 4, 4) of their optical frames are upside down."""
    return np.asarray(T[..., 2, 1] > _VERTICAL)


def is_rigid(T: np.ndarray, tolerance: float = 2e-2) -> np.ndarray:
    """(...,) bool: whether (..., 4, 4) finite matrices are rotation and translation. Two decimals are enough."""
    R = T[..., :3, :3]
    orthonormal = np.all(np.abs(R @ np.swapaxes(R, -1, -2) - np.eye(3)) <= tolerance, axis=(-1, -2))
    return np.asarray(orthonormal & (np.linalg.det(R) > 0) & np.all(T[..., 3, :] == [0, 0, 0, 1], axis=-1))


def pose_fault(T: object) -> str:
    """What something is that is not a (4, 4) array of finite floats, a rigid transform, in words; empty if it is."""
    if not isinstance(T, np.ndarray):
        return f"a {type(T).__name__}"
    if T.shape != (4, 4) or T.dtype.kind != "f":
        return f"of shape {T.shape} and type {T.dtype}"
    return "" if np.isfinite(T).all() and is_rigid(T) else "no finite rigid transform"


def inverse(T: np.ndarray) -> np.ndarray:
    """Inverse of rigid motions, (..., 4, 4)."""
    R_transposed = np.swapaxes(T[..., :3, :3], -1, -2)
    out = np.zeros_like(T)
    out[..., :3, :3] = R_transposed
    out[..., :3, 3] = -(R_transposed @ T[..., :3, 3, None])[..., 0]
    out[..., 3, 3] = 1.0
    return out


def matrix_from_rpy(roll: float, pitch: float, yaw: float) -> np.ndarray:
    """Fixed-axes roll, pitch, yaw in radians -> (3, 3)."""
    cr, sr, cp, sp, cy, sy = np.cos(roll), np.sin(roll), np.cos(pitch), np.sin(pitch), np.cos(yaw), np.sin(yaw)
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )


def rpy_from_matrix(R: np.ndarray) -> np.ndarray:
    """(3, 3) -> (roll, pitch, yaw) in radians; at gimbal lock roll is zero."""
    pitch = np.arcsin(np.clip(-R[2, 0], -1.0, 1.0))
    if abs(R[2, 0]) > 1 - 1e-12:
        return np.array([0.0, pitch, np.arctan2(-R[0, 1], R[1, 1])])
    return np.array([np.arctan2(R[2, 1], R[2, 2]), pitch, np.arctan2(R[1, 0], R[0, 0])])


def matrix_from_quat_xyzw(quat_xyzw: np.ndarray) -> np.ndarray:
    """(..., 4) quaternions -> (..., 3, 3). Raises ValueError if a length is not finite or not near 1."""
    quat = np.asarray(quat_xyzw, dtype=float)
    length = np.linalg.norm(quat, axis=-1, keepdims=True)
    if not np.all(good := (length > 0.9) & (length < 1.1)):
        wrong = quat[~good[..., 0]][0]
        raise ValueError(f"quaternion {wrong.tolist()} has length {np.linalg.norm(wrong):.3g}, not 1")
    x, y, z, w = np.moveaxis(quat / length, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def quat_xyzw_from_matrix(R: np.ndarray) -> np.ndarray:
    """(..., 3, 3) -> (..., 4) quaternions with w >= 0 (Shepperd's method: the largest component divides)."""
    R = np.asarray(R, dtype=float)
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = ([R[..., row, k] for k in range(3)] for row in range(3))
    squares = [1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz, 1 + xx + yy + zz]
    outer = [
        [squares[0], xy + yx, xz + zx, zy - yz],
        [xy + yx, squares[1], yz + zy, xz - zx],
        [xz + zx, yz + zy, squares[2], yx - xy],
        [zy - yz, xz - zx, yx - xy, squares[3]],
    ]
    rows = np.moveaxis(np.array(outer), (0, 1), (-2, -1))
    largest = np.argmax(np.array(squares), axis=0)
    quat = np.take_along_axis(rows, largest[..., None, None], axis=-2)[..., 0, :]
    quat /= np.linalg.norm(quat, axis=-1, keepdims=True)
    return np.where(quat[..., 3:] >= 0, quat, -quat)


def rotation_from_vector(vector: np.ndarray) -> np.ndarray:
    """(3,) axis times angle -> (3, 3), Rodrigues."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = np.asarray(vector) / angle
    K = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + np.sin(angle) * K + (1 - np.cos(angle)) * (K @ K)


def vector_from_rotation(R: np.ndarray) -> np.ndarray:
    """(3, 3) -> (3,) axis times angle, angle in [0, pi]."""
    quat = quat_xyzw_from_matrix(R)
    sine = float(np.linalg.norm(quat[:3]))
    if sine < 1e-12:
        return np.zeros(3)
    return quat[:3] / sine * (2 * np.arctan2(sine, quat[3]))


def difference(T: np.ndarray, T_from: np.ndarray) -> np.ndarray:
    """Translation and rotation vector (6,) from one pose (4, 4) to another, about the axes they are given in."""
    return np.concatenate([T[:3, 3] - T_from[:3, 3], vector_from_rotation(T[:3, :3] @ T_from[:3, :3].T)])


def angle_of(R: np.ndarray) -> float:
    """Rotation angle of (3, 3), radians in [0, pi]; exact for small ones and near pi."""
    (a, b, c), (d, e, f), (g, h, i) = R.tolist()
    return math.atan2(math.hypot(h - f, c - g, d - b), a + e + i - 1.0)


def interpolate(T_first: np.ndarray, T_second: np.ndarray, fraction: float) -> np.ndarray:
    """Pose between two: linear in translation, along the shortest rotation. fraction: 0 to 1, or beyond to go on."""
    R_turn = T_first[:3, :3].T @ T_second[:3, :3]
    R = T_first[:3, :3] @ rotation_from_vector(fraction * vector_from_rotation(R_turn))
    return transform(R, (1 - fraction) * T_first[:3, 3] + fraction * T_second[:3, 3])


def interpolate_track(stamps_ns: np.ndarray, T: np.ndarray, stamp_ns: int, max_gap_ns: int) -> np.ndarray | None:
    """Pose of a track at a stamp.

    stamps_ns: (N,) int64 ascending. T: (N, 4, 4). max_gap_ns: maximum time between the poses before and after.
    None if the stamp lies outside the track or in a larger gap.
    """
    after = int(np.searchsorted(stamps_ns, stamp_ns))
    if after < len(stamps_ns) and stamps_ns[after] == stamp_ns:
        return np.array(T[after])
    if after == 0 or after == len(stamps_ns):
        return None
    start, end = int(stamps_ns[after - 1]), int(stamps_ns[after])
    if end - start > max_gap_ns:
        return None
    return interpolate(T[after - 1], T[after], (stamp_ns - start) / (end - start))


def heading(T_map_camera: np.ndarray) -> np.ndarray:
    """Yaw of the optical axis in the map's plane, radians counter-clockwise from east; (..., 4, 4) -> (...)."""
    return np.arctan2(T_map_camera[..., 1, 2], T_map_camera[..., 0, 2])


def wrap_angle(angle: np.ndarray | float) -> np.ndarray:
    """Radians into [-pi, pi)."""
    return (np.asarray(angle) + np.pi) % (2 * np.pi) - np.pi
