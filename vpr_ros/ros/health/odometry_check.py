"""Does odometry fit the poses on the map? Its scale, a mirrored axis and wheels that slip show only there."""

from __future__ import annotations

import numpy as np

from vpr_ros.base import geometry

_SPACINGS = 10.0  # distance from one sure pose to another that is compared, in multiples of the map's spacing
_LEAST_M = 10.0
_SHARE = 0.35  # of that distance by which odometry may be off, beside
_AROUND_SPACINGS = 2.0  # a sure pose's own error
_TWICE = 2  # in a row, before it is told


class OdometryCheck:
    """Compares the way between two sure poses with that by odometry."""

    def __init__(self) -> None:
        self._last: tuple[np.ndarray, np.ndarray] | None = None
        self._wrong = 0
        self.problem = ""  # one sentence while they contradict each other

    def reset(self) -> None:
        """Odometry, the map or the belief starts anew."""
        self._last, self._wrong, self.problem = None, 0, ""

    def add(self, T_map_camera: np.ndarray, T_odom_camera: np.ndarray, spacing: float) -> None:
        """A sure pose (4, 4), and that by odometry at the same time. spacing: of the map's places, metres."""
        if self._last is None:
            self._last = T_map_camera, T_odom_camera
            return
        by_map, by_odom = (
            (geometry.inverse(then) @ now)[:3, 3]
            for then, now in zip(self._last, (T_map_camera, T_odom_camera), strict=True)
        )
        distance = max(np.linalg.norm(by_map), np.linalg.norm(by_odom))
        if distance < max(_SPACINGS * spacing, _LEAST_M):
            return
        self._last = T_map_camera, T_odom_camera
        off = float(np.linalg.norm(by_map - by_odom))
        if off <= _SHARE * distance + _AROUND_SPACINGS * spacing:
            self._wrong, self.problem = 0, ""
            return
        self._wrong += 1
        if self._wrong >= _TWICE:
            self.problem = (
                f"odometry does not fit the poses on the map: {np.linalg.norm(by_odom):.0f} m by odometry are "
                f"{np.linalg.norm(by_map):.0f} m on the map, {off:.0f} m apart; check its scale, its axes and the "
                "camera's mounting"
            )
