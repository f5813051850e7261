"""Does odometry fit the poses on the map? Its scale, a mirrored axis and wheels that slip show only there."""

from __future__ import annotations

import numpy as np

_SPACINGS = 20.0  # distance from one sure pose to another that is compared, in multiples of the map's spacing
_LEAST_M = 10.0
_SHARE = 0.35  # of that distance by which odometry may be off, beside
_AROUND_SPACINGS = 2.0  # a sure pose's own error
_ABOUT = 3.0  # way over that distance, from which on the robot goes about in one place
_TWICE = 2  # in a row, before it is told


class OdometryCheck:
    """Compares the way between two sure poses with that by odometry, from one start of map and odometry on.

    In the plane: heights jump by tens of metres from drive to drive of a map by satellites. The way of a body that
    climbs steeply is not compared.
    """

    def __init__(self) -> None:
        self._from: tuple[np.ndarray, np.ndarray] | None = None
        self._at = np.zeros(3)
        self._way_m = 0.0  # by odometry, since then
        self._wrong = 0
        self.problem = ""  # one sentence while they contradict each other

    def add(self, T_map_base: np.ndarray, T_odom_base: np.ndarray, spacing: float) -> bool:
        """A sure pose (4, 4), and that by odometry at the same time. Whether the two were compared with earlier ones.

        Of one body, whichever camera saw it. spacing: of the map's places, metres.
        """
        now, least = (T_map_base, T_odom_base), max(_SPACINGS * spacing, _LEAST_M)
        if self._from is not None:
            self._way_m += float(np.linalg.norm(T_odom_base[:3, 3] - self._at))
        self._at = T_odom_base[:3, 3]
        if self._from is None or self._way_m > _ABOUT * least:  # about: what odometry drifts would be compared
            self._from, self._way_m = now, 0.0
            return False
        T_map_then, T_odom_then = self._from
        R_map_odom = T_map_then[:3, :3] @ T_odom_then[:3, :3].T
        by_map = (T_map_base - T_map_then)[:2, 3]
        by_odom = (R_map_odom @ (T_odom_base - T_odom_then)[:3, 3])[:2]
        distance = max(np.linalg.norm(by_map), np.linalg.norm(by_odom))
        if distance < least:
            return False
        self._from, self._way_m = now, 0.0
        off = float(np.linalg.norm(by_map - by_odom))
        if off <= _SHARE * distance + _AROUND_SPACINGS * spacing:
            self._wrong, self.problem = 0, ""
            return True
        self._wrong += 1
        if self._wrong >= _TWICE:
            self.problem = (
                f"odometry does not fit the poses on the map: {np.linalg.norm(by_odom):.0f} m by odometry are "
                f"{np.linalg.norm(by_map):.0f} m on the map, {off:.0f} m apart; check its scale, its axes and the "
                "camera's mounting"
            )
        return True
