"""Depth images from push-broom lidars, which sweep the scene as the vehicle drives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from vpr_ros.base.errors import DriveError
from vpr_ros.base.geometry import inverse
from vpr_ros.base.track import Track
from vpr_ros.drives.files import read_bytes

_MIN_DEPTH_M, _MAX_DEPTH_M = 0.5, 100.0


@dataclass(frozen=True, eq=False)
class PushBroom:
    """A lidar's scans and its track.

    scans: stamp in nanoseconds -> file, ascending.
    track: of the vehicle in any fixed frame.
    T_vehicle_lidar: (4, 4) pose of the lidar on the vehicle.
    planar: whether scans are (x, y, reflectance) instead of (x, y, z).
    window_ns: how long before and after an image scans are used.
    """

    scans: dict[int, Path]
    track: Track
    T_vehicle_lidar: np.ndarray
    planar: bool
    window_ns: int = 10_000_000_000

    def points_in(self, T_vehicle_camera: np.ndarray, stamp_ns: int) -> np.ndarray:
        """(N, 3) float64 points in the camera's optical frame at an image's time; empty if the pose is unknown."""
        T_fixed_vehicle = self.track.at(stamp_ns)
        if T_fixed_vehicle is None:
            return np.zeros((0, 3))
        T_camera_fixed = inverse(T_fixed_vehicle @ T_vehicle_camera)
        clouds = [np.zeros((0, 3))]
        for scan_ns, path in self.scans.items():
            T_scan = self.track.at(scan_ns) if abs(scan_ns - stamp_ns) <= self.window_ns else None
            if T_scan is not None:
                T_camera_lidar = T_camera_fixed @ T_scan @ self.T_vehicle_lidar
                clouds.append(self._scan(path) @ T_camera_lidar[:3, :3].T + T_camera_lidar[:3, 3])
        return np.concatenate(clouds)

    def _scan(self, path: Path) -> np.ndarray:
        data = read_bytes(path)
        if len(data) % 24:
            raise DriveError(f"the lidar scan {path} is truncated: {len(data)} bytes are not a whole number of points")
        points = np.frombuffer(data, "<f8").reshape(-1, 3)
        return points * [1.0, 1.0, 0.0] if self.planar else points


def depth_image(points: np.ndarray, K: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(N, 3) points in the optical frame, (3, 3) intrinsics, (H, W) -> (H, W) float32 metres, 0 if unknown.

    Points beyond 100 m are dropped. So are points clearly behind a neighbour within about 0.35 % of the width, because
    they are seen through gaps between the points of a nearer surface. The rest is spread by one pixel.
    """
    height, width = size
    near = points[(points[:, 2] > _MIN_DEPTH_M) & (points[:, 2] <= _MAX_DEPTH_M)]
    near = near[np.argsort(-near[:, 2])]  # nearest last, so that it stays
    u = np.round(K[0, 0] * near[:, 0] / near[:, 2] + K[0, 2]).astype(int)
    v = np.round(K[1, 1] * near[:, 1] / near[:, 2] + K[1, 2]).astype(int)
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    depth = np.full(size, np.inf, np.float32)
    depth[v[inside], u[inside]] = near[inside, 2]
    reach = max(3, 2 * (width // 284) + 1)
    nearest = _lowest(depth, reach)
    depth[depth > 1.15 * nearest + 0.5] = np.inf
    spread = np.where(np.isinf(depth), _lowest(depth, 3), depth)
    return np.where(np.isinf(spread), 0, spread).astype(np.float32)


def _lowest(depth: np.ndarray, reach: int) -> np.ndarray:
    """The smallest value within a square window."""
    return cv2.erode(depth, np.ones((reach, reach), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=float("inf"))
